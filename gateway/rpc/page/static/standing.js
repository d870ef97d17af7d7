// The panels of what stands: the certificate and drift, the knowledge, the workers.

import { facts, make, quiet, table, track } from "./dom.js";
import { count, percent, plain, share, span } from "./format.js";

const CERTIFICATES = {
  valid: ["good", "✓ Certificate valid"],
  stale: ["warn", "! Certificate stale"],
  insufficient: ["warn", "– No certificate"],
};
const ORDERS = 6;

export function trust(now) {
  const { status } = now;
  if (!status.bundle) return [quiet("No worker is ready.")];
  const [tone, words] = CERTIFICATES[status.certificate] ?? ["warn", plain(String(status.certificate))];
  const promise = status.certified_risk
    ? `at most ${percent(status.certified_risk)} of the model’s answers wrong, while at most ` +
      `${percent(status.certified_oos_share)} of the questions are out of scope`
    : "nothing";
  const pairs = [
    ["Promise", promise],
    ["Threshold", status.threshold.toFixed(3)],
  ];
  if (status.certificate_reason) pairs.push(["Reason", status.certificate_reason]);
  for (const [part, reason] of Object.entries(status.stale_parts ?? {})) pairs.push([`Stale for ${part}`, reason]);
  return [make("p", { class: `verdict ${tone}` }, words), facts(pairs), ...drift(status.drift)];
}

function drift(found) {
  if (!found) return [make("h3", {}, "Drift"), quiet("Questions are not watched.")];
  const seen = `${count(found.questions)} questions beside ${count(found.reference)} of the reference`;
  const alarms = found.alarms.map((one) => {
    const whose = one.scope === "all" ? "all questions" : `${one.scope} ${one.name}`;
    const words = `! ${one.monitor} of ${whose}, after ${count(one.questions)} questions`;
    return make("p", { class: "warn" }, words);
  });
  const lines = Object.entries(found.evidence).map(([monitor, evidence]) => [
    plain(monitor),
    // Full where an alarm is raised, at 0.
    track([[Math.min(1, Math.max(0, 1 + evidence / ORDERS)), evidence >= 0 ? "alarm" : ""]]),
    (evidence > 0 ? "+" : "") + evidence.toFixed(1),
  ]);
  const drawn = lines.length ? [table("Evidence of drift", ["monitor", "evidence", "alarm at 0"], lines, [2])] : [];
  return [make("h3", {}, `Drift: ${seen}`), ...alarms, ...drawn];
}

export function knowledge(now) {
  const { status, time } = now;
  const rows = (status.collections ?? []).map((one) => row(one.name, one, time - status.loaded));
  if (status.stored) {
    const name = `${count(status.stored.collections)} stored`;
    rows.push(row(name, status.stored, status.stored.written ? time - status.stored.written : null));
  }
  if (!rows.length) return [quiet("No collection is served.")];
  const shown = table("Collections", ["collection", "documents", "version", "as of"], rows, [1, 2, 3]);
  const more = [];
  const { probe, stored } = status;
  if (probe?.wanted) more.push(["Recall", `${share(probe.found, probe.wanted)} of what scans found`]);
  if (stored?.backfill.total) {
    more.push([
      "Embedding",
      `${count(stored.backfill.done)} of ${count(stored.backfill.total)} for ${stored.backfill.bundle}`,
    ]);
  }
  if (stored && !stored.is_encoder_current) more.push(["Encoder", "not the one that the store was switched to"]);
  return more.length ? [shown, make("h3", {}, ""), facts(more)] : [shown];
}

function row(name, one, ago) {
  return [name, count(one.documents), String(one.version), ago === null ? "never" : `${span(ago)} ago`];
}

export function workers(now) {
  const rows = (now.status.workers ?? []).map((one) => [
    String(one.worker),
    String(one.pid ?? "–"),
    make("span", { class: one.ready ? "good" : "bad" }, one.ready ? "ready" : "not ready"),
    count(one.restarts),
    count(one.in_flight ?? 0),
    one.uptime_seconds ? span(one.uptime_seconds) : "–",
  ]);
  return rows.length
    ? [table("Workers", ["worker", "pid", "state", "restarts", "in flight", "up"], rows, [3, 4, 5])]
    : [];
}
