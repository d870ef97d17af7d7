// An answer: what, by which route and why, how sure beside the threshold, what it rests on, where the time went.

import { facts, make, quiet, track, within } from "./dom.js";
import { ms, percent, plain } from "./format.js";
import { marked } from "./spans.js";

/** "ROUTE_MODEL" -> "model". */
const bare = (value, kind) => value.replace(`${kind}_`, "").toLowerCase();

/** The answer in a sentence, for who hears it. */
export function spoken(answer) {
  const sure = `confidence ${answer.confidence.toFixed(2)}`;
  return `${plain(bare(answer.route, "ROUTE"))}, ${plain(bare(answer.reason, "REASON"))}, ${sure}. ${answer.text}`;
}

/** What is seen of it; `found` is the reply to POST /ask. */
export function rendered(found, question) {
  const { answer, seconds } = found;
  const route = bare(answer.route, "ROUTE");
  return [
    make(
      "div",
      { class: `head-line route-${route}` },
      make("span", { class: "badge" }, make("span", { class: "swatch", "aria-hidden": "true" }), route),
      make("span", {}, plain(bare(answer.reason, "REASON"))),
      answer.label ? quiet(`label ${answer.label}`) : null,
    ),
    answer.text
      ? make("p", { class: "text" }, answer.text)
      : make("p", { class: "text quiet" }, "No answer was good enough to give."),
    make("h3", {}, `Confidence; the bar is the model’s threshold, ${answer.threshold.toFixed(3)}`),
    gauges(answer, route),
    ...citations(answer, question, route),
    make("h3", {}, `Time: ${ms(seconds)} at the server`),
    stages(answer.timings, seconds),
    make("h3", {}, "More"),
    more(answer),
  ];
}

/** What is seen of a refusal or an error. */
export function failure(error) {
  return [
    make(
      "div",
      { class: "head-line" },
      make("span", { class: "badge bad" }, error.code),
      error.reason && error.reason !== error.code ? make("span", {}, plain(error.reason.toLowerCase())) : null,
    ),
    make("p", { class: "text" }, error.message),
  ];
}

function gauges(answer, route) {
  const tiers = [answer.model_confidence, answer.retrieval_confidence];
  const rows = [
    [route === "abstain" ? "best not given" : "answer", answer.confidence, `route-${route}`],
    ["model", answer.model_confidence, "route-model"],
    ["retrieval", answer.retrieval_confidence, "route-retrieval"],
  ];
  const cells = rows
    // The answer's own is that of its tier, unless the tiers were blended.
    .filter(([, value], index) => value !== undefined && (index > 0 || !tiers.includes(value)))
    .flatMap(([name, value, colour]) => {
      const bar =
        name === "model" ? within("span", { class: "threshold" }, { at: Math.min(1, answer.threshold) }) : null;
      const gauge = make("div", { class: "gauge" }, track([[value, colour]]), bar);
      return [make("span", {}, name), gauge, make("span", { class: "number" }, value.toFixed(3))];
    });
  return make("div", { class: "gauges" }, ...cells);
}

function citations(answer, question, route) {
  if (!answer.citations.length) return [];
  const words = route === "abstain" ? "Nearest, and not near enough to answer with" : "Rests on";
  const items = answer.citations.map((one, index) => citation(one, index + 1, answer.text, question));
  return [
    make("h3", {}, `${words}; underlined are words of the question`),
    make("ol", { class: "citations" }, ...items),
  ];
}

function citation(one, number, answer, question) {
  const of = [`similarity ${one.similarity.toFixed(3)}`, `characters ${one.start} to ${one.end}`];
  if (one.document_version) of.push(`version ${one.document_version}`);
  if (one.updated) of.push(`updated ${one.updated}`);
  return make(
    "li",
    {},
    make("strong", {}, `[${number}] ${one.title} `),
    address(one.uri),
    quiet(of.join(" · ")),
    make(
      "blockquote",
      { tabindex: "0", "aria-label": `Quote ${number}` },
      ...marked(one.quote.trim(), answer, question),
    ),
  );
}

/** A link where that leads to a page, and never where it would run something. */
function address(uri) {
  const isPage = /^https?:\/\//i.test(uri);
  const link = { href: uri, target: "_blank", rel: "noopener noreferrer" };
  return isPage ? make("a", link, uri) : make("span", { class: "quiet" }, uri);
}

function stages(timings, seconds) {
  const cells = timings.flatMap(({ name, seconds: part }) => [
    make("span", {}, name),
    track([[Math.min(1, part / seconds), "route-model"]]),
    make("span", { class: "number" }, ms(part)),
  ]);
  return make("div", { class: "stages" }, ...cells);
}

function more(answer) {
  const pairs = [
    ["Policy", plain(bare(answer.policy, "POLICY"))],
    ["Bundle", answer.bundle],
    ["Certificate", certificate(answer)],
    ["Knowledge", `version ${answer.knowledge_version}`],
    ["Batch", answer.batch_size ? `${answer.batch_size} in the forward pass` : "the model did not run"],
  ];
  if (answer.document_id) pairs.push(["Document", answer.document_id]);
  if (answer.handoff?.document_ids?.length) pairs.push(["Hand-off", answer.handoff.document_ids.join(", ")]);
  if (answer.audit_id) pairs.push(["Audit", answer.audit_id + (answer.audited ? ", drawn to be judged" : "")]);
  return facts(pairs.filter(([, value]) => value));
}

function certificate(answer) {
  const status = bare(answer.certificate, "CERTIFICATE");
  return answer.certified_risk ? `${status}, at most ${percent(answer.certified_risk)} wrong` : status;
}
