// What is drawn: sparklines, the ribbon of routes, the histogram of confidences, the dots of quantiles.

import { draw, picture } from "./dom.js";
import { BINS, ROUTES, answers } from "./series.js";

const RIBBON = 128;
const BARS = 20;

/** A line through the values, from 0 to their highest; a gap where there is none. */
export function spark(list, attributes = {}) {
  const height = 20;
  const top = Math.max(...list.map((value) => value ?? 0)) || 1;
  const at = (value, index) =>
    `${((index * 100) / (list.length - 1)).toFixed(2)} ${(height - 1 - (value / top) * (height - 2)).toFixed(2)}`;
  let path = "";
  list.forEach((value, index) => {
    if (value !== null) path += `${path && list[index - 1] !== null ? "L" : "M"}${at(value, index)}`;
  });
  const shape = { viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" };
  return draw("svg", { ...shape, class: "spark", ...attributes }, draw("path", { class: "stroke", d: path }));
}

/** Of each bin, what share of the questions took which route. */
export function ribbon(bins, label) {
  const parts = [];
  bins.forEach((bin, index) => {
    const all = bin === null ? 0 : answers(bin.routes);
    let top = 0;
    for (const route of all ? ROUTES : []) {
      const height = (RIBBON * bin.routes[route]) / all;
      if (height) parts.push(bar(index, top, 1, height, route));
      top += height;
    }
  });
  return picture(label, BINS, RIBBON, { class: "ribbon" }, ...parts);
}

/** Bars of twentieths of confidence, one route on the other, and where the model's threshold is. */
export function histogram(routes, threshold, label) {
  const [width, height] = [BARS, 100];
  const sums = Array.from({ length: BARS }, (_, index) =>
    ROUTES.reduce((sum, route) => sum + (routes[route]?.[index] ?? 0), 0),
  );
  const top = Math.max(...sums) || 1;
  const parts = [];
  for (let index = 0; index < BARS; index += 1) {
    let base = height;
    for (const route of ROUTES) {
      const part = (height * (routes[route]?.[index] ?? 0)) / top;
      // What is there at all is seen.
      const shown = part ? Math.max(part, 1) : 0;
      base -= shown;
      if (shown) parts.push(bar(index + 0.06, base, 0.88, shown, route));
    }
  }
  const line = { "vector-effect": "non-scaling-stroke" };
  const x = threshold * width;
  parts.push(draw("line", { class: "axis", x1: 0, x2: width, y1: height, y2: height, ...line }));
  for (const name of threshold <= 1 ? ["casing", "limit"] : []) {
    parts.push(draw("line", { class: name, x1: x, x2: x, y1: -4, y2: height, ...line }));
  }
  return picture(label, width, height, { class: "histogram" }, ...parts);
}

/** Two quantiles in seconds on a logarithmic line between `low` and `high`. */
export function dots(p50, p99, low, high) {
  const at = (seconds) =>
    `${(2 + (96 * Math.log(Math.min(Math.max(seconds, low), high) / low)) / Math.log(high / low)).toFixed(1)}%`;
  return draw(
    "svg",
    { "aria-hidden": "true" },
    draw("line", { class: "axis", x1: "0%", x2: "100%", y1: 6, y2: 6 }),
    draw("line", { class: "span", x1: at(p50), x2: at(p99), y1: 6, y2: 6 }),
    draw("circle", { class: "p99", cx: at(p99), cy: 6, r: 3.5 }),
    draw("circle", { class: "fill", cx: at(p50), cy: 6, r: 4 }),
  );
}

function bar(x, y, width, height, route) {
  return draw("rect", { class: `fill route-${route}`, x, y, width, height });
}
