// The page: asks every second what is live, shows it, and says so where nobody answers.

import { playground } from "./ask.js";
import { byId } from "./dom.js";
import { span as time } from "./format.js";
import { said } from "./http.js";
import { confidence, figures, funnel, latency, routes, troubles } from "./panels.js";
import { SHOWN } from "./series.js";
import { knowledge, trust, workers } from "./standing.js";
import { tabs } from "./tabs.js";
import { update } from "./update.js";

const NAME = "cascade-gateway";
const PERIOD = 1000;
const PATIENCE = 5000;
const PANELS = { figures, routes, funnel, latency, confidence, trust, knowledge, troubles, workers };

let serial = null;
let points = [];
let heard = null;

/** What is live now, with all points of the last minutes. */
async function asked() {
  const span = document.querySelector("input[name=span]:checked").value;
  const query = new URLSearchParams({ span, after: points.at(-1)?.number ?? 0 });
  const now = await said(`/live?${query}`, {}, PATIENCE);
  if (now.serial !== serial) {
    // Another server: its numbers begin anew, and so do ours.
    const is_first = serial === null;
    [serial, points] = [now.serial, []];
    if (!is_first) return asked();
  }
  points = [...points, ...now.points].filter((point) => point.at > now.at - SHOWN);
  return { ...now, points };
}

async function look() {
  let now;
  try {
    now = await asked();
  } catch (error) {
    notice(`${error.message} Trying again.`);
    return;
  }
  heard = Date.now();
  notice("");
  show(now);
  playground.know(now.status);
}

function show(now) {
  for (const [id, panel] of Object.entries(PANELS)) update(byId(id), panel(now));
  byId("p-workers").hidden = !now.status.workers;
  const { status } = now;
  byId("bundle").textContent = status.bundle ? `${status.bundle} · ${status.precision} on ${provider(status)}` : "";
  byId("foot").textContent = `cascade-gateway ${status.version}, up for ${time(status.uptime_seconds)}`;
  if (!status.ready) state("bad", "Not ready");
  else if (status.degraded) state("warn", `Ready, degraded: ${status.degraded.replaceAll("_", " ")}`);
  else state("good", "Ready");
}

function provider(status) {
  return status.provider.replace("ExecutionProvider", "");
}

/** What is wrong with the last look; empty where nothing is. */
function notice(problem) {
  const element = byId("notice");
  document.body.classList.toggle("is-stale", problem !== "");
  if (problem) state("bad", "Unreachable");
  const ago = heard ? ` What is shown is from ${new Date(heard).toLocaleTimeString()}.` : "";
  // A region that is read out when it changes: the same words again would be read again.
  if (element.textContent !== problem + ago) element.textContent = problem && problem + ago;
  element.hidden = !problem;
}

function state(tone, words) {
  const element = byId("state");
  element.dataset.state = tone;
  if (element.textContent !== words) element.textContent = words;
  document.title = tone === "good" ? NAME : `${words} · ${NAME}`;
}

async function run() {
  for (;;) {
    try {
      if (!document.hidden) await look();
    } catch (error) {
      console.error(error);
      notice(`This page has failed: ${error.message}.`);
    }
    await new Promise((resume) => setTimeout(resume, PERIOD));
  }
}

tabs(document.querySelector("[role=tablist]"));
playground.begin();
for (const choice of document.querySelectorAll("input[name=span]")) choice.addEventListener("change", look);
document.addEventListener("visibilitychange", () => !document.hidden && look());
run();
