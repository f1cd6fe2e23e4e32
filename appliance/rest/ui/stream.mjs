/**
 * The stream of samples. It is read with fetch and not with EventSource, which cannot send a token: a token in the URL would
 * stand in logs.
 */

const PAUSES_MS = [1000, 2000, 5000, 10000];

/** A stream that says nothing for so long is dead, although no end of the connection may know. */
const SILENT_MS = 10000;

/** Server-sent events out of pieces of text, wherever these are cut. */
export class EventParser {
  constructor() {
    this.rest = "";
  }

  /** The events that are complete with this piece: `{ event, data }`. */
  feed(piece) {
    const blocks = (this.rest + piece).split("\n\n");
    this.rest = blocks.pop();
    return blocks.map(parsed).filter((found) => found.data !== "");
  }
}

function parsed(block) {
  const found = { event: "message", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const field = line.slice(0, colon);
    if (colon > 0 && field in found) found[field] = line.slice(colon + 1).replace(/^ /, "");
  }
  return found;
}

/** The URL of the samples of a window. */
export function urlOf({ match, offset }) {
  const query = new URLSearchParams();
  if (match) query.set("match", match);
  if (offset) query.set("offset", String(offset));
  return query.size ? `/samples?${query}` : "/samples";
}

/**
 * Read the stream until `signal` ends it, and ask again when it breaks off. `onEvent` gets each event with its data;
 * `onState` gets "live", or what is the matter: an error with a `status`, or null for a stream that has ended.
 */
export async function follow(url, { headers, signal, onEvent, onState }) {
  for (let tries = 0; !signal.aborted; tries += 1) {
    try {
      const response = await fetch(url, { headers: { ...headers(), Accept: "text/event-stream" }, signal, cache: "no-store" });
      if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
      tries = 0;
      await readAll(response.body, (found) => {
        onState("live");
        onEvent(found.event, JSON.parse(found.data));
      });
      onState(null);
    } catch (error) {
      if (signal.aborted) return;
      onState(error);
      if (error.status === 401) return;
    }
    await pause(PAUSES_MS[Math.min(tries, PAUSES_MS.length - 1)], signal);
  }
}

async function readAll(body, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await inTime(reader.read());
      if (done) return;
      parser.feed(value).forEach(onEvent);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** What a promise gives, unless it takes too long. */
async function inTime(promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("nothing came")), SILENT_MS); });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
