// The left panel: what is asked. Words, further words and pictures with their weights, what is to be found, filters.
import { ask, thumbnail } from "./api.mjs";
import { html, placed, useEffect, useRef, useState } from "./lib.mjs";
import { FACETS, isEmpty, nothing, term, whereOf } from "./query.mjs";
import { duration, named, number, t } from "./words.mjs";

const SHOWN = 6; // values of a facet before "more"

export function Asked({ asked, change, state, problem, pick, rerank }) {
  const box = useRef(null);
  useEffect(() => { if (matchMedia("(min-width: 60rem)").matches) box.current?.focus(); }, []);
  const set = (facts) => change({ ...asked, ...facts });
  const put = (key, facts) => set({ terms: asked.terms.map((one) => (one.key === key ? { ...one, ...facts } : one)) });
  const drop = (key) => set({ terms: asked.terms.filter((one) => one.key !== key) });
  const several = asked.terms.length + (asked.words.trim() ? 1 : 0) > 1;
  return html`
    <form class="asked" role="search" aria-label=${t("asked.label")} onSubmit=${(event) => { event.preventDefault(); change({ ...asked }, true); }}>
      <label class="big">
        <span class="unseen">${t("asked.words")}</span>
        <input type="search" name="q" ref=${box} value=${asked.words} placeholder=${t("asked.hint")} autocomplete="off"
          spellcheck="false" enterkeyhint="search" aria-keyshortcuts="/" maxlength="2000"
          onInput=${(event) => set({ words: event.target.value })} />
        <button class="go" aria-label=${t("asked.search")} title=${t("asked.search")}><${Lens} /></button>
      </label>
      ${several && asked.words.trim() && html`<${Weight} of=${asked.words} value=${asked.weight} set=${(weight) => set({ weight })} />`}
      <ul class="terms" aria-label=${t("asked.terms")}>
        ${asked.terms.map((one) => html`<${Term} key=${one.key} one=${one} weighs=${several} put=${(facts) => put(one.key, facts)} drop=${() => drop(one.key)} />`)}
      </ul>
      <div class="adders">
        <button type="button" onClick=${() => set({ terms: [...asked.terms, term("words", { words: "", fresh: true })] })}>${t("asked.and")}</button>
        <button type="button" onClick=${() => set({ terms: [...asked.terms, term("words", { words: "", minus: true, fresh: true })] })}>${t("asked.not")}</button>
        <${Picker} pick=${pick} />
      </div>
      <p class="hintline">${t("asked.drop")}</p>
      ${problem && html`<p class="problem" role="alert">${problem}</p>`}
      <fieldset class="switch">
        <legend>${t("asked.find")}</legend>
        ${["image", "text"].map((side) => html`
          <label key=${side}><input type="radio" name="to" checked=${asked.to === side} onChange=${() => set({ to: side })} />
            <span>${t(`asked.to.${side}`)}</span></label>`)}
      </fieldset>
      <${Filters} asked=${asked} set=${set} state=${state} />
      <${Options} asked=${asked} set=${set} state=${state} rerank=${rerank} />
      ${!(isEmpty(asked) && whereOf(asked) === null) && html`
        <button type="button" class="plain clear" onClick=${() => { change(nothing(), true); box.current?.focus(); }}>${t("asked.clear")}</button>`}
    </form>`;
}

export const Lens = () => html`<svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true"><circle cx="8.5" cy="8.5" r="5.5" fill="none" stroke="currentColor" stroke-width="1.8" /><path d="M12.8 12.8 17 17" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" /></svg>`;

function Term({ one, weighs, put, drop }) {
  const input = useRef(null);
  useEffect(() => { if (one.fresh) input.current?.focus(); }, []);
  const label = one.kind === "words" ? one.words || t(one.minus ? "asked.minus" : "asked.plus") : one.name;
  return html`
    <li class=${`term ${one.minus ? "minus" : ""}`}>
      <span class="sign" aria-hidden="true">${one.minus ? "−" : "+"}</span>
      ${one.kind === "words" && html`
        <input ref=${input} value=${one.words} maxlength="2000" aria-label=${t(one.minus ? "asked.minus" : "asked.plus")}
          placeholder=${t(one.minus ? "asked.minus.hint" : "asked.plus.hint")} onInput=${(event) => put({ words: event.target.value, fresh: false })} />`}
      ${one.kind !== "words" && html`
        <span class="shown">
          <img src=${one.kind === "item" ? thumbnail(one.item, 160) : one.preview} alt="" width="44" height="44" />
          <span class="clip" title=${one.name}>${one.kind === "item" ? t("asked.like", { name: placed(one.name).name }) : one.name}
            ${one.sending && html`<small>${t("asked.sending")}</small>`}</span>
        </span>`}
      <button type="button" class="icon" aria-label=${t("asked.remove", { what: label })} title=${t("asked.remove", { what: label })} onClick=${drop}>✕</button>
      ${(weighs || one.minus) && html`<${Weight} of=${label} value=${one.weight} set=${(weight) => put({ weight })} />`}
    </li>`;
}

/** A weight from a tenth to three times, in steps that can be told apart. */
function Weight({ of, value, set }) {
  return html`
    <label class="weight"><span class="unseen">${t("asked.weight", { of })}</span>
      <input type="range" min="0.1" max="3" step="0.1" value=${value} aria-valuetext=${number(value, 1)} onInput=${(event) => set(Number(event.target.value))} />
      <output aria-hidden="true">× ${number(value, 1)}</output></label>`;
}

function Picker({ pick }) {
  const input = useRef(null);
  return html`
    <button type="button" onClick=${() => input.current.click()}>${t("asked.picture")}</button>
    <input ref=${input} type="file" accept="image/*,.heic,.heif,.avif,.svg" multiple hidden
      onChange=${(event) => { pick([...event.target.files]); event.target.value = ""; }} />`;
}

function Filters({ asked, set, state }) {
  const facets = useFacets(asked, state);
  const typed = useRef(null);
  const fields = state.collection?.fields || [];
  const chosen = Object.values(asked.chosen).reduce((sum, values) => sum + values.length, 0) + (asked.from || asked.until ? 1 : 0) + (asked.where ? 1 : 0);
  const choose = (field, value) => {
    const now = asked.chosen[field] || [];
    const then = now.includes(value) ? now.filter((one) => one !== value) : [...now, value];
    set({ chosen: { ...asked.chosen, [field]: then } });
  };
  return html`
    <details class="filters" open=${chosen > 0 || matchMedia("(min-width: 60rem)").matches}>
      <summary>${t("filter.title")}${chosen > 0 && html` <span class="count">${number(chosen)}</span>`}</summary>
      ${fields.includes("date") && html`
        <div class="dates">
          <label>${t("filter.from")}<input type="date" value=${asked.from} onChange=${(event) => set({ from: event.target.value })} /></label>
          <label>${t("filter.until")}<input type="date" value=${asked.until} onChange=${(event) => set({ until: event.target.value })} /></label>
        </div>`}
      ${facets.map((facet) => html`<${Facet} key=${facet.field} facet=${facet} chosen=${asked.chosen[facet.field] || []} choose=${(value) => choose(facet.field, value)} />`)}
      <label class="where">${t("filter.where")}
        <input ref=${typed} value=${asked.where} spellcheck="false" autocomplete="off" placeholder=${t("filter.where.hint")}
          aria-describedby="where-help" onChange=${(event) => set({ where: event.target.value })} /></label>
      <p id="where-help" class="note">${t("filter.where.help", { fields: fields.slice(0, 12).join(", ") || "width, height, format" })}</p>
    </details>`;
}

function Facet({ facet, chosen, choose }) {
  const [all, setAll] = useState(false);
  const lost = chosen.filter((value) => !facet.values.some((one) => one.value === value)).map((value) => ({ value, count: 0 }));
  const values = [...facet.values, ...lost];
  const first = values.filter((one, at) => at < SHOWN || chosen.includes(one.value));
  return html`
    <fieldset class="facet">
      <legend>${named(`field.${facet.field}`, facet.field)}</legend>
      <ul>${(all ? values : first).map((one) => html`
        <li key=${String(one.value)}><label class="pickone">
          <input type="checkbox" checked=${chosen.includes(one.value)} onChange=${() => choose(one.value)} />
          <span class="clip">${valueOf(facet.field, one.value)}</span><span class="number">${number(one.count)}</span></label></li>`)}
      </ul>
      ${first.length < values.length && html`<button type="button" class="plain" aria-expanded=${all} onClick=${() => setAll(!all)}>
        ${all ? t("filter.less") : t("filter.more", { count: values.length - first.length })}</button>`}
    </fieldset>`;
}

function valueOf(field, value) {
  if (value === null) return t("filter.none");
  if (value === "" && field === "folder") return t("filter.root");
  return String(value);
}

/** How many pictures have each value, of each field: of those that fulfil what is chosen of the others. */
function useFacets(asked, state) {
  const [facets, set] = useState([]);
  const known = state.collection?.fields || [];
  const fields = FACETS.filter((field) => known.includes(field === "year" ? "date" : field) || field === "folder");
  const key = JSON.stringify([state.collection?.name, state.collection?.generation, fields, asked.to, whereOf(asked)]);
  useEffect(() => {
    if (!state.collection) return undefined;
    const stop = new AbortController(), { signal } = stop;
    const counted = (field) => ask("facets", { signal, query: { field, side: asked.to, where: whereOf(asked, field), collection: state.collection.name, limit: 100 } });
    Promise.all(fields.map(counted)).then((found) => {
      const every = found.flatMap((one) => one.facets).map((one) => ({ ...one, values: ordered(one) }));
      // What is the same for all says nothing.
      set(every.filter((one) => one.values.length > 1 || (asked.chosen[one.field] || []).length));
    }).catch(() => {}); // the search says what is wrong
    return () => stop.abort();
  }, [key]);
  return facets;
}

const ordered = ({ field, values }) =>
  field !== "year" ? values : [...values].sort((one, other) => (one.value === null) - (other.value === null) || other.value - one.value);

function Options({ asked, set, state, rerank }) {
  const models = state.collection?.models || [];
  const select = (name, values, label) => html`
    <label>${label}<select name=${name} value=${asked[name]} onChange=${(event) => set({ [name]: event.target.value })}>
      ${values.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}</select></label>`;
  return html`
    <details class="options">
      <summary>${t("option.title")}</summary>
      ${select("by", ["both", "vectors", "words"].map((value) => [value, t(`option.by.${value}`)]), t("option.by"))}
      ${select("least", ["", "fair", "good", "strong"].map((value) => [value, value ? t("option.least.from", { word: t(`word.${value}`) }) : t("option.least.all")]), t("option.least"))}
      ${select("fold", ["exact", "near", "none"].map((value) => [value, t(`option.fold.${value}`)]), t("option.fold"))}
      ${models.length > 1 && select("model", [["", t("option.model.default", { name: models[0].name })], ...models.slice(1).map((one) => [one.name, one.name])], t("option.model"))}
      ${rerank && html`
        <label class="pickone"><input type="checkbox" checked=${asked.rerank} onChange=${(event) => set({ rerank: event.target.checked })} />
          <span>${t("option.rerank", { name: rerank.name })}<small>${rerank.seconds ? t("option.rerank.cost", { cost: duration(rerank.seconds) }) : t("option.rerank.slower")}</small></span></label>`}
    </details>`;
}
