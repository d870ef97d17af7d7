// The panels of what comes and goes: routes, the way from received to answered, latencies, confidences, troubles.

import { dots, histogram, ribbon, spark } from "./charts.js";
import { make, quiet, table, track } from "./dom.js";
import { count, ms, plain, quantile, rate, share, span } from "./format.js";
import { BIN, ROUTES, SHOWN, answers, binned, lately, values } from "./series.js";

const SLOWEST = 2.5;
const REASONS = 6;
const TROUBLES = {
  refused: {
    quota: "over quota",
    overload: "no room",
    shed: "shed",
    deadline: "could not be in time",
    draining: "server draining",
  },
  left: { queue: "caller left while waiting", infer: "caller left while computed" },
};

/** The tiles above all panels: now, with the last five minutes as a line. */
export function figures(now) {
  const { points, at, status, view } = now;
  const bins = binned(points, at);
  const per = (bin) => answers(bin.routes) / bin.seconds;
  const last = points.at(-1);
  const tiles = [
    ["Questions", rate(lately(points, at)), "per second", values(bins, per)],
    ["Latency p50", quantile(view.latency.p50, 0.0005, SLOWEST), "", values(bins, (bin) => bin.p50)],
    ["Latency p99", quantile(view.latency.p99, 0.0005, SLOWEST), "", values(bins, (bin) => bin.p99)],
    [
      "In flight",
      count(status.in_flight ?? 0),
      `of ${count(status.max_in_flight ?? 0)}`,
      values(bins, (bin) => bin.in_flight),
    ],
    [
      "Queue",
      count(last?.waiting ?? 0),
      `${ms(last?.queued_seconds ?? 0)} of work`,
      values(bins, (bin) => bin.waiting),
    ],
    ["Shed level", (last?.shed_level ?? 0).toFixed(2), "of 1", values(bins, (bin) => bin.shed_level)],
    ["Loop lag p99", quantile(view.lag.p99), "", values(bins, (bin) => bin.lag)],
  ];
  return tiles.map(([name, value, unit, line]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value, " ", make("small", {}, unit)), spark(line)),
  );
}

export function routes(now) {
  const { points, at, view } = now;
  const bins = binned(points, at);
  const all = answers(view.routes);
  const shares = ROUTES.map((route) => `${route} ${share(view.routes[route], all)}`).join(", ");
  const perSecond = values(bins, (bin) => answers(bin.routes) / bin.seconds);
  const top = Math.max(...perSecond.map((value) => value ?? 0));
  const drawn = make(
    "div",
    {},
    quiet(top ? `questions per second, at most ${rate(top)}` : "no questions"),
    spark(perSecond, { class: "spark rate" }),
    ribbon(bins, `Share of each route over the last five minutes; of what is shown below: ${shares}`),
    make(
      "div",
      { class: "times quiet" },
      make("span", {}, `${SHOWN / 60} minutes ago`),
      make("span", {}, `now, in steps of ${BIN} s`),
    ),
  );
  return [make("div", { class: "routes" }, drawn, legend(view, all))];
}

function legend(view, all) {
  const part = (name, words, number) => line(`route-${name}`, words, share(number, all), count(number));
  const taken = ROUTES.filter((route) => route !== "ensemble" || view.routes[route]);
  const reasons = view.reasons.slice(0, REASONS);
  return make(
    "div",
    {},
    make("ul", { class: "legend" }, ...taken.map((route) => part(route, route, view.routes[route]))),
    reasons.length ? make("h3", {}, "and why") : null,
    make(
      "ul",
      { class: "legend sub" },
      ...reasons.map((one) => part(one.route, `${one.route}: ${plain(one.reason)}`, one.count)),
    ),
  );
}

function line(name, words, part, number) {
  const cells = [
    make("span", {}, words),
    make("span", { class: "number" }, part),
    make("span", { class: "number quiet" }, number),
  ];
  return make("li", { class: name }, make("span", { class: "swatch", "aria-hidden": "true" }), ...cells);
}

export function funnel(now) {
  const { funnel: steps, routes: by } = now.view;
  const refused = steps.received - steps.admitted;
  const whole = steps.received || 1;
  const rows = [
    ["Received", steps.received, "", [[steps.received / whole, ""]]],
    ["Admitted", steps.admitted, refused && `${count(refused)} refused`, [[steps.admitted / whole, ""]]],
    ["Decided", steps.decided, steps.failed && `${count(steps.failed)} failed`, [[steps.decided / whole, ""]]],
    [
      "Answered",
      steps.answered,
      by.abstain && `${count(by.abstain)} abstained`,
      ROUTES.filter((route) => route !== "abstain").map((route) => [by[route] / whole, `route-${route}`]),
    ],
  ];
  return [make("ol", { class: "steps" }, ...rows.map((row) => step(...row, steps.received)))];
}

function step(name, number, lost, parts, received) {
  const words = make("span", {}, name, " ", make("span", { class: "quiet" }, lost || ""));
  const value = make("span", {}, count(number), " ", make("span", { class: "quiet" }, share(number, received)));
  return make("li", {}, make("div", { class: "head" }, words, value), track(parts));
}

export function latency(now) {
  const { stages, latency: all } = now.view;
  const named = [["answer", all, SLOWEST], ...Object.entries(stages).map(([name, one]) => [name, one, 1])];
  const timed = named.filter(([, one]) => one.count);
  if (!timed.length) return [quiet(nothing(now, "timed"))];
  const highest = Math.max(0.01, ...timed.map(([, one]) => one.p99));
  const rows = timed.map(([name, one, last]) => [
    name,
    dots(one.p50, one.p99, 0.0005, highest),
    quantile(one.p50, 0.0005, last),
    quantile(one.p99, 0.0005, last),
  ]);
  const drawn = table("Latency by stage", ["stage", `0.5 to ${ms(highest)}`, "p50", "p99"], rows, [2, 3]);
  for (const row of drawn.querySelectorAll("tr")) row.children[1].classList.add("dots");
  return [drawn];
}

export function confidence(now) {
  const { view, status } = now;
  const all = Object.values(view.confidence)
    .flat()
    .reduce((sum, one) => sum + one, 0);
  const threshold = status.threshold ?? 1;
  if (!all) return [quiet(nothing(now, "answered"))];
  const model = view.confidence.model ?? [];
  const words = `The model answers from ${threshold.toFixed(3)} on, the dashed line: ${share(sum(model), all)} of all.`;
  const label = `Confidences of ${count(all)} answers in twentieths. ${words}`;
  const ends = make("div", { class: "times quiet" }, ...["0", "0.5", "1"].map((text) => make("span", {}, text)));
  return [histogram(view.confidence, threshold, label), ends, quiet(words)];
}

export function troubles(now) {
  const { view } = now;
  const rows = [];
  for (const [reason, number] of Object.entries(view.refused))
    rows.push([`refused: ${TROUBLES.refused[reason] ?? plain(reason)}`, number]);
  for (const [reason, number] of Object.entries(view.denied)) rows.push([`not let in: ${plain(reason)}`, number]);
  for (const [code, number] of Object.entries(view.ended)) rows.push([`calls that ended with ${code}`, number]);
  for (const [phase, number] of Object.entries(view.left)) rows.push([TROUBLES.left[phase] ?? plain(phase), number]);
  if (view.late) rows.push(["dropped from the queue, too late", view.late]);
  if (view.funnel.failed) rows.push(["questions that failed", view.funnel.failed]);
  if (!rows.length) return [quiet(`None in the last ${span(view.seconds)}.`)];
  rows.sort((one, other) => other[1] - one[1]);
  return [
    table(
      "Errors and refusals",
      ["what", "count"],
      rows.map(([what, number]) => [what, count(number)]),
      [1],
    ),
  ];
}

function nothing(now, what) {
  return now.view.seconds ? `Nothing was ${what} in the last ${span(now.view.seconds)}.` : `Nothing was ${what} yet.`;
}

function sum(list) {
  return list.reduce((all, one) => all + one, 0);
}
