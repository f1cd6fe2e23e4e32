/** The page: a stream of samples, and the views that show them. */

import * as attacks from "./attacks.mjs";
import * as chart from "./chart.mjs";
import { byId } from "./dom.mjs";
import * as drops from "./drops.mjs";
import * as events from "./events.mjs";
import * as header from "./header.mjs";
import { Rates } from "./rates.mjs";
import * as services from "./services.mjs";
import * as sessions from "./sessions.mjs";
import { follow, urlOf } from "./stream.mjs";
import * as theme from "./theme.mjs";
import * as token from "./token.mjs";
import * as tunables from "./tunables.mjs";

const VIEWS = ["services", "sessions", "drops", "attacks", "tunables"];
const traffic = new Rates();
const dropped = new Rates();
let window_ = { match: "", offset: 0 };
let clock = 0;
let following = new AbortController();

function total(numbers) {
  return Object.values(numbers).reduce((sum, number) => sum + number, 0);
}

function showGateway(sample) {
  clock = sample.clock_s;
  traffic.add(clock, { ...sample.traffic, drops: total(sample.drops) + total(sample.kernel_drops) }, Date.now() / 1000);
  dropped.add(clock, { ...sample.drops, ...Object.fromEntries(Object.entries(sample.kernel_drops).map(([name, count]) => [`kernel: ${name}`, count])) });
  header.show(sample, traffic);
  chart.show(traffic);
  drops.show(sample, dropped);
  attacks.show(sample);
  tunables.show(sample);
  events.show(sample);
}

/** Follow the samples of the window, in the place of those that were followed before. */
function watch() {
  following.abort();
  following = new AbortController();
  if (document.hidden) return;
  follow(urlOf(window_), {
    headers: token.headers,
    signal: following.signal,
    onEvent: (kind, data) => (kind === "gateway" ? showGateway(data) : services.show(data, clock)),
    onState: (state) => {
      header.showStream(state);
      if (state?.status === 401) token.open(token.headers().Authorization ? "The API knows this token no more." : "This address answers nobody without a token.");
    },
  });
}

/** Show the view that the address names. */
function showView() {
  const wanted = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : VIEWS[0];
  for (const view of VIEWS) {
    byId(view).hidden = view !== wanted;
    byId(`to-${view}`).toggleAttribute("aria-current", view === wanted);
    if (view === wanted) byId(`to-${view}`).setAttribute("aria-current", "page");
  }
}

addEventListener("hashchange", () => {
  showView();
  chart.restyle(traffic); // it was not drawn while it was hidden
  byId(`${location.hash.slice(1)}-title`)?.focus();
});
document.addEventListener("visibilitychange", watch);
let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => chart.restyle(traffic), 200);
});

theme.start(() => chart.restyle(traffic));
token.start(watch);
services.start((wanted) => { window_ = wanted; watch(); });
sessions.start();
tunables.start();
showView();
chart.start();
await drops.start();
watch();
