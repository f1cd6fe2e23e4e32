/** Sessions, a page at a time. They are asked for when somebody wants them, and not every second: the shards have to look. */

import { nextPlace } from "./api.mjs";
import { byId, el, setText } from "./dom.mjs";
import { duration } from "./format.mjs";
import { asked } from "./token.mjs";

const PAGE = 50;
const FIELDS = ["client", "service", "real_server", "state"];
let place = "";

/** Make the filter and the pages work. */
export function start() {
  byId("sessions-form").addEventListener("submit", (event) => {
    event.preventDefault();
    load("");
  });
  byId("sessions-next").addEventListener("click", () => load(place));
}

/** The URL of a page of sessions: only filters that are filled in stand there. */
export function urlOf(filter, after) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  for (const name of FIELDS) if (filter[name]) query.set(name, filter[name]);
  if (after) query.set("after", after);
  return `/conns?${query}`;
}

async function load(after) {
  const filter = Object.fromEntries(FIELDS.map((name) => [name, byId(`sessions-${name}`).value.trim()]));
  const said = byId("sessions-said");
  try {
    const { data, headers } = await asked(urlOf(filter, after));
    place = nextPlace(headers.get("Link"));
    byId("sessions-rows").replaceChildren(...data.map(row));
    byId("sessions-next").disabled = !place;
    setText(said, `${data.length} sessions on this page${place ? ", and there are more" : ""}`);
    said.dataset.state = "ok";
  } catch (error) {
    setText(said, error.message);
    said.dataset.state = "down";
  }
}

function row(session) {
  const cells = [session.protocol, session.source, session.virtual, session.local, session.destination, session.state,
    duration(session.expires_s), session.service, session.chosen_by, session.lane ? "kernel" : "worker"];
  return el("tr", {}, ...cells.map((cell) => el("td", {}, String(cell))));
}
