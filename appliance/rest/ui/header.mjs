/** The head of the page: how the gateway is, and its figures. */

import { byId, el, setText } from "./dom.mjs";
import { bits, short, whole } from "./format.mjs";
import { keyed } from "./keyed.mjs";

const STATUS = { ok: "in order", impaired: "impaired", down: "a shard is down" };

/** Show the sample of the gateway. */
export function show(sample, rates) {
  const status = byId("status");
  setText(status, STATUS[sample.status] ?? sample.status);
  status.dataset.state = sample.status;
  setText(byId("shards"), `${sample.shards - sample.shards_down} of ${sample.shards} shards, lane ${sample.lane}`);
  setText(byId("figure-sessions"), whole(sample.sessions));
  setText(byId("figure-conns"), short(rates.latest("conns")));
  setText(byId("figure-packets"), short(sum(rates.latest("in_packets"), rates.latest("out_packets"))));
  setText(byId("figure-bits"), bits(sum(rates.latest("in_bytes"), rates.latest("out_bytes"))));
  setText(byId("figure-drops"), short(rates.latest("drops")));
  setText(byId("figure-attacks"), sample.attacks.length ? sample.attacks.map((attack) => attack.kind).join(", ") : "none");
  const sentences = [...sample.problems.map((text) => ["problem", text]), ...sample.notes.map((text) => ["note", text])];
  if (sample.services_down) sentences.unshift(["problem", `services that are down: ${sample.services_down}`]);
  keyed(byId("sentences"), sentences, ([kind, text]) => `${kind} ${text}`, ([kind, text]) => ({
    node: el("li", { class: kind }, text),
    update() {},
  }));
}

function sum(one, other) {
  return one === null || other === null ? null : one + other;
}

/** Show how the stream goes: "live", an error, or null while it is asked for again. */
export function showStream(state) {
  const node = byId("stream");
  node.dataset.state = state === "live" ? "ok" : "down";
  setText(node, state === "live" ? "live" : state?.status ? `not live: ${state.message}` : "not live: asking again");
}
