// The parts of the page that need no browser.
import assert from "node:assert/strict";
import { test } from "node:test";

const FOLDER = "../../../../appliance/rest/ui";
const { ApiError, ask, detailOf, nextPlace } = await import(`${FOLDER}/api.mjs`);
const { sorted } = await import(`${FOLDER}/drops.mjs`);
const { bits, duration, short, whole } = await import(`${FOLDER}/format.mjs`);
const { Rates, RatesByName } = await import(`${FOLDER}/rates.mjs`);
const { urlOf: sessionsUrl } = await import(`${FOLDER}/sessions.mjs`);
const { HEIGHT, WIDTH, path } = await import(`${FOLDER}/spark.mjs`);
const { EventParser, follow, urlOf } = await import(`${FOLDER}/stream.mjs`);
const { written } = await import(`${FOLDER}/tunables.mjs`);

test("numbers have three digits and a letter", () => {
  assert.deepEqual([0, 7, 12.345, 999, 999.4, 999.6, 1000, 12345, 1e6, 2.5e9, 9e20].map(short),
    ["0", "7", "12.3", "999", "999", "1.00 k", "1.00 k", "12.3 k", "1.00 M", "2.50 G", "900000 P"]);
  assert.deepEqual([short(null), short(undefined), bits(null), bits(0), bits(125)], ["–", "–", "–", "0 bit/s", "1.00 kbit/s"]);
  assert.equal(whole(1234567), "1\u202f234\u202f567");
  assert.deepEqual([5.64, 64, 3600 + 125].map(duration), ["5.6 s", "1 min 04 s", "1 h 02 min"]);
});

test("a rate needs two samples, and goes by the clock of the gateway", () => {
  const rates = new Rates();
  rates.add(10, { conns: 100 });
  assert.equal(rates.latest("conns"), null);
  rates.add(12, { conns: 150 }, 7);
  assert.equal(rates.latest("conns"), 25);
  assert.deepEqual(rates.times, [7]);
});

test("a total that falls and a clock that stands say no rate", () => {
  const rates = new Rates();
  rates.add(10, { conns: 100 });
  rates.add(11, { conns: 3 });
  assert.equal(rates.latest("conns"), null);
  rates.add(11, { conns: 5 });
  assert.equal(rates.of("conns").length, 1);
  rates.add(12, { conns: 6 });
  assert.equal(rates.latest("conns"), 1);
});

test("a counter that appears later was zero before, and all series have one length", () => {
  const rates = new Rates(3);
  rates.add(0, { one: 0 });
  rates.add(1, { one: 1 }, 1);
  rates.add(2, { one: 2, other: 5 }, 2);
  assert.deepEqual([rates.of("one"), rates.of("other"), rates.of("none")], [[1, 1], [0, 5], [0, 0]]);
  for (let second = 3; second < 9; second += 1) rates.add(second, { one: second, other: 5 }, second);
  assert.deepEqual([rates.times.length, rates.of("one").length, rates.of("other")], [3, 3, [0, 0, 0]]);
});

test("names that are seen no more are forgotten", () => {
  const rates = new RatesByName();
  rates.add(1, [["one", { conns: 1 }], ["other", { conns: 1 }]]);
  rates.add(2, [["one", { conns: 3 }]]);
  assert.equal(rates.get("one").latest("conns"), 2);
  assert.equal(rates.all.size, 1);
  assert.equal(rates.get("other").latest("conns"), null);
});

test("the newest number of a sparkline is at its right end, and the greatest at its top", () => {
  assert.equal(path([1]), "");
  assert.equal(path([0, 4], 2), `M0.0 ${HEIGHT - 1}.0L${WIDTH}.0 1.0`);
  assert.ok(path([0, 0, null]).endsWith(`L${WIDTH}.0 ${HEIGHT - 1}.0`));
  assert.equal(path(Array(100).fill(1)).split("L").length, 60);
});

test("events are whole wherever the stream is cut", () => {
  const text = ':\n\nevent: gateway\ndata: {"a":1}\n\nevent: services\ndata: {"b":"x: y"}\n\n';
  const wanted = [{ event: "gateway", data: '{"a":1}' }, { event: "services", data: '{"b":"x: y"}' }];
  for (let cut = 0; cut <= text.length; cut += 1) {
    const parser = new EventParser();
    assert.deepEqual([...parser.feed(text.slice(0, cut)), ...parser.feed(text.slice(cut))], wanted);
  }
});

test("what is typed is a part of a URL and nothing else", () => {
  assert.equal(urlOf({ match: "", offset: 0 }), "/samples");
  assert.equal(urlOf({ match: "a&offset=9", offset: 20 }), "/samples?match=a%26offset%3D9&offset=20");
  assert.equal(sessionsUrl({ client: "198.51.100.0/24", state: "" }, "a b"), "/conns?limit=50&client=198.51.100.0%2F24&after=a+b");
});

test("the place of the next page stands in the Link header", () => {
  assert.equal(nextPlace('</conns?limit=50&after=0.12%2B3>; rel="next"'), "0.12+3");
  assert.deepEqual([nextPlace(null), nextPlace('</conns?after=1>; rel="prev"')], ["", ""]);
});

test("a refusal says what the API says", async () => {
  assert.equal(detailOf('{"detail": "out of range 1..5"}', 422), "out of range 1..5");
  assert.deepEqual([detailOf("busy\n", 503), detailOf("", 500)], ["busy", "the API answered 500"]);
  globalThis.fetch = async () => new Response('{"detail":"no"}', { status: 403 });
  await assert.rejects(ask("/x", { method: "PUT", body: 1 }), (error) => error instanceof ApiError && error.status === 403 && error.message === "no");
});

test("what is no number is sent as it is, so that the API refuses it", () => {
  assert.deepEqual([written(" 12 "), written("-3"), written("1e9"), written("1.5"), written("9".repeat(20))], [12, -3, "1e9", "1.5", "9".repeat(20)]);
});

test("drops with the highest rate come first, then those with the highest total", () => {
  const rates = { latest: (name) => ({ fast: 50, slow: 0.2 })[name] ?? null };
  assert.deepEqual(sorted({ slow: 3, many: 900, fast: 1 }, rates).map(([name]) => name), ["fast", "many", "slow"]);
});

test("a stream that is silent or breaks off is asked for again with the token of that moment, and ends when it is refused", async () => {
  const asked = [];
  const said = [];
  const silent = new ReadableStream({ start: (stream) => stream.enqueue(new TextEncoder().encode(":\n\n")) });
  const answers = [
    () => new Response(silent),
    () => new Response('event: gateway\ndata: {"n":1}\n\n'),
    () => { throw new TypeError("no network"); },
    () => new Response("no token", { status: 401 }),
  ];
  globalThis.fetch = async (url, { headers }) => { asked.push([url, headers.Authorization]); return answers[asked.length - 1](); };
  // The long time is that of silence: it passes for the silent one, and for none that answers.
  globalThis.setTimeout = (resume, milliseconds) => (milliseconds < 10000 || asked.length === 1 ? setImmediate(resume) : null);
  globalThis.clearTimeout = () => {};
  let number = 0;
  await follow("/samples", {
    headers: () => ({ Authorization: `Bearer ${(number += 1)}` }),
    signal: new AbortController().signal,
    onEvent: (kind, data) => said.push([kind, data.n]),
    onState: (state) => said.push(state?.status ?? state?.message ?? state),
  });
  assert.deepEqual(asked, [1, 2, 3, 4].map((one) => ["/samples", `Bearer ${one}`]));
  assert.deepEqual(said, ["nothing came", "live", ["gateway", 1], null, "no network", 401]);
});
