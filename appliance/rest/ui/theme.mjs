/** Dark and light: as the system has it, or as the switch says. The choice is no secret, so the browser may store it. */

import { byId } from "./dom.mjs";

const KEY = "appliance-theme";

function stored() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // a browser may forbid it
  }
}

function store(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // it holds for this page then
  }
}

/** Make the switch work. `changed` is called when colours are others. */
export function start(changed) {
  const select = byId("theme");
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    changed();
  };
  select.value = ["light", "dark"].includes(stored()) ? stored() : "";
  show(select.value);
  select.addEventListener("change", () => { store(select.value); show(select.value); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
