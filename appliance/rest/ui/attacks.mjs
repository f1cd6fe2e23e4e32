/** Attacks: those under way come with each sample, those that are over are asked for when another one has ended. */

import { byId, el } from "./dom.mjs";
import { duration, short, whole } from "./format.mjs";
import { asked } from "./token.mjs";

let known = null;
let ended = [];

/** Show the attacks of a sample. */
export async function show(sample) {
  const last = `${sample.attacks_ended} ${sample.last_attack_ended_s}`;
  if (known !== last) {
    known = last;
    try {
      ended = sample.attacks_ended ? (await asked("/stats/attack")).data.ended : [];
    } catch {
      known = null; // asked for again with the next sample
    }
  }
  const rows = [...sample.attacks, ...ended];
  byId("attacks-none").hidden = rows.length > 0;
  byId("attacks-rows").replaceChildren(...rows.map(row));
}

function row(attack) {
  const dropped = Object.entries(attack.rules).map(([rule, count]) => `${rule} ${whole(count)}`).join(", ");
  const cells = [attack.began, attack.ended ?? "under way", duration(attack.lasted_s), whole(attack.dropped), short(attack.rate_per_s),
    short(attack.peak_per_s), `${short(attack.sessions_per_s)} (before: ${short(attack.sessions_per_s_before)})`, dropped];
  const name = el("th", { scope: "row" }, attack.kind, el("br"), el("span", { class: "quiet" }, attack.summary));
  return el("tr", { class: attack.ended ? "" : "now" }, name, ...cells.map((cell) => el("td", {}, cell)));
}
