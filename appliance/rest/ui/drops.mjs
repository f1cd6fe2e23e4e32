/** Packets that were not sent on, by reason. */

import { byId, el, setText } from "./dom.mjs";
import { short, whole } from "./format.mjs";
import { keyed } from "./keyed.mjs";
import { spark } from "./spark.mjs";

let reasons = {};

/** Get what each reason means. */
export async function start() {
  try {
    reasons = (await import("/ui/reasons.mjs")).default;
  } catch {
    // the names say something too
  }
}

/** Reasons and totals, those with the highest rate first, then those with the highest total. */
export function sorted(drops, rates) {
  return Object.entries(drops).sort(([one, few], [other, many]) => Math.round((rates.latest(other) ?? 0) - (rates.latest(one) ?? 0)) || many - few);
}

/** Show the drops of a sample: those of the shards and the lane, and those of the defence in the kernel. */
export function show(sample, rates) {
  const drops = { ...sample.drops, ...Object.fromEntries(Object.entries(sample.kernel_drops).map(([name, total]) => [`kernel: ${name}`, total])) };
  const rows = sorted(drops, rates);
  byId("drops-none").hidden = rows.length > 0;
  keyed(byId("drops-rows"), rows, ([name]) => name, ([name]) => made(name, rates));
}

function made(name, rates) {
  const line = spark();
  const rate = el("td", { class: "number" });
  const total = el("td", { class: "number" });
  const { summary = "dropped by a rule of the defence, before any shard saw it", remedy = "" } = reasons[name] ?? {};
  const node = el("tr", {}, el("th", { scope: "row" }, name), rate, total, el("td", { class: "spark-cell" }, line.node),
    el("td", {}, summary, el("br"), el("span", { class: "quiet" }, remedy)));
  return {
    node,
    update([, count]) {
      setText(rate, short(rates.latest(name)));
      setText(total, whole(count));
      line.show(rates.of(name));
    },
  };
}
