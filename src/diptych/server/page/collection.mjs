// The collection: what it holds, how far an update is, what was left out and why, its models and its copies.
import { ask } from "./api.mjs";
import { html, useEffect, useState } from "./lib.mjs";
import { Failure, Picture } from "./found.mjs";
import { bytes, duration, named, number, t } from "./words.mjs";

export function CollectionPage({ state, start }) {
  const { collection, job, health } = state;
  const [skipped, setSkipped] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    if (!collection) return;
    ask(`collections/${encodeURIComponent(collection.name)}/skipped`).then((found) => setSkipped(found.skipped), setError);
  }, [collection?.name, collection?.generation, collection?.skipped]);
  if (!collection) return null;
  return html`
    <section class="wholepage" aria-label=${t("collection.label")}>
      <header class="head"><h1>${collection.name}</h1>${collection.folder && collection.folder !== collection.name && html`<p class="note">${collection.folder}</p>`}</header>
      ${error && html`<${Failure} error=${error} again=${() => location.reload()} />`}
      <dl class="figures">
        ${[["collection.images", number(collection.images)], ["collection.texts", number(collection.texts)], ["collection.size", bytes(collection.bytes || 0)], ["collection.skipped", number(collection.skipped || 0)]].map(([name, value]) => html`
          <div key=${name}><dt>${t(name)}</dt><dd>${value}</dd></div>`)}
      </dl>
      <${Update} job=${job} write=${health.write} start=${start} error=${state.jobError} />
      <section><h2>${t("collection.models")}</h2>
        <div class="wide" tabindex="0" role="region" aria-label=${t("collection.models")}><table>
          <thead><tr>${["name", "similarity", "dimensions", "images", "texts", "codes"].map((name) => html`<th key=${name} scope="col">${t(`model.${name}`)}</th>`)}</tr></thead>
          <tbody>${(collection.models || []).map((model) => html`
            <tr key=${model.name}><th scope="row">${model.name}${model.default && collection.models.length > 1 && html` <small>${t("model.default")}</small>`}</th>
              <td>${model.similarity}</td><td class="number">${number(model.dimensions)}</td><td class="number">${number(model.images)}</td><td class="number">${number(model.texts)}</td>
              <td>${model.codes ? t("model.bits", { bits: model.codes.bits ?? "" }) : t("model.exact")}</td></tr>`)}
          </tbody></table></div>
      </section>
      <section><h2>${t("collection.fields")}</h2>
        <p>${(collection.fields || []).map((field) => html`<span class="tagged" key=${field}>${named(`field.${field}`, field)}</span> `)}</p>
        <p class="note">${t("collection.fields.more")}</p></section>
      <${Skipped} skipped=${skipped} />
      <${Duplicates} key=${collection.name} collection=${collection} />
    </section>`;
}

/** How far an update is, with the file it is at; or the button that begins one. */
function Update({ job, write, start, error }) {
  const running = job && ["waiting", "running"].includes(job.state);
  return html`
    <section class="update"><h2>${t("collection.update")}</h2>
      ${running && html`<${Progress} job=${job} />`}
      ${!running && job && html`<${Outcome} job=${job} />`}
      ${!running && (write ? html`<button type="button" onClick=${start}>${t("collection.start")}</button>` : html`<p class="note">${t("collection.readonly")}</p>`)}
      ${error && html`<p class="problem" role="alert">${error.message || t("state.offline")}</p>`}
      ${job?.latest?.length > 0 && html`<h3>${t("collection.justskipped")}</h3><ul class="plainlist">${job.latest.map((one) => html`<li key=${one.path}>${one.path} <span class="soft">${one.reason}</span></li>`)}</ul>`}
    </section>`;
}

export function Progress({ job, short }) {
  const told = job.total ? t("job.of", { done: job.done, total: job.total }) : t("job.done", { done: job.done });
  return html`
    <div class="progress">
      <progress aria-label=${t("job.label")} max=${job.total || 1} value=${job.total ? job.done : undefined} />
      <p class="note" role="status">${t("job.running")} ${told}${job.skipped > 0 && `, ${t("job.skipped", { count: job.skipped })}`}
        ${!short && job.current && html`<br /><span class="clip">${job.current}</span>`}</p>
    </div>`;
}

function Outcome({ job }) {
  if (job.state === "failed") return html`<p class="problem" role="alert">${t("job.failed")} ${job.error}</p>`;
  if (job.state === "stopped") return html`<p class="note">${t("job.stopped")}</p>`;
  const summary = job.summary || {};
  const parts = ["added", "changed", "moved", "removed", "unchanged", "away"].filter((name) => summary[name]).map((name) => t(`job.${name}`, { count: summary[name] }));
  return html`<p class="note" role="status">${t("job.finished", { time: duration(job.seconds || summary.seconds || 0) })} ${parts.join(", ") || t("job.nochange")}.</p>`;
}

function Skipped({ skipped }) {
  if (!skipped?.length) return null;
  const reasons = new Map();
  for (const one of skipped) reasons.set(one.reason, [...(reasons.get(one.reason) || []), one.path]);
  const groups = [...reasons].sort(([, one], [, other]) => other.length - one.length);
  return html`
    <section><h2>${t("collection.skipped.title", { count: skipped.length })}</h2><p class="note">${t("collection.skipped.more")}</p>
      ${groups.map(([reason, paths]) => html`
        <details key=${reason} class="group" open=${groups.length < 4 && paths.length < 20}><summary>${reason} <span class="count">${number(paths.length)}</span></summary>
          <ul class="plainlist">${paths.map((path) => html`<li key=${path}>${path}</li>`)}</ul></details>`)}
    </section>`;
}

/** Groups of copies; looked for only when somebody asks, as pictures are read for it. */
function Duplicates({ collection }) {
  const [state, set] = useState({});
  const look = () => {
    set({ loading: true });
    ask("duplicates", { query: { collection: collection.name } }).then((found) => set({ found }), (error) => set({ error }));
  };
  const groups = state.found ? [...(state.found.exact || []), ...(state.found.near || [])] : [];
  return html`
    <section><h2>${t("duplicates.title")}</h2>
      ${!state.found && html`<p class="note">${t("duplicates.more")}</p><button type="button" disabled=${state.loading} onClick=${look}>${state.loading ? t("duplicates.looking") : t("duplicates.look")}</button>`}
      ${state.error && html`<p class="problem" role="alert">${state.error.message || t("state.offline")}</p>`}
      ${state.found && !groups.length && html`<p role="status">${t("duplicates.none")}</p>`}
      ${groups.map((group, at) => html`
        <div class="copygroup" key=${at}>
          <h3>${t(at < (state.found.exact || []).length ? "duplicates.exact" : "duplicates.near", { count: group.length })}</h3>
          <ul>${group.map((file) => html`<li key=${file.id}>${file.item !== undefined && html`<${Picture} item=${file.item} size=${320} />`}<span class="clip" title=${file.id}>${file.id}</span><span class="soft">${bytes(file.bytes || 0)}</span></li>`)}</ul>
        </div>`)}
    </section>`;
}
