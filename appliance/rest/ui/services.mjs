/** Services and their real servers: health, rates, drain and weight. */

import { byId, el, setText } from "./dom.mjs";
import { bits, short, whole } from "./format.mjs";
import { keyed } from "./keyed.mjs";
import { RatesByName } from "./rates.mjs";
import { spark } from "./spark.mjs";
import { changed } from "./token.mjs";

const COUNTED = ["conns", "in_packets", "out_packets", "in_bytes", "out_bytes"];
const rates = new RatesByName();
const before = [];
let shown = { offset: 0, next: null };
let watch = () => {};

/** Make the filter and the pages work; `watched` gets another window. */
export function start(watched) {
  watch = watched;
  byId("match-form").addEventListener("submit", (event) => {
    event.preventDefault();
    before.length = 0;
    watch({ match: byId("match").value.trim(), offset: 0 });
  });
  byId("services-next").addEventListener("click", () => {
    before.push(shown.offset);
    watch({ match: byId("match").value.trim(), offset: shown.next });
  });
  byId("services-back").addEventListener("click", () => watch({ match: byId("match").value.trim(), offset: before.pop() ?? 0 }));
}

/** Show the sample of a window. */
export function show(sample, clock) {
  shown = sample;
  rates.add(clock, pairs(sample.services));
  const last = sample.offset + sample.services.length;
  const range = sample.services.length ? `${sample.offset + 1} to ${last} of ${sample.matching}` : `none of ${sample.matching}`;
  setText(byId("services-range"), sample.matching === sample.total ? `${range} services` : `${range} that match, ${sample.total} in all`);
  byId("services-next").disabled = sample.next === null;
  byId("services-back").disabled = sample.offset === 0;
  const table = byId("services-table");
  keyed(table, [null, ...sample.services], (service) => service?.name ?? "", (service) => (service ? made(service) : head(table)));
}

function head(table) {
  return { node: table.tHead, update() {} };
}

/** A name and totals for each service and for each of its real servers. */
function* pairs(services) {
  for (const service of services) {
    yield [service.name, Object.fromEntries(COUNTED.map((name) => [name, total(service, name)]))];
    for (const server of service.real_servers) {
      yield [`${service.name} ${server.endpoint}`, Object.fromEntries(COUNTED.map((name) => [name, server[name]]))];
    }
  }
}

function total(service, name) {
  return service.real_servers.reduce((sum, server) => sum + server[name], 0);
}

function made(service) {
  const about = el("span", { class: "quiet" });
  const name = el("th", { scope: "rowgroup", colspan: "3" }, service.name, " ", about);
  const cells = figures();
  const leftOut = el("td", {});
  const row = el("tr", { class: "service" }, name, ...cells.nodes, leftOut);
  const node = el("tbody", {}, row);
  return {
    node,
    update(now) {
      const synproxy = now.synproxy === "never" ? "" : `, synproxy ${now.synproxy}`;
      setText(about, `${now.protocol} ${now.vip}:${now.port} ${now.scheduler}${synproxy}`);
      cells.show(rates.get(now.name), total(now, "active_conns"), total(now, "inactive_conns"));
      setText(leftOut, now.left_out ? `${now.left_out} more real servers` : "");
      const rows = [null, ...now.real_servers];
      keyed(node, rows, (server) => server?.endpoint ?? "", (server) => (server ? realServer(now.name, server) : { node: row, update() {} }));
    },
  };
}

/** The cells that a service and a real server have in common. */
function figures() {
  const line = spark();
  const cells = Object.fromEntries(["active", "inactive", "conns", "in", "out"].map((name) => [name, el("td", { class: "number" })]));
  return {
    nodes: [...Object.values(cells), el("td", { class: "spark-cell" }, line.node)],
    show(rate, active, inactive) {
      setText(cells.active, whole(active));
      setText(cells.inactive, whole(inactive));
      setText(cells.conns, short(rate.latest("conns")));
      setText(cells.in, bits(rate.latest("in_bytes")));
      setText(cells.out, bits(rate.latest("out_bytes")));
      const inwards = rate.of("in_packets");
      const outwards = rate.of("out_packets");
      line.show(inwards.map((number, place) => (number ?? 0) + (outwards[place] ?? 0)));
    },
  };
}

function realServer(service, first) {
  const path = `/services/${encodeURIComponent(service)}/real_servers/${encodeURIComponent(first.endpoint)}`;
  const said = el("span", { role: "status", class: "said" });
  const state = el("td", {});
  const weight = weightForm(path, first, said);
  const drain = el("button", { type: "button", onclick: () => act(said, () => changed(`${path}/drain`, { method: drain.dataset.method })) });
  const cells = figures();
  const node = el("tr", {}, el("th", { scope: "row" }, first.endpoint), state, el("td", {}, weight.node), ...cells.nodes,
    el("td", { class: "change" }, drain, said));
  return {
    node,
    update(server) {
      setText(state, word(server));
      state.dataset.state = server.is_up ? (server.is_drained ? "drained" : "ok") : "down";
      cells.show(rates.get(`${service} ${server.endpoint}`), server.active_conns, server.inactive_conns);
      weight.show(server.weight);
      drain.dataset.method = server.is_drained ? "DELETE" : "POST";
      setText(drain, server.is_drained ? "Undrain" : "Drain");
      drain.setAttribute("aria-label", `${server.is_drained ? "Take back the drain of" : "Drain"} ${server.endpoint} of ${service}`);
    },
  };
}

function word(server) {
  return `${server.is_up ? "up" : "down"}${server.is_drained ? ", drained" : ""}${server.is_backup ? ", backup" : ""}`;
}

/** The weight, which may be changed. What somebody is typing stays while samples come. */
function weightForm(path, first, said) {
  const input = el("input", { type: "number", min: "0", required: true, "aria-label": `Weight of ${first.endpoint}` });
  const button = el("button", { type: "submit", hidden: true }, "Set");
  let now = null;
  const show = (weight) => {
    const isUntouched = input.value === "" ? document.activeElement !== input : Number(input.value) === now;
    if (isUntouched) input.value = String(weight);
    now = weight;
    button.hidden = Number(input.value) === now;
  };
  const node = el("form", { class: "inline", onsubmit: (event) => {
    event.preventDefault();
    act(said, () => changed(path, { method: "PATCH", body: { weight: Number(input.value) } }));
  } }, input, button);
  input.addEventListener("input", () => { button.hidden = Number(input.value) === now; });
  return { node, show };
}

/** Do what was asked for, and say what became of it. */
export async function act(said, change) {
  setText(said, "");
  try {
    await change();
    setText(said, "done");
    said.dataset.state = "ok";
  } catch (error) {
    setText(said, error.message);
    said.dataset.state = "down";
  }
}
