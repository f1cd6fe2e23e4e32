/** The latest events of real servers. They are asked for when a sample says that there is another one. */

import { byId, el } from "./dom.mjs";
import { clock } from "./format.mjs";
import { asked } from "./token.mjs";

const SHOWN = 20;
let known = null;

/** Look whether there are others than those that are shown. */
export async function show(sample) {
  if (known === sample.last_event) return;
  known = sample.last_event;
  try {
    const { data } = await asked(`/events?limit=${SHOWN}&since=${Math.max(0, known - SHOWN)}`);
    byId("events-rows").replaceChildren(...data.events.reverse().map(row));
    byId("events-none").hidden = data.events.length > 0;
    byId("events").hidden = data.events.length === 0;
  } catch {
    known = null; // asked for again with the next sample
  }
}

function row(event) {
  const cells = [clock(event.at_s), event.kind, event.service, event.real_server, event.text];
  return el("tr", {}, ...cells.map((cell) => el("td", {}, cell)));
}
