// The right panel: what was found. Pictures in justified rows, texts in a list, and what is to be said of them.
import { thumbnail } from "./api.mjs";
import { allSame, firstLine, html, placed, useEffect, useLayoutEffect, useMemo, useRef, useSlow, useState, useEvent, useWidth } from "./lib.mjs";
import { Lightbox } from "./lightbox.mjs";
import { isEmpty, isLimited, term } from "./query.mjs";
import { between, justified } from "./rows.mjs";
import { duration, named, number, percent, t } from "./words.mjs";

export const GRADES = { strong: 4, good: 3, fair: 2, weak: 1 };

export function Found({ asked, change, found, state, again, more, points }) {
  const [open, setOpen] = useState(null);
  const { results, error, loading, whole } = found;
  const slow = useSlow(loading && !found.appending);
  const empty = !results.length;
  const shared = useShared(results, asked);
  useEffect(() => setOpen(null), [found.key]);
  return html`
    <section class=${`found ${slow ? "slow" : ""}`} aria-label=${t("found.label")} aria-busy=${loading || found.stale ? "true" : "false"}>
      <${Head} asked=${asked} found=${found} shared=${shared} slow=${slow} state=${state} />
      ${error && html`<${Failure} error=${error} again=${again} />`}
      ${!error && empty && !loading && html`<${Nothing} asked=${asked} change=${change} state=${state} found=${found} />`}
      ${empty && slow && !error && html`<${Waiting} />`}
      ${!empty && asked.to === "image" && html`<${Grid} results=${results} shared=${shared} whole=${whole} more=${more} open=${setOpen} appending=${found.appending} />`}
      ${!empty && asked.to === "text" && html`<${Texts} results=${results} shared=${shared} whole=${whole} more=${more} open=${setOpen} />`}
      ${!empty && results.some((one) => one.by !== "date") && html`<${Legend} results=${results} />`}
      ${open !== null && results[open] && html`
        <${Lightbox} results=${results} at=${open} to=${setOpen} asked=${asked} change=${change} state=${state} more=${more} points=${points && { ...points, more: (result) => { setOpen(null); points.more(result); }, less: (result) => { setOpen(null); points.less(result); } }}
          like=${(result) => { setOpen(null); change({ ...asked, words: "", terms: [term("item", { item: result.item, name: result.id })], to: "image" }, true); }}
          also=${(result) => { setOpen(null); change({ ...asked, terms: [...asked.terms, term("item", { item: result.item, name: result.id })] }); }} />`}
    </section>`;
}

/** What is the same for all results, and so is told once above them instead of below each. */
function useShared(results, asked) {
  return useMemo(() => ({
    word: allSame(results.map((one) => one.word)),
    by: allSame(results.map((one) => one.by)) || results.length < 2,
    folder: allSame(results.map((one) => placed(one.id).folder)),
  }), [results, asked.to]);
}

function Head({ asked, found, shared, slow, state }) {
  const { results, facts, loading, whole } = found;
  const date = results[0]?.by === "date" || (isEmpty(asked) && !results.length);
  const count = state.collection?.[asked.to === "image" ? "images" : "texts"];
  let title = t(date ? (isLimited(asked) ? "found.limited" : "found.newest") : asked.to === "image" ? "found.pictures" : "found.texts");
  return html`
    <header class="head">
      <h1>${title}</h1>
      <p class="note" role="status" aria-live="polite">
        ${slow ? t("found.searching") : !loading && results.length > 0 && html`
          ${date ? t(whole ? "found.all" : "found.of", { count: results.length, of: count ?? "" }) : t("found.count", { count: results.length, of: count ?? "", time: duration(facts.seconds || 0) })}
          ${shared.word && !date && html` · ${t("found.each", { word: named(`word.${results[0].word}`, results[0].word) })}`}`}
      </p>
      ${results.length > 0 && facts.nothing_matches && html`
        <div class="notice"><strong>${t("found.nothing")}</strong> ${t("found.leastbad")}</div>`}
      ${facts.unknown_words?.length > 0 && html`<p class="notice">${t("found.unknown", { words: facts.unknown_words.map((one) => `“${one}”`).join(", "), count: facts.unknown_words.length })}</p>`}
      ${facts.remark && html`<p class="notice">${facts.remark}</p>`}
      ${results.length > 0 && facts.rerank && html`<p class="note">${facts.rerank.degraded
        ? t("found.degraded", { name: facts.rerank.system, reason: facts.rerank.degraded })
        : t("found.reranked", { name: facts.rerank.system, count: facts.rerank.pairs, time: duration((facts.rerank.pairs * facts.rerank.milliseconds_a_pair) / 1000) })}</p>`}
      ${facts.missing > 0 && html`<p class="note">${t("found.missing", { count: facts.missing })}</p>`}
    </header>`;
}

export function Failure({ error, again }) {
  if (error.kind === "Offline") return null; // which is said above every page
  const known = { Late: "state.late", Busy: "state.busy", Starting: "state.starting", Internal: "state.internal" }[error.kind];
  return html`
    <div class="state" role="alert"><h2>${t(known || "state.error")}</h2>
      <p class="said">${error.message}</p>
      <button type="button" onClick=${again}>${t("state.again")}</button></div>`;
}

/** Grey places where pictures will be, so that nothing jumps when they come. */
const Waiting = () => html`<div class="waiting" aria-hidden="true">${Array.from({ length: 12 }, (_, at) => html`<i key=${at} />`)}</div>`;

function Nothing({ asked, change, state, found }) {
  const { collection, job } = state;
  if (!collection) return null;
  const held = collection[asked.to === "image" ? "images" : "texts"];
  let [title, text, action] = ["", "", null];
  if (!collection.images && !collection.texts) {
    const going = job && ["waiting", "running"].includes(job.state);  // one that has ended found nothing
    [title, text] = going ? [t("empty.first"), t("empty.first.more")] : [t("empty.none"), t(state.health.write ? "empty.none.more" : "empty.none.readonly", { folder: collection.folder || collection.name })];
  } else if (!held) {
    [title, text] = [t(`empty.side.${asked.to}`), t(`empty.side.${asked.to}.more`)];
  } else if (asked.least && found.facts.best) {
    const best = found.facts.best;
    [title, text] = [t("empty.least", { word: t(`word.${asked.least}`) }), t("empty.least.more", { name: best.id, word: named(`word.${best.word}`, best.word) })];
    action = [t("empty.least.do"), { least: "" }];
  } else if (isLimited(asked)) {
    [title, text] = [t("empty.filter"), t("empty.filter.more")];
    action = [t("empty.filter.do"), { chosen: {}, from: "", until: "", where: "" }];
  } else if (asked.by === "words") {
    [title, text] = [t("empty.words"), t("empty.words.more")];
    action = [t("empty.words.do"), { by: "both" }];
  } else {
    [title, text] = [t("empty.nothing"), t("empty.nothing.more")];
  }
  return html`
    <div class="state"><${Panels} /><h2>${title}</h2><p>${text}</p>
      ${action && html`<button type="button" onClick=${() => change({ ...asked, ...action[1] })}>${action[0]}</button>`}</div>`;
}

export const Panels = () => html`<svg class="panels" viewBox="0 0 64 44" width="64" height="44" aria-hidden="true"><rect x="2" y="2" width="27" height="40" rx="3" fill="none" stroke="currentColor" stroke-width="2" /><rect x="35" y="2" width="27" height="40" rx="3" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="4 4" /></svg>`;

function Grid({ results, shared, whole, more, open, appending }) {
  const frame = useRef(null);
  const width = useWidth(frame);
  const rem = useMemo(() => parseFloat(getComputedStyle(document.documentElement).fontSize), []);
  const phone = width < 520;
  const layout = useMemo(() => justified(results, {
    width, whole, target: phone ? 150 : width < 900 ? 190 : 225, gap: phone ? 8 : 14,
    foot: (row) => rem * (1.7 + (row.some((one) => one.text) ? 2.3 : 0) + 0.9),
  }), [results, width, whole, rem]);
  const [seen, setSeen] = useState([0, 4]);
  const [focus, setFocus] = useState(0); // the picture that the tab key reaches; arrows move it
  const follow = useRef(false);
  const look = () => {
    const top = frame.current ? -frame.current.getBoundingClientRect().top : 0, screen = window.innerHeight;
    const next = between(layout.rows, top - screen, top + 2 * screen);
    setSeen((now) => (now[0] === next[0] && now[1] === next[1] ? now : next));
    if (!whole && top + 3 * screen > layout.height) more();
  };
  useEvent("scroll", look);
  useEvent("resize", look);
  useLayoutEffect(look, [layout, whole]);
  useEffect(() => { if (focus >= results.length) setFocus(0); }, [results]);
  useLayoutEffect(() => {
    if (!follow.current) return;
    follow.current = false;
    frame.current.querySelector(`[data-at="${focus}"]`)?.focus();
  });
  const rowOf = (at) => layout.rows.findIndex((row) => row.tiles.some((tile) => tile.at === at));
  const go = (at) => {
    const row = layout.rows[rowOf(at)];
    if (!row) return;
    follow.current = true;
    setFocus(at);
    const top = frame.current.getBoundingClientRect().top + window.scrollY + row.top;
    if (top < window.scrollY + 8) window.scrollTo(0, top - 8);
    else if (top + row.total > window.scrollY + window.innerHeight) window.scrollTo(0, top + row.total - window.innerHeight + 8);
  };
  const key = (event) => {
    const here = rowOf(focus), tile = layout.rows[here]?.tiles.find((one) => one.at === focus);
    if (!tile || event.target.dataset.at === undefined) return;
    const beside = (step) => {
      const row = layout.rows[here + step], middle = tile.left + tile.width / 2;
      if (row) go([...row.tiles].sort((one, other) => Math.abs(one.left + one.width / 2 - middle) - Math.abs(other.left + other.width / 2 - middle))[0].at);
    };
    const moves = { ArrowRight: () => go(focus + 1), ArrowLeft: () => go(focus - 1), ArrowDown: () => beside(1), ArrowUp: () => beside(-1), Home: () => go(0), End: () => go(layout.rows.at(-1).tiles.at(-1).at) };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  };
  // The row of the focus stays, so that scrolling never takes it away.
  const kept = rowOf(focus);
  const rows = layout.rows.map((row, at) => [row, at]).filter(([, at]) => (at >= seen[0] && at < seen[1]) || at === kept);
  return html`
    <div class="grid" ref=${frame} onKeyDown=${key} style=${{ height: `${layout.height}px` }}>
      <ul role="list" aria-label=${t("found.grid")}>
        ${width > 0 && rows.map(([row]) => row.tiles.map((tile) => html`
          <${Tile} key=${results[tile.at].item} result=${results[tile.at]} tile=${tile} row=${row} shared=${shared} focused=${tile.at === focus}
            total=${whole ? results.length : -1} open=${() => { setFocus(tile.at); open(tile.at); }} />`))}
      </ul>
    </div>
    ${appending && html`<p class="note center" role="status">${t("found.more")}</p>`}`;
}

function Tile({ result, tile, row, shared, focused, total, open }) {
  const { folder, name } = placed(result.id);
  const place = { transform: `translate(${tile.left}px, ${row.top}px)`, width: `${tile.width}px`, height: `${row.total}px` };
  const words = shared.word || result.by === "date" ? "" : named(`word.${result.word}`, result.word);
  const label = [firstLine(result.text) || name, words].filter(Boolean).join(", ");
  const size = Math.max(tile.width, row.height) * Math.min(devicePixelRatio, 2) > 340 ? 640 : 320;
  return html`
    <li class="tile" style=${place} aria-setsize=${total} aria-posinset=${tile.at + 1}>
      <button type="button" data-at=${tile.at} tabindex=${focused ? 0 : -1} onClick=${open} aria-label=${t("found.open", { what: label })}>
        <${Picture} item=${result.item} size=${size} style=${{ width: `${tile.width}px`, height: `${row.height}px` }} />
        ${result.copies.length > 0 && html`<span class="copies">${t("found.copies", { count: result.copies.length })}</span>`}
      </button>
      ${result.text && html`<p class="caption" title=${result.text}>${firstLine(result.text)}</p>`}
      <p class="under"><${Grade} result=${result} shared=${shared} /><span class="clip" title=${result.id}>${name}${!shared.folder && folder && html`<i> ${folder}</i>`}</span></p>
    </li>`;
}

/** A small picture that is asked for once it is nearly seen; a mark where it cannot be read. */
export function Picture({ item, size, style, alt = "" }) {
  const [failed, setFailed] = useState(false);
  useEffect(() => setFailed(false), [item]);
  if (failed) return html`<span class="lost" style=${style}>${t("found.lost")}</span>`;
  return html`<img src=${thumbnail(item, size)} alt=${alt} loading="lazy" decoding="async" style=${style} onError=${() => setFailed(true)} />`;
}

/** How well a result fits, in a word, and whether words or what it shows found it; nothing that all have in common. */
export function Grade({ result, shared = {} }) {
  if (result.by === "date") return null;
  const grade = GRADES[result.word];
  const told = result.percentile === null ? "" : percent(result.percentile);
  return html`
    ${!shared.word && (grade ? html`<span class=${`grade ${result.word}`} title=${told && t("grade.title", { percent: told })}><${Meter} grade=${grade} />${t(`word.${result.word}`)}</span>` : html`<span class="grade weak">${named(`word.${result.word}`, result.word)}</span>`)}
    ${!shared.by && html`<${By} by=${result.by} inside=${result.found_in} />`}`;
}

export const Meter = ({ grade }) => html`<span class="meter" aria-hidden="true">${[1, 2, 3, 4].map((one) => html`<i key=${one} class=${one <= grade ? "on" : ""} />`)}</span>`;

/** The mark of what words found; what is found by what it shows needs none. */
export function By({ by, inside }) {
  if (by !== "words" && by !== "both") return null;
  const title = t(`by.${by}`, { where: inside ? named(`in.${inside}`, t("in.caption")) : "" });
  return html`<span class="by" role="img" aria-label=${title} title=${title}>Aa${by === "words" && html`<i> ${t("by.only")}</i>`}</span>`;
}

function Texts({ results, shared, whole, more, open }) {
  useEvent("scroll", () => { if (!whole && window.scrollY + 2 * window.innerHeight > document.body.scrollHeight) more(); });
  return html`
    <ol class="texts" aria-label=${t("found.list")}>
      ${results.map((result, at) => html`
        <li key=${result.item}>
          <button type="button" class="about" onClick=${() => open(at)} aria-label=${t("found.open", { what: firstLine(result.text) })}><${Picture} item=${result.item} size=${160} /></button>
          <div><blockquote>${result.text}</blockquote>
            <p class="under"><${Grade} result=${result} shared=${shared} /><span class="clip" title=${result.id}>${result.id}</span></p></div>
        </li>`)}
    </ol>`;
}

function Legend({ results }) {
  const marked = results.some((one) => one.by === "words" || one.by === "both");
  return html`
    <details class="legend">
      <summary>${t("legend.title")}</summary>
      <dl>
        ${[["strong", 99.5, 0.5], ["good", 98, 2], ["fair", 96, 4], ["weak", 0, 0]].map(([word, from, none]) => html`
          <div key=${word}><dt class=${word}><${Meter} grade=${GRADES[word]} />${t(`word.${word}`)}</dt><dd>${t(`legend.${word}`, { from: number(from, from % 1 ? 1 : 0), none: number(none, none % 1 ? 1 : 0) })}</dd></div>`)}
        ${marked && ["both", "words"].map((by) => html`<div key=${by}><dt><${By} by=${by} inside="" /></dt><dd>${t(`legend.by.${by}`)}</dd></div>`)}
      </dl>
      <p class="note">${t("legend.note")}</p>
    </details>`;
}
