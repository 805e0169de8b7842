// The page: two panels, what is asked on the left and what was found on the right, and the pages beside the search.
import { ask, follow, reach, showing } from "./api.mjs";
import { Asked } from "./asked.mjs";
import { BenchPage } from "./bench.mjs";
import { ChatPage } from "./chat.mjs";
import { CollectionPage, Progress } from "./collection.mjs";
import { Found, Panels } from "./found.mjs";
import { html, render, useCallback, useEffect, useRef, useState, useEvent, useSettled, useWide } from "./lib.mjs";
import { PAGE, fromAddress, isEmpty, requestOf, shapeOf, term, toAddress } from "./query.mjs";
import { choose, current, languages, loadTexts, t } from "./words.mjs";

const TYPING = 180; // milliseconds without a key before what is typed is searched for
const POLL = 3000; // milliseconds before a server that did not answer is asked again

function App() {
  const [route, setRoute] = useState(routeNow);
  const [health, setHealth] = useState(null);
  const [collections, setCollections] = useState([]);
  const [name, setName] = useState(route.collection);
  const [online, setOnline] = useState(true);
  const [, setLanguage] = useState(current());
  const [fault, setFault] = useState(null);
  const collection = name ? collections.find((one) => one.name === name) : collections[0];
  const place = collections.length > 1 && collection ? collection.name : ""; // as addresses have it

  const refresh = useCallback(async () => {
    try {
      const found = await ask("health");
      const held = found.authorized ? (await ask("collections")).collections : null;
      if (held) setCollections(held); // first and at once: a page that is keyed by the collection must not begin without one
      setHealth(found);
      setFault(null);
    } catch (error) {
      if (error.kind === "Unauthorized") setHealth((now) => ({ ...now, authorized: false }));
      else setFault(error);
    }
  }, []);
  useEffect(() => {
    const listen = (ok) => { setOnline(ok); if (ok) refresh(); };
    reach.listeners.add(listen);
    signedIn().then(refresh);
    return () => reach.listeners.delete(listen);
  }, []);
  useEffect(() => { // a server that is away is asked until it is back
    if (online && !fault) return undefined;
    const timer = setInterval(refresh, POLL);
    return () => clearInterval(timer);
  }, [online, fault]);
  useEffect(() => { // a model that is being loaded
    if (!health || health.ready || !health.authorized) return undefined;
    const timer = setTimeout(refresh, POLL);
    return () => clearTimeout(timer);
  }, [health]);
  useEvent("hashchange", () => { const next = routeNow(); setRoute(next); setName(next.collection); });
  const move = (to) => { // the search writes its own address
    if (route.page === "search") setName(to); else location.hash = linkTo(route.page, to);
  };

  const [job, jobError, start] = useJobs(health?.authorized && collection?.name, refresh);
  if (collection && health) showing(collection.name, health.run);
  const state = { health, collection, place, first: collections[0]?.name, job, jobError };
  const say = async (language) => { await choose(language); setLanguage(language); };

  const foot = html`<footer class="foot"><label>${t("shell.language")} <select value=${current()} onChange=${(event) => say(event.target.value)}>
    ${Object.entries(languages()).map(([key, label]) => html`<option key=${key} value=${key} lang=${key}>${label}</option>`)}</select></label><span>Diptych ${health?.version}</span></footer>`;
  const brand = health && html`<${Brand} route=${route} health=${health} collections=${collections} name=${collection?.name} place=${place} move=${move} />`;
  if (!health) return html`<main class="alone">${fault && html`<div class="state" role="alert"><${Panels} /><h1>${t("state.offline")}</h1><p>${fault.message || t("state.offline.more")}</p></div>`}</main>`;
  if (!health.authorized) return html`<${SignIn} done=${refresh} />`;
  if (!collection) return html`<${Unknown} name=${name} collections=${collections} />`;
  return html`
    <a class="skip" href="#found" onClick=${(event) => { event.preventDefault(); document.querySelector("#found").focus(); }}>${t("shell.skip")}</a>
    ${!online && html`<div class="offline" role="alert">${t("state.offline")} ${t("state.offline.more")}</div>`}
    <${SearchPage} active=${route.page === "search"} address=${route.query} state=${state} foot=${foot}>
      ${route.page !== "chat" && brand}
      ${job && ["waiting", "running"].includes(job.state) && route.page !== "collection" && html`<a class="running" href=${linkTo("collection", place)}><${Progress} job=${job} short /></a>`}
    <//>
    ${route.page === "collection" && html`<main id="found" tabindex="-1"><${CollectionPage} state=${state} start=${start} /></main>`}
    ${health.chat && html`<${ChatPage} key=${collection.name} active=${route.page === "chat"} state=${state}>${brand}<//>`}
    ${route.page === "bench" && html`<main id="found" tabindex="-1"><${BenchPage} /></main>`}
    ${route.page !== "search" && foot}`;
}

const routeNow = () => routeOf(location.hash);

function routeOf(hash) {
  const [page, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { page: ["collection", "bench", "chat"].includes(page) ? page : "search", query, collection: new URLSearchParams(query).get("in") || "" };
}

/** The address of a page, of a collection where there are several. */
const linkTo = (page, collection) => `#/${page === "search" ? "" : page}${collection ? `?${new URLSearchParams({ in: collection })}` : ""}`;

/** Whether an address asks nothing, but names a collection at most. */
const isBare = (query) => [...new URLSearchParams(query).keys()].every((key) => key === "in");

/** Trades the token in the address, if there is one, for a cookie; then it is taken out of the address. */
async function signedIn() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  await ask("session", { method: "POST", body: { token } }).catch(() => {}); // a wrong one is asked for on the page
}

function SignIn({ done }) {
  const [error, setError] = useState("");
  const send = async (event) => {
    event.preventDefault();
    try {
      await ask("session", { method: "POST", body: { token: new FormData(event.target).get("token").trim() } });
      await done();
    } catch (failure) {
      setError(failure.kind === "Unauthorized" ? t("sign.wrong") : failure.message || t("state.offline"));
    }
  };
  return html`
    <main class="alone"><form class="state" onSubmit=${send}><${Panels} /><h1>${t("sign.title")}</h1><p>${t("sign.more")}</p>
      <label>${t("sign.token")}<input name="token" type="password" autocomplete="current-password" required autofocus aria-invalid=${error ? "true" : "false"} aria-describedby="sign-error" /></label>
      <p id="sign-error" class="problem" role="alert">${error}</p><button class="main">${t("sign.in")}</button></form></main>`;
}

/** An address that names a collection which is not served here, as one of another server does. */
function Unknown({ name, collections }) {
  return html`
    <main class="alone"><div class="state" role="alert"><${Panels} /><h1>${t("state.unknown", { name })}</h1><p>${t("state.unknown.more")}</p>
      <ul class="choices">${collections.map((one) => html`<li key=${one.name}><a href=${linkTo("search", one.name)}>${one.name}</a></li>`)}</ul></div></main>`;
}

function Brand({ route, health, collections, name, place, move }) {
  const pages = ["search", "collection", ...(health.chat ? ["chat"] : []), ...(health.bench ? ["bench"] : [])];
  return html`
    <div class="brand"><a class="logo" href=${linkTo("search", place)}><svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true"><rect x="3" y="5" width="12" height="22" rx="1.5" fill="none" stroke="currentColor" stroke-width="2.4" /><rect x="17" y="5" width="12" height="22" rx="1.5" fill="currentColor" stroke="currentColor" stroke-width="2.4" /></svg>Diptych</a>
      <nav aria-label=${t("shell.pages")}>${pages.map((page) => html`<a key=${page} href=${linkTo(page, place)} aria-current=${route.page === page ? "page" : undefined}>${t(`shell.${page}`)}</a>`)}</nav>
      ${collections.length > 1 && html`<label class="where">${t("shell.collection")}<select value=${name} onChange=${(event) => move(event.target.value)}>${collections.map((one) => html`<option key=${one.name} value=${one.name}>${one.name}</option>`)}</select></label>`}
    </div>`;
}

/** The job that brings the collection up to date, seen live; with a function that begins one. */
function useJobs(collection, ended) {
  const [job, setJob] = useState(null);
  const [error, setError] = useState(null);
  const stop = useRef(null);
  const watch = (first) => {
    stop.current?.();
    const latest = [];
    setJob({ ...first, latest });
    stop.current = follow(first.job, (next) => {
      setJob({ ...next, latest: [...latest] });
      if (!["waiting", "running"].includes(next.state)) ended();
    }, (one) => { latest.unshift(one); latest.splice(8); });
  };
  useEffect(() => {
    if (!collection) return undefined;
    ask("jobs").then(({ jobs }) => {
      const own = jobs.filter((one) => one.collection === collection && one.kind === "index"); // the newest first
      const last = own.find((one) => ["waiting", "running"].includes(one.state)) || own[0];
      if (last) watch(last); else setJob(null);
    }, setError);
    return () => stop.current?.();
  }, [collection]);
  const start = () => {
    setError(null);
    ask("jobs", { method: "POST", body: { collection, kind: "index" } }).then(watch, setError);
  };
  return [job, error, start];
}

function SearchPage({ active, address, state, foot, children }) {
  const { place, collection: { name } } = state;
  const [kept, setAsked] = useState(() => ({ ...fromAddress(address), of: name }));
  const same = kept.of === name; // items of another collection have other numbers
  const asked = same ? kept : { ...kept, of: name, terms: kept.terms.filter((one) => one.kind !== "item") };
  const written = useRef(address);
  const [problem, setProblem] = useState("");
  const sealed = useRef(true); // whether what is typed next begins a new entry of the history
  const change = (next, finished = false) => {
    setAsked({ ...next, of: name });
    setProblem("");
    const text = toAddress(next, place), typing = !finished && shapeOf(next) === shapeOf(asked);
    if (text !== written.current) {
      if (active) history[typing && !sealed.current ? "replaceState" : "pushState"](null, "", text ? `#/?${text}` : "#/");
      written.current = text;
      sealed.current = !typing;
    } else if (finished) sealed.current = true;
  };
  useEvent("hashchange", ({ oldURL }) => { // somebody went back, or followed a link
    const { page, query, collection } = routeNow(), before = routeOf(new URL(oldURL).hash).page;
    if (page !== "search" || query === written.current) return;
    if (before !== "search" && isBare(query) && collection === place) { history.replaceState(null, "", `#/?${written.current}`); return; }
    written.current = query;
    sealed.current = true;
    setAsked({ ...fromAddress(query), of: collection || state.first });
  });
  useEffect(() => { // chosen here; where the address says it already, that has said what is asked, too
    if (!same && (!active || (routeNow().collection || state.first) !== name)) change(asked, true);
  }, [name]);
  const wide = useWide();
  const pick = usePictures(asked, setAsked, setProblem, state.health);
  const [found, again, more] = useSearch(asked, state, active);
  const whereProblem = found.error?.argument === "where" ? found.error : null;
  useEvent("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
    event.preventDefault();
    document.querySelector('input[name="q"]')?.focus();
  });
  return html`
    <div class=${`panels-two ${active ? "" : "narrow"}`}>
      <div class="left">${children}
        ${active && html`<${Asked} asked=${asked} change=${change} state=${state} problem=${problem || (whereProblem && whereProblem.message)} pick=${pick} rerank=${costed(state.health.rerank, found.facts.rerank)} />${wide && foot}`}
      </div>
      ${active && html`<main class="right" id="found" tabindex="-1"><${Found} asked=${asked} change=${change} found=${found} state=${state} again=${again} more=${more} /></main>`}
    </div>
    ${active && !wide && foot}
    ${active && html`<${DropPlace} pick=${pick} />`}`;
}

/** What ranks anew, with the seconds that it took last: here, or for whoever asked before. */
const costed = (known, last) => known && { ...known, seconds: last && !last.degraded ? (last.pairs * last.milliseconds_a_pair) / 1000 : known.seconds };

/** Takes pictures that are dropped, pasted or picked: each becomes a part of the query and is sent once. */
function usePictures(asked, setAsked, setProblem, health) {
  return (files) => {
    const pictures = files.filter((file) => file.type.startsWith("image/") || /\.(heic|heif|avif|svg)$/i.test(file.name));
    if (!pictures.length) { setProblem(t("asked.nopicture", { name: files[0]?.name || "" })); return; }
    for (const file of pictures) {
      if (health.max_upload && file.size > health.max_upload) { setProblem(t("asked.toolarge", { name: file.name, most: Math.floor(health.max_upload / 1e6) })); continue; }
      const one = term("picture", { name: file.name || t("asked.pasted"), file, preview: URL.createObjectURL(file), sending: true });
      setAsked((now) => ({ ...now, terms: [...now.terms, one] }));
      send(one, setAsked, setProblem);
    }
  };
}

async function send(one, setAsked, setProblem) {
  const put = (change) => setAsked((now) => ({ ...now, terms: now.terms.flatMap((other) => (other.key === one.key ? change(other) : [other])) }));
  const body = new FormData();
  body.append("file", one.file);
  try {
    const { upload } = await ask("uploads", { method: "POST", body });
    put((sent) => [{ ...sent, upload, sending: false }]);
  } catch (error) {
    put(() => []); // what is no picture is no part of what is asked
    setProblem(error.message ? `${one.name}: ${error.message}` : t("state.offline"));
  }
}

/** The whole window takes a picture that is dropped or pasted. */
function DropPlace({ pick }) {
  const [over, setOver] = useState(0);
  const carries = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  useEvent("dragenter", (event) => { if (carries(event)) { event.preventDefault(); setOver((now) => now + 1); } });
  useEvent("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  useEvent("dragleave", (event) => { if (carries(event)) setOver((now) => Math.max(0, now - 1)); });
  useEvent("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    setOver(0);
    pick([...event.dataTransfer.files]);
  });
  useEvent("paste", (event) => {
    const files = [...(event.clipboardData?.files || [])];
    if (!files.length) return;
    event.preventDefault();
    pick(files);
  });
  return over > 0 && html`<div class="dropping" aria-hidden="true"><p>${t("asked.dropping")}</p></div>`;
}

const EMPTY = { results: [], facts: {}, error: null, loading: false, appending: false, whole: true, key: "" };

/** What is found for what is asked, page by page; what was found before stays until the next is there. */
function useSearch(asked, state, active) {
  const words = useSettled(JSON.stringify([asked.words, asked.terms.map((one) => one.words)]), isEmpty(asked) ? 0 : TYPING);
  const [found, setFound] = useState(EMPTY);
  const [again, setAgain] = useState(0);
  const waiting = asked.terms.some((one) => one.sending);
  const { name } = state.collection;
  const request = JSON.stringify(requestOf(asked, name, 0));
  const settled = words === JSON.stringify([asked.words, asked.terms.map((one) => one.words)]);
  const key = `${request} ${again} ${state.collection?.generation}`;
  const stop = useRef(null), now = useRef(found);
  now.current = found;

  useEffect(() => {
    if (!active || !name || !settled || waiting) return undefined;
    stop.current?.abort();
    const mine = new AbortController();
    stop.current = mine;
    setFound((before) => ({ ...before, loading: true, appending: false }));
    searched(asked, name, 0, mine.signal).then((facts) => {
      setFound({ ...EMPTY, key, of: name, facts, results: facts.results, whole: facts.results.length < PAGE });
    }).catch((error) => {
      if (error.name === "AbortError") return;
      setFound((before) => ({ ...(error.kind === "Offline" ? before : EMPTY), key, of: name, error, loading: false }));
    });
    return () => mine.abort();
  }, [key, active, settled, waiting]);

  useEffect(() => { // what was asked while the server was away is asked once it is back
    const back = (ok) => { if (ok && now.current.error?.kind === "Offline") setAgain((count) => count + 1); };
    reach.listeners.add(back);
    return () => reach.listeners.delete(back);
  }, []);

  const more = () => {
    const { loading, whole, results, error, key: at } = now.current;
    if (loading || whole || error || !results.length) return;
    const mine = stop.current;
    setFound((before) => ({ ...before, loading: true, appending: true }));
    now.current = { ...now.current, loading: true };
    searched(asked, name, results.length, mine?.signal).then((facts) => {
      setFound((before) => (before.key !== at ? before : {
        ...before, loading: false, appending: false, whole: facts.results.length < PAGE, results: [...before.results, ...fresh(before.results, facts.results)],
      }));
    }).catch((failure) => { if (failure.name !== "AbortError") setFound((before) => ({ ...before, loading: false, appending: false, whole: true })); });
  };
  const stale = !settled || waiting || found.key !== key; // what is shown is not yet the answer to what is asked
  const own = found.of && found.of !== name ? { ...EMPTY, loading: true } : found; // another collection's pictures are not to be had from this one
  return [{ ...own, stale }, () => setAgain((count) => count + 1), more];
}

/** Results that are not there yet: what came into the collection between two pages moves the rest along. */
function fresh(before, next) {
  const known = new Set(before.map((one) => one.item));
  return next.filter((one) => !known.has(one.item));
}

async function searched(asked, name, offset, signal) {
  return ask("search", { method: "POST", body: requestOf(asked, name, offset), signal });
}

loadTexts().then(() => render(html`<${App} />`, document.querySelector("#app")));
