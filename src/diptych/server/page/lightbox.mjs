// One result, large: picture, captions, what is known of it, where it lies, why it matches, and what can be done with it.
import { ask, original, thumbnail } from "./api.mjs";
import { html, placed, useEffect, useRef, useSlow, useState } from "./lib.mjs";
import { Grade, Picture } from "./found.mjs";
import { isEmpty, partsOf } from "./query.mjs";
import { bytes, named, number, percent, t } from "./words.mjs";

const OWN = ["name", "folder", "width", "height", "orientation", "size"]; // fields that are told otherwise
const BESIDE = 13; // pictures of the same folder that are shown
const TELLS = 0.35; // part of the similarity that a word takes along from which it is underlined

export function Lightbox({ results, at, to, asked, change, state, like, also, more, points }) {
  const dialog = useRef(null), result = results[at];
  const [why, setWhy] = useState(false);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.isConnected && before.focus({ preventScroll: true });
  }, []);
  useEffect(() => { if (at >= results.length - 3) more(); }, [at]);
  const step = (by) => { if (results[at + by]) to(at + by); };
  const key = (event) => {
    if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else return;
    event.preventDefault();
  };
  const item = useItem(result.item, state.collection.name);
  const reasons = useWhy(why && result, asked, state);
  return html`
    <dialog ref=${dialog} class="lightbox" aria-label=${placed(result.id).name} onKeyDown=${key} onClose=${() => to(null)}
      onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
      <div class="inside">
        <button type="button" class="icon close" aria-label=${t("one.close")} onClick=${() => dialog.current.close()}>✕</button>
        <div class="stage">
          <${Large} result=${result} relevance=${reasons.found?.relevance} />
          <button type="button" class="step before" aria-label=${t("one.before")} disabled=${at === 0} onClick=${() => step(-1)}>‹</button>
          <button type="button" class="step after" aria-label=${t("one.after")} disabled=${at + 1 >= results.length} onClick=${() => step(1)}>›</button>
        </div>
        <div class="facts" tabindex="0" role="region" aria-label=${t("one.facts")}>
          <${Captions} result=${result} item=${item.found} lines=${reasons.found?.texts} />
          ${result.by !== "date" && html`<p class="under"><${Grade} result=${result} />${result.percentile !== null && html`<span>${percent(result.percentile)}</span>`}<span class="soft">${t("one.score", { score: number(result.score, 3) })}</span></p>`}
          <div class="acts">
            ${points ? html`
              <button type="button" disabled=${points.wait} onClick=${() => points.more(result)}>${t("chat.more")}</button>
              <button type="button" disabled=${points.wait} onClick=${() => points.less(result)}>${t("chat.less")}</button>` : html`
              <button type="button" onClick=${() => like(result)}>${t("one.like")}</button>
              <button type="button" onClick=${() => also(result)}>${t("one.also")}</button>`}
            ${!isEmpty(asked) && html`<button type="button" aria-pressed=${why} onClick=${() => setWhy(!why)}>${t("one.why")}</button>`}
          </div>
          ${why && html`<${Reasons} reasons=${reasons} />`}
          <${Place} result=${result} asked=${asked} change=${change} state=${state} close=${() => dialog.current.close()} />
          <${Fields} result=${result} item=${item.found} />
          <${Copies} item=${item.found} />
          <div class="acts low">
            <${CopyPath} path=${result.path || result.id} />
            ${item.found?.has_picture !== false && html`<a class="button" href=${original(result.item, true)} download=${placed(result.id).name}>${t("one.download")}</a>`}
          </div>
          ${item.error && html`<p class="problem" role="alert">${item.error.message || t("state.offline")}</p>`}
        </div>
      </div>
    </dialog>`;
}

function useItem(number, collection) {
  const [state, set] = useState({});
  useEffect(() => {
    const stop = new AbortController();
    set({});
    ask(`items/${number}`, { query: { collection }, signal: stop.signal }).then((found) => set({ found }), (error) => error.name !== "AbortError" && set({ error }));
    return () => stop.abort();
  }, [number, collection]);
  return state;
}

function useWhy(result, asked, state) {
  const [known, set] = useState({});
  useEffect(() => {
    if (!result) { set({}); return undefined; }
    const stop = new AbortController();
    set({ loading: true });
    ask(`items/${result.item}/why`, { method: "POST", body: { ...partsOf(asked), collection: state.collection.name }, signal: stop.signal })
      .then((found) => set({ found }), (error) => error.name !== "AbortError" && set({ error }));
    return () => stop.abort();
  }, [result && result.item]);
  return known;
}

/** The picture in its own shape, its small copy below it until it is there; parts that are less alike are dimmed. */
function Large({ result, relevance }) {
  const [failed, setFailed] = useState(false);
  const { width = 4, height = 3 } = result.meta;
  useEffect(() => setFailed(false), [result.item]);
  const side = Math.max(innerWidth, innerHeight) * devicePixelRatio > 1400 ? 2560 : 1280;
  if (failed) return html`<p class="lost large">${t("found.lost")}</p>`;
  return html`
    <figure class="large" key=${result.item} style=${{ aspectRatio: `${width} / ${height}`, backgroundImage: `url("${new URL(thumbnail(result.item, 320), document.baseURI)}")` }}
      ref=${(element) => { element?.style.setProperty("--shape", width / height); if (result.meta.width) element?.style.setProperty("--natural", `${width}px`); }}>
      <img src=${thumbnail(result.item, side)} alt=${result.text || placed(result.id).name} onError=${() => setFailed(true)} />
      ${relevance && html`<${Heat} relevance=${relevance} />`}
    </figure>`;
}

function Heat({ relevance }) {
  const draw = (canvas) => {
    if (!canvas) return;
    const flat = relevance.flat(), low = Math.min(...flat), span = Math.max(...flat) - low || 1;
    canvas.height = relevance.length;
    canvas.width = relevance[0].length;
    const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
    flat.forEach((value, at) => { pixels.data[4 * at + 3] = 190 * (1 - (value - low) / span) ** 1.4; });
    context.putImageData(pixels, 0, 0);
  };
  return html`<canvas class="map" ref=${draw} role="img" aria-label=${t("why.map")} />`;
}

function Captions({ result, item, lines }) {
  const own = (result.text || "").split("\n").filter((line) => line.trim());
  const sources = Object.fromEntries((item?.captions || []).map((one) => [one.text, one.source]));
  if (!own.length) return html`<h2 class="name">${placed(result.id).name}</h2>`;
  return html`
    <div class="captions">${own.map((line, at) => html`
      <p key=${at}>${lines?.[at] ? html`<${Marked} line=${lines[at]} />` : line}
        ${sources[line] && html` <small>${named(`in.${sources[line]}`, sources[line])}</small>`}</p>`)}
    </div>`;
}

/** A text with the words that were asked for marked, and those that mean it underlined. */
function Marked({ line }) {
  const { text, found, meaning } = line, parts = [];
  const cuts = [...new Set([0, text.length, ...found.flat(), ...meaning.flatMap(([start, end]) => [start, end])])].sort((one, other) => one - other);
  cuts.slice(0, -1).forEach((start, at) => {
    const end = cuts[at + 1], part = text.slice(start, end);
    const weight = meaning.find(([from, until]) => from <= start && end <= until)?.[2] || 0;
    if (found.some(([from, until]) => from <= start && end <= until)) parts.push(html`<mark>${part}</mark>`);
    else if (weight >= TELLS) parts.push(html`<u>${part}</u>`);
    else parts.push(part);
  });
  return html`<${"span"}>${parts}<//>`;
}

function Reasons({ reasons }) {
  const slow = useSlow(reasons.loading);
  if (reasons.error) return html`<p class="problem" role="alert">${reasons.error.message || t("state.offline")}</p>`;
  if (!reasons.found) return html`<p class="note reasons" role="status">${slow ? t("why.looking") : ""}</p>`;
  const { relevance, texts, reason } = reasons.found;
  const marked = texts.some((one) => one.found.length), meant = texts.some((one) => one.meaning.some(([start, , part]) => part >= TELLS && !one.found.some(([from, until]) => from <= start && start < until)));
  return html`
    <div class="reasons note">
      <p>${relevance ? t("why.map") : reason}</p>
      ${marked && html`<p>${t("why.words")}</p>`}
      ${meant && html`<p>${t("why.meaning")}</p>`}
    </div>`;
}

/** The folders that it lies in, each of which limits the search, and its neighbours there. */
function Place({ result, asked, change, state, close }) {
  const { folder, name } = placed(result.id);
  const [beside, setBeside] = useState([]);
  const own = result.meta.folder ?? folder;
  useEffect(() => {
    const stop = new AbortController();
    const where = `folder = '${own.replaceAll("'", "''")}'`;
    ask("items", { query: { where, k: BESIDE, collection: state.collection.name }, signal: stop.signal })
      .then((found) => setBeside(found.results.filter((one) => one.item !== result.item).slice(0, BESIDE - 1)), () => setBeside([]));
    return () => stop.abort();
  }, [own]);
  const only = () => { close(); change({ ...asked, chosen: { ...asked.chosen, folder: [own] } }); };
  return html`
    <section class="place"><h3>${t("one.place")}</h3>
      <p class="crumbs">${own ? own.split("/").map((part) => html`<span>${part}</span> / `) : ""}<strong>${name}</strong></p>
      ${beside.length > 0 && html`<div class="strip" aria-hidden="true">${beside.map((one) => html`<${Picture} key=${one.item} item=${one.item} size=${160} />`)}</div>`}
      ${beside.length > 0 && html`<button type="button" class="plain" onClick=${only}>${t("one.folder")}</button>`}
    </section>`;
}

function Fields({ result, item }) {
  const meta = item?.meta || result.meta, picture = item?.picture;
  const shape = meta.width ? `${number(meta.width)} × ${number(meta.height)}` : "";
  const rows = Object.entries(meta).filter(([name, value]) => !OWN.includes(name) && name !== "source" && value !== null && value !== "");
  return html`
    <table class="fields"><caption class="unseen">${t("one.facts")}</caption><tbody>
      ${shape && html`<tr><th scope="row">${t("field.shape")}</th><td>${shape}${picture && html` · ${bytes(picture.bytes)}`}</td></tr>`}
      ${rows.map(([name, value]) => html`<tr key=${name}><th scope="row">${named(`field.${name}`, name.replaceAll("_", " "))}</th><td>${[value].flat().join(", ")}</td></tr>`)}
    </tbody></table>`;
}

function Copies({ item }) {
  if (!item?.copies?.length) return null;
  return html`<section><h3>${t("one.copies", { count: item.copies.length })}</h3><ul class="plainlist">${item.copies.map((one) => html`<li key=${one.id}>${one.id}</li>`)}</ul></section>`;
}

function CopyPath({ path }) {
  const [copied, set] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(path);
    } catch { // no permission: the path is selected in a field of the document instead
      const field = Object.assign(document.createElement("textarea"), { value: path });
      document.querySelector("dialog[open]").append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    set(true);
    setTimeout(() => set(false), 2000);
  };
  return html`<button type="button" onClick=${copy}>${copied ? t("one.copied") : t("one.copy")}<span class="unseen" role="status">${copied ? t("one.copied") : ""}</span></button>`;
}
