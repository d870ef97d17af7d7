// A question as the command that asks the same.

const USUAL_TARGET = "127.0.0.1:50051";
const EVERYWHERE = /^(0\.0\.0\.0|\[::\])(?=:)/;
const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** A line for a POSIX shell. `asked` is the body of POST /ask; `target` where gRPC is served, and by which options. */
export function command(asked, target) {
  const question = asked.question || "your question";
  // A question that begins like an option comes after all options.
  const isLast = question.startsWith("-");
  const words = ["gateway", "ask", ...(isLast ? [] : [quoted(question)])];
  const add = (option, value) => value && words.push(option, quoted(String(value)));
  const there = target.address.replace(EVERYWHERE, "127.0.0.1");
  if (there !== USUAL_TARGET) add("--target", there);
  words.push(...target.options);
  add("--collection", asked.collection);
  add("--policy", asked.policy);
  add("--timeout-ms", asked.timeout_ms !== 1000 && asked.timeout_ms);
  add("--tenant", asked.tenant);
  for (const group of (asked.groups ?? "").split(",")) add("--group", group.trim());
  add("--criticality", asked.criticality);
  if (isLast) words.push("--", quoted(question));
  return words.join(" ");
}

function quoted(word) {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
