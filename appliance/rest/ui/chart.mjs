/** The charts of the whole gateway, drawn by uPlot. Without uPlot the page says how to get it, and has all the rest. */

import { byId, el, setText } from "./dom.mjs";
import { bits, short } from "./format.mjs";

const CHARTS = [
  { id: "packets", names: ["in_packets", "out_packets"], factor: 1, said: (rate) => `${short(rate)} packets/s` },
  { id: "bits", names: ["in_bytes", "out_bytes"], factor: 8, said: bits },
];
const HEIGHT = 150;

let uPlot = null;
const drawn = new Map();

/** Get uPlot; nothing is drawn before. */
export async function start() {
  try {
    uPlot = (await import("/ui/uPlot.esm.js")).default;
    document.head.append(el("link", { rel: "stylesheet", href: "/ui/uPlot.min.css" }));
  } catch {
    for (const { id } of CHARTS) setText(byId(`chart-${id}`), "This chart needs uPlot: run `make ui`, and install again.");
  }
}

/** Draw the rates. */
export function show(rates) {
  if (!uPlot || rates.times.length < 2 || byId(`chart-${CHARTS[0].id}`).clientWidth === 0) return;
  for (const chart of CHARTS) {
    const place = byId(`chart-${chart.id}`);
    const data = [rates.times, ...chart.names.map((name) => rates.of(name).map((rate) => (rate === null ? null : rate * chart.factor)))];
    if (!drawn.has(chart.id)) drawn.set(chart.id, made(place, data));
    drawn.get(chart.id).setData(data);
    const [inwards, outwards] = chart.names.map((name) => chart.said(rates.latest(name)));
    place.setAttribute("aria-label", `${chart.id} per second over the last two minutes; now ${inwards} in, ${outwards} out`);
  }
}

/** Draw them anew, because colours or the width are others. */
export function restyle(rates) {
  for (const [id, chart] of drawn) {
    chart.destroy();
    drawn.delete(id);
  }
  show(rates);
}

/** A colour of the style sheet, as a canvas takes it. */
function colour(name) {
  const probe = el("span", { class: `colour-${name}` });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function made(place, data) {
  const time = (second) => (second === null || second === undefined ? "–" : new Date(second * 1000).toLocaleTimeString());
  const axis = { stroke: colour("text"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
  const line = (label, name) => ({ label, stroke: colour(name), width: 2, points: { show: false }, value: (_, value) => short(value) });
  place.replaceChildren();
  const options = {
    width: place.clientWidth || 400,
    height: HEIGHT,
    scales: { y: { range: (_, __, most) => [0, Math.max(most ?? 0, 1) * 1.1] } },
    axes: [{ ...axis, space: 110, values: (_, seconds) => seconds.map(time) }, { ...axis, size: 60, values: (_, values) => values.map(short) }],
    series: [{ label: "at", value: (_, second) => time(second) }, line("in", "in"), line("out", "out")],
  };
  return new uPlot(options, data, place);
}
