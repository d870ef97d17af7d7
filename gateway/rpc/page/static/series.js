// Points of time put into bins of one width, so that what is drawn does not shimmer from second to second.

export const ROUTES = ["model", "retrieval", "ensemble", "abstain"];
export const SHOWN = 300;
export const BIN = 5;
export const BINS = SHOWN / BIN;

/** The last five minutes in bins; `null` where nothing was heard of that time. */
export function binned(points, now) {
  const bins = Array(BINS).fill(null);
  const last = Math.floor(now / BIN);
  for (const point of points) {
    const index = BINS - 1 - (last - Math.floor(point.at / BIN));
    if (index >= 0 && index < BINS) bins[index] = added(bins[index], point);
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

function added(bin, point) {
  if (bin === null) {
    return {
      ...point,
      routes: { ...point.routes },
      p50: point.latency.p50,
      p99: point.latency.p99,
      lag: point.lag.p99,
    };
  }
  for (const route of ROUTES) bin.routes[route] += point.routes[route] ?? 0;
  bin.seconds += point.seconds;
  bin.p50 = highest(bin.p50, point.latency.p50);
  bin.p99 = highest(bin.p99, point.latency.p99);
  bin.lag = highest(bin.lag, point.lag.p99);
  bin.in_flight = Math.max(bin.in_flight, point.in_flight);
  bin.waiting = Math.max(bin.waiting, point.waiting);
  bin.shed_level = Math.max(bin.shed_level, point.shed_level);
  return bin;
}

function highest(one, other) {
  return one === null ? other : other === null ? one : Math.max(one, other);
}
