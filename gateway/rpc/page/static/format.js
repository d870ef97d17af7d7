// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const NONE = "–";

/** 1,234; from a hundred thousand on, 123.4K. */
export function count(number) {
  return number >= 100000 ? SHORT.format(number) : WHOLE.format(number);
}

/** Of a second: 12.3, 140. */
export function rate(number) {
  return number >= 10 || number === 0 ? count(number) : number.toFixed(1);
}

/** A share of a whole in percent, one decimal below ten. */
export function percent(share) {
  if (!Number.isFinite(share)) return NONE;
  const value = 100 * share;
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : value.toFixed(0)}\u00a0%`;
}

export function share(part, whole) {
  return percent(whole ? part / whole : Number.NaN);
}

/** Seconds as milliseconds, with the unit. */
export function ms(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const value = 1000 * seconds;
  if (value === 0) return "0 ms";
  return `${value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : WHOLE.format(value)} ms`;
}

/** As `ms`, of a quantile taken from buckets, of which nothing more is known below the first edge or above the last. */
export function quantile(seconds, first = 0.0005, last = 1) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds <= first) return `< ${1000 * first} ms`;
  return seconds >= last ? `> ${ms(last)}` : ms(seconds);
}

/** How long something took or is ago: 40 s, 12 min, 3 h, 2 d. */
export function span(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

/** "certificate_stale" for people. */
export function plain(name) {
  return name.replaceAll("_", " ");
}
