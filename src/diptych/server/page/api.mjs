// The server's API: one function a request; a failure is an `ApiError` with the server's sentence.

export class ApiError extends Error {
  constructor(kind, message, { argument = "", status = 0, after = 0 } = {}) {
    super(message);
    Object.assign(this, { kind, argument, status, after });
  }
}

const ROOT = "api/v1/";
const PATIENCE = 3; // times a busy server is asked again

/** Whoever wants to know that the server was reached, or was not. */
export const reach = { listeners: new Set(), ok: true };

function reached(ok) {
  if (ok === reach.ok) return;
  reach.ok = ok;
  reach.listeners.forEach((listener) => listener(ok));
}

/** The JSON that the server answers with; null where it answers with nothing. */
export async function ask(path, how = {}) {
  const response = await asked(path, how);
  return response.status === 204 ? null : response.json();
}

/** What the server tells as it goes on: calls `on` with each event before the last, and gives what that says. */
export async function told(path, on, how = {}) {
  const response = await asked(path, { ...how, accept: "text/event-stream" });
  let rest = "";
  try {
    for await (const text of parts(response.body.pipeThrough(new TextDecoderStream()))) {
      const blocks = (rest + text).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const found = /^event: (\w+)\ndata: (.*)$/.exec(block);
        if (!found) continue; // a comment, by which the server says that it is there
        const [name, facts] = [found[1], JSON.parse(found[2])];
        if (name === "end") return facts;
        if (name === "error") throw new ApiError(facts.error.kind, facts.error.message, { argument: facts.error.argument });
        on(name, facts);
      }
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
  }
  reached(false); // it broke off before it was told all
  throw new ApiError("Offline", "");
}

async function* parts(stream) { // not every browser goes through a stream by itself
  const reader = stream.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
}

async function asked(path, { method = "GET", query = {}, body, signal, accept = "application/json" }) {
  const url = new URL(ROOT + path, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
  }
  const options = { method, signal, credentials: "same-origin", headers: { Accept: accept } };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  for (let again = 0; ; again += 1) {
    const response = await answered(url, options);
    if (response.ok) return response;
    const error = await errorOf(response);
    if (response.status !== 429 || again >= PATIENCE) throw error;
    await new Promise((done) => setTimeout(done, 1000 * Math.min(error.after || 1, 10)));
    if (signal?.aborted) throw new DOMException("", "AbortError");
  }
}

async function answered(url, options) {
  try {
    const response = await fetch(url, options);
    reached(true);
    return response;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    reached(false);
    throw new ApiError("Offline", "");
  }
}

async function errorOf(response) {
  const facts = { status: response.status, after: Number(response.headers.get("Retry-After")) };
  try {
    const { error } = await response.json();
    return new ApiError(error.kind, error.message, { ...facts, argument: error.argument });
  } catch {
    return new ApiError("Internal", `${response.status} ${response.statusText}`, facts);
  }
}

let pictures = ""; // of which collection of which server, in addresses of pictures

/** Says whose pictures are shown: numbers of items are those of one collection. */
export function showing(collection, run) {
  pictures = new URLSearchParams({ collection, run }).toString();
}

export const thumbnail = (item, size) => `${ROOT}items/${item}/thumbnail?size=${size}&${pictures}`;
export const original = (item, download = false) => `${ROOT}items/${item}/original?${download ? "download=1&" : ""}${pictures}`;

/** Follows a job to its end: calls `on` with each of its states, and `skipped` with each file that could not be taken. */
export function follow(job, on, skipped = () => {}) {
  const source = new EventSource(`${ROOT}jobs/${encodeURIComponent(job)}/events`);
  const told = (event) => on(JSON.parse(event.data));
  source.addEventListener("progress", told);
  source.addEventListener("skipped", (event) => skipped(JSON.parse(event.data)));
  source.addEventListener("end", (event) => { source.close(); told(event); });
  return () => source.close();
}
