// The playground: a form, and its question asked by the admin port as any other is by gRPC.

import { failure, rendered, spoken } from "./answer.js";
import { command } from "./command.js";
import { byId, make } from "./dom.js";
import { said } from "./http.js";

const FIELDS = ["question", "collection", "policy", "tenant", "groups", "criticality"];
const GRACE = 2000;
const COPIED = 1500;

let target = { address: "127.0.0.1:50051", options: [] };
let known = "";

/** The body of POST /ask: what is left empty is left to the server. */
function asked() {
  const body = { timeout_ms: Number(byId("timeout_ms").value) };
  for (const name of FIELDS) {
    const value = byId(name).value.trim();
    if (value || name === "question") body[name] = value;
  }
  return body;
}

function line() {
  byId("line").textContent = command(asked(), target);
}

async function ask(event) {
  event.preventDefault();
  const body = asked();
  byId("submit").disabled = true;
  byId("answer").setAttribute("aria-busy", "true");
  try {
    const found = await replied(body);
    const parts = found.error ? failure(found.error) : rendered(found, body.question);
    shown(found.error ? `Refused: ${found.error.message}` : spoken(found.answer), parts);
  } catch (error) {
    shown(`Not asked. ${error.message}`, failure({ code: "NOT ASKED", message: error.message, reason: "" }));
  } finally {
    byId("submit").disabled = false;
    byId("answer").removeAttribute("aria-busy");
  }
}

function replied(body) {
  const headers = { "Content-Type": "application/json" };
  const key = byId("key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  return said("/ask", { method: "POST", headers, body: JSON.stringify(body) }, body.timeout_ms + GRACE);
}

/** `words` are read out, `parts` are seen. */
function shown(words, parts) {
  byId("answer").replaceChildren(...parts);
  byId("said").textContent = words;
}

async function copy() {
  const button = byId("copy");
  try {
    await navigator.clipboard.writeText(byId("line").textContent);
    button.textContent = "Copied";
  } catch {
    // No clipboard without TLS on other hosts than this one: what is selected can be copied by hand.
    getSelection().selectAllChildren(byId("line"));
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), COPIED);
}

export const playground = {
  begin() {
    const form = byId("form");
    form.addEventListener("submit", ask);
    form.addEventListener("input", line);
    byId("copy").addEventListener("click", copy);
    byId("question").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    line();
  },

  /** What a server says of itself: the names of its collections, and where it listens. */
  know(status) {
    const names = (status.collections ?? []).map((one) => one.name);
    if (known !== JSON.stringify([names, status.target])) {
      known = JSON.stringify([names, status.target]);
      target = status.target?.address ? status.target : target;
      byId("collections").replaceChildren(...names.map((name) => make("option", { value: name })));
      byId("collection").placeholder = status.default_collection ?? "";
      line();
    }
  },
};
