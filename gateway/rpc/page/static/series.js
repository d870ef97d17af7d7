// Points of time put into bins of one width, so that what is drawn does not shimmer from second to second.

export const ROUTES = ["model", "retrieval", "ensemble", "abstain"];
const NO_LEVELS = { in_flight: 0, waiting: 0, shed_level: 0 };
export const SHOWN = 300;
export const BIN = 5;
export const BINS = SHOWN / BIN;

/** The last five minutes in bins, each point divided among those that it spans; `null` where nothing was heard. */
export function binned(points, now) {
  const bins = Array(BINS).fill(null);
  const first = Math.floor(now / BIN) - BINS + 1;
  for (const point of points) {
    const since = point.at - point.seconds;
    for (let bin = Math.max(first, Math.floor(since / BIN)); bin * BIN < point.at; bin += 1) {
      const seconds = Math.min(point.at, (bin + 1) * BIN) - Math.max(since, bin * BIN);
      if (seconds > 0) bins[bin - first] = added(bins[bin - first], point, seconds);
    }
  }
  return bins;
}

/** Questions that came to an answer, in one point, bin or view. */
export function answers(routes) {
  return ROUTES.reduce((sum, route) => sum + (routes[route] ?? 0), 0);
}

/** Answers of each second, in the last few. */
export function lately(points, now) {
  const last = points.filter((point) => point.at > now - BIN);
  const seconds = last.reduce((sum, point) => sum + point.seconds, 0);
  return seconds ? last.reduce((sum, point) => sum + answers(point.routes), 0) / seconds : 0;
}

/** A value of each bin, by `of`; null stays null. */
export function values(bins, of) {
  return bins.map((bin) => (bin === null ? null : of(bin)));
}

function added(before, point, seconds) {
  const bin = before ?? { routes: {}, seconds: 0, p50: null, p99: null, lag: null, ...NO_LEVELS };
  const part = seconds / point.seconds;
  for (const route of ROUTES) bin.routes[route] = (bin.routes[route] ?? 0) + part * (point.routes[route] ?? 0);
  bin.seconds += seconds;
  bin.p50 = highest(bin.p50, point.latency.p50);
  bin.p99 = highest(bin.p99, point.latency.p99);
  bin.lag = highest(bin.lag, point.lag.p99);
  for (const level of Object.keys(NO_LEVELS)) bin[level] = Math.max(bin[level], point[level]);
  return bin;
}

function highest(one, other) {
  return one === null ? other : other === null ? one : Math.max(one, other);
}
