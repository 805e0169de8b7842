// The chat: a dialogue on the left in which the system asks back, and on the right what was found so far.
import { told } from "./api.mjs";
import { Found } from "./found.mjs";
import { html, useEffect, useRef, useSlow, useState } from "./lib.mjs";
import { nothing, toAddress } from "./query.mjs";
import { duration, t } from "./words.mjs";

const NONE = { results: [], facts: {}, error: null, loading: false, appending: false, whole: true, key: "" };
const NEW = { chat: null, turns: [], found: null };
const kept = new Map(); // the dialogue about each collection

/** Stays while another page is shown, with the turn that goes on and what is typed. */
export function ChatPage({ active, state, children }) {
  const collection = state.collection?.name;
  const [talk, set] = useState(kept.get(collection) || NEW);
  const [turn, setTurn] = useState(null); // the one that goes on
  const [error, setError] = useState(null);
  const [draft, setDraft] = useState("");
  const box = useRef(null), end = useRef(null), stop = useRef(null);
  const setTalk = (next) => { kept.set(collection, next); set(next); };
  const say = async (what) => {
    const mine = new AbortController();
    stop.current = mine;
    setTurn({ said: what.say || "", step: null });
    setError(null);
    try {
      const body = { collection, ...(talk.chat ? { chat: talk.chat } : {}), ...what };
      setTalk(await told("chat/events", (_, step) => setTurn((now) => ({ ...now, step })), { method: "POST", body, signal: mine.signal }));
    } catch (failure) {
      if (mine.signal.aborted) return; // a new dialogue was begun, or another page
      setError(failure);
      if (what.say) setDraft((now) => now || what.say); // the turn was not kept: it can be said again
      if (failure.argument === "chat") setTalk({ ...talk, chat: null }); // the next thing said begins a new one
    }
    setTurn(null);
  };
  useEffect(() => () => stop.current?.abort(), []);
  useEffect(() => { end.current?.scrollIntoView({ block: "nearest" }); box.current?.focus({ preventScroll: true }); }, [talk.turns.length, turn?.said, turn?.step?.step, active]);
  const send = (event) => {
    event.preventDefault();
    const text = draft.trim();
    if (!text || turn) return;
    setDraft("");
    say({ say: text });
  };
  const anew = () => { stop.current?.abort(); setTurn(null); setTalk(NEW); setError(null); box.current?.focus(); };
  if (!active) return null;
  const last = talk.turns.at(-1), facts = turn?.step?.found || talk.found; // what is found is shown before anything is asked back
  const asked = { ...nothing(), words: turn?.step?.searched || last?.searched || turn?.said || draft };
  const found = { ...NONE, results: facts?.results || [], facts: facts || {}, loading: Boolean(turn) && !turn.step?.found, error, key: String(talk.turns.length) };
  // Nothing can be pointed at while a turn goes on; the buttons wait, and never mean a search that leaves the chat.
  const points = { wait: Boolean(turn), more: (result) => say({ more: [result.rank] }), less: (result) => say({ less: [result.rank] }) };
  return html`
    <div class="panels-two">
      <div class="left">${children}
        <section class="talk" aria-label=${t("chat.label")}>
          <ol aria-live="polite">
            ${!talk.turns.length && html`<li class="asks">${t("chat.begin")}</li>`}
            ${talk.turns.map((turn, at) => html`
              <li key=${`s${at}`} class="says">${turn.said}</li>
              ${turn.searched !== turn.said && html`<li key=${`q${at}`} class="note">${t("chat.searched", { text: turn.searched })}</li>`}
              ${turn.degraded && html`<li key=${`d${at}`} class="note">${t("chat.degraded", { reason: turn.degraded })}</li>`}
              ${turn.ask && html`<li key=${`a${at}`} class="asks">${turn.ask}</li>`}`)}
            ${turn && html`<${Going} turn=${turn} />`}
            <li ref=${end} aria-hidden="true" />
          </ol>
          <form onSubmit=${send}>
            <label><span class="unseen">${t("chat.say")}</span>
              <textarea ref=${box} rows="2" maxlength="2000" value=${draft} onInput=${(event) => setDraft(event.target.value)} placeholder=${last ? t("chat.answer") : t("chat.describe")}
                onKeyDown=${(event) => { if (event.key === "Enter" && !event.shiftKey) send(event); }} /></label>
            <div class="adders"><button class="main" disabled=${Boolean(turn)}>${t("chat.send")}</button>
              ${last && html`<button type="button" disabled=${Boolean(turn) || !talk.chat} onClick=${() => say({ undo: true })}>${t("chat.undo")}</button>`}
              ${(last || turn) && html`<button type="button" onClick=${anew}>${t("asked.clear")}</button>`}</div>
          </form>
          ${talk.model && html`<p class="note">${t("chat.model", { name: talk.model })}</p>`}
        </section>
      </div>
      <main class="right" id="found" tabindex="-1">
        ${(last || turn || error) && html`<${Found} asked=${asked} found=${found} state=${state} again=${() => setError(null)} more=${() => {}} points=${points}
          change=${(next) => { location.hash = `#/?${toAddress(next, state.place)}`; }} />`}
      </main>
    </div>`;
}

/** The turn that goes on: what was said, what is done with it, and for how long already. */
function Going({ turn }) {
  const slow = useSlow(true);
  const [seconds, count] = useState(0);
  useEffect(() => { const timer = setInterval(() => count((now) => now + 1), 1000); return () => clearInterval(timer); }, []);
  const { step, said } = turn;
  return html`
    ${said && html`<li class="says">${said}</li>`}
    ${step?.searched && step.searched !== said && html`<li class="note">${t("chat.searched", { text: step.searched })}</li>`}
    ${slow && html`<li class="note"><span role="status">${t(step?.found ? "chat.asking" : "chat.describing")}</span>${seconds > 2 && html` <span aria-hidden="true">${duration(seconds)}</span>`}</li>`}`;
}
