/** Tunables: value, range, unit, meaning. They are asked for when a sample says that another write was made. */

import { byId, el, setText } from "./dom.mjs";
import { keyed } from "./keyed.mjs";
import { act } from "./services.mjs";
import { asked, changed } from "./token.mjs";

let known = null;
let all = [];

/** Make the filter work. */
export function start() {
  byId("tunables-match").addEventListener("input", showAll);
}

/** Look whether there are others than those that are shown. */
export async function show(sample) {
  if (known === sample.tunables) return;
  known = sample.tunables;
  try {
    all = Object.entries((await asked("/sysctl")).data);
    showAll();
  } catch {
    known = null; // asked for again with the next sample
  }
}

function showAll() {
  const match = byId("tunables-match").value.trim().toLowerCase();
  const rows = all.filter(([name, { summary }]) => `${name} ${summary}`.toLowerCase().includes(match));
  keyed(byId("tunables-rows"), rows, ([name]) => name, ([name, tunable]) => made(name, tunable));
}

function made(name, { min, max, unit, summary, default: usual }) {
  const said = el("span", { role: "status", class: "said" });
  const value = el("td", { class: "number" });
  // A text and not a number field: what is out of range is the API's to refuse, and it says why.
  const input = el("input", { type: "text", inputmode: "numeric", required: true, maxlength: "20", "aria-label": `New value of ${name}` });
  const form = el("form", { class: "inline", onsubmit: (event) => {
    event.preventDefault();
    act(said, async () => {
      await changed(`/sysctl/${encodeURIComponent(name)}`, { method: "PUT", body: written(input.value) });
      input.value = "";
    });
  } }, input, el("button", { type: "submit", "aria-label": `Set ${name}` }, "Set"), said);
  const node = el("tr", {}, el("th", { scope: "row" }, name), value, el("td", {}, form), el("td", { class: "number" }, String(usual)),
    el("td", {}, `${min} to ${max}`), el("td", {}, unit), el("td", {}, summary));
  return {
    node,
    update([, tunable]) {
      setText(value, tunable.value);
      value.dataset.state = tunable.value === tunable.default ? "" : "changed";
    },
  };
}

/** What is sent for a text: a number when it is one, else the text, which the API refuses with its reason. */
export function written(text) {
  const trimmed = text.trim();
  return /^-?\d{1,15}$/.test(trimmed) ? Number(trimmed) : trimmed;
}
