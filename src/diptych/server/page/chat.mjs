// The chat: a dialogue on the left in which the system asks back, and on the right what was found so far.
import { ask } from "./api.mjs";
import { Found } from "./found.mjs";
import { html, useEffect, useRef, useSlow, useState } from "./lib.mjs";
import { nothing, toAddress } from "./query.mjs";
import { t } from "./words.mjs";

const NONE = { results: [], facts: {}, error: null, loading: false, appending: false, whole: true, key: "" };

export function ChatPage({ state, children }) {
  const [talk, setTalk] = useState({ chat: null, turns: [], found: null });
  const [waiting, setWaiting] = useState(false);
  const [error, setError] = useState(null);
  const box = useRef(null), end = useRef(null);
  const slow = useSlow(waiting);
  const collection = state.collection?.name;
  const say = async (what) => {
    setWaiting(true);
    setError(null);
    try {
      setTalk(await ask("chat", { method: "POST", body: { collection, ...(talk.chat ? { chat: talk.chat } : {}), ...what } }));
    } catch (failure) {
      setError(failure);
      if (failure.argument === "chat") setTalk({ chat: null, turns: [], found: null });
    }
    setWaiting(false);
  };
  useEffect(() => { end.current?.scrollIntoView({ block: "nearest" }); box.current?.focus(); }, [talk.turns.length]);
  const send = (event) => {
    event.preventDefault();
    const text = box.current.value.trim();
    if (!text || waiting) return;
    box.current.value = "";
    say({ say: text });
  };
  const last = talk.turns.at(-1);
  const asked = { ...nothing(), words: last?.searched || "" };
  const found = { ...NONE, results: talk.found?.results || [], facts: talk.found || {}, loading: waiting, error, key: String(talk.turns.length) };
  const points = { more: (result) => say({ more: [result.rank] }), less: (result) => say({ less: [result.rank] }) };
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
            ${slow && html`<li class="note" role="status">${t("chat.waiting")}</li>`}
            <li ref=${end} aria-hidden="true" />
          </ol>
          <form onSubmit=${send}>
            <label><span class="unseen">${t("chat.say")}</span>
              <textarea ref=${box} rows="2" maxlength="2000" placeholder=${last ? t("chat.answer") : t("chat.describe")}
                onKeyDown=${(event) => { if (event.key === "Enter" && !event.shiftKey) send(event); }} /></label>
            <div class="adders"><button class="main" disabled=${waiting}>${t("chat.send")}</button>
              ${last && html`<button type="button" disabled=${waiting} onClick=${() => say({ undo: true })}>${t("chat.undo")}</button>
              <button type="button" onClick=${() => { setTalk({ chat: null, turns: [], found: null }); setError(null); }}>${t("asked.clear")}</button>`}</div>
          </form>
          ${talk.model && html`<p class="note">${t("chat.model", { name: talk.model })}</p>`}
        </section>
      </div>
      <main class="right" id="found" tabindex="-1">
        ${(last || error) && html`<${Found} asked=${asked} found=${found} state=${state} again=${() => setError(null)} more=${() => {}} points=${points}
          change=${(next) => { location.hash = `#/?${toAddress(next)}`; }} />`}
      </main>
    </div>`;
}
