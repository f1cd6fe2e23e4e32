/** Rates between samples. Samples have totals, so a rate needs two of them. */

export const KEPT = 120;

/** The rates of some counters over the last samples. */
export class Rates {
  constructor(kept = KEPT) {
    this.kept = kept;
    this.clock = null;
    this.totals = {};
    this.series = new Map();
    this.times = [];
  }

  /**
   * Add a sample: the clock of the gateway in seconds, and totals by name. A clock that stands or goes back, or a total that falls,
   * is another run: its rate is not known. `at` is the reader's own time, in seconds, for the axis of a chart.
   */
  add(clock, totals, at = 0) {
    const seconds = this.clock === null ? 0 : clock - this.clock;
    if (this.clock !== null && seconds > 0) {
      this.times = [...this.times, at].slice(-this.kept);
      for (const name of new Set([...Object.keys(totals), ...this.series.keys()])) {
        const risen = (totals[name] ?? 0) - (this.totals[name] ?? 0);
        const before = this.series.get(name) ?? Array(this.times.length - 1).fill(0);
        this.series.set(name, [...before, risen >= 0 ? risen / seconds : null].slice(-this.kept));
      }
    }
    this.clock = clock;
    this.totals = totals;
  }

  /** The latest rate per second; null while it is not known. */
  latest(name) {
    return this.of(name).at(-1) ?? null;
  }

  /** All rates that are kept, the oldest first. */
  of(name) {
    return this.series.get(name) ?? (this.times.length ? Array(this.times.length).fill(0) : []);
  }
}

/** One `Rates` for each name. Those of names that are seen no more are forgotten. */
export class RatesByName {
  constructor() {
    this.all = new Map();
  }

  /** Add a sample: pairs of a name and its totals. */
  add(clock, pairs) {
    const now = new Map();
    for (const [name, totals] of pairs) {
      const rates = this.all.get(name) ?? new Rates(60);
      rates.add(clock, totals);
      now.set(name, rates);
    }
    this.all = now;
  }

  /** The rates of one name; empty ones when it is not known. */
  get(name) {
    return this.all.get(name) ?? new Rates();
  }
}
