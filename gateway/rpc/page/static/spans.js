// Which characters of a quote are marked: the answer where it stands there, and the words of the question.

import { make } from "./dom.js";

const SHORTEST = 4;
const STEM = 5;
const COMMON = new Set("does from have that this they what when where which will with your".split(" "));

/** The quote in parts, some of them `mark`s; texts alone, whatever they say. */
export function marked(quote, answer, question) {
  return spans(quote, answer, question).map(({ text, isAnswer, isAsked }) => {
    const names = [isAnswer && "answered", isAsked && "asked"].filter(Boolean);
    return names.length ? make("mark", { class: names.join(" ") }, text) : text;
  });
}

/** The quote cut where something begins or ends. */
export function spans(quote, answer, question) {
  const from = answer ? quote.indexOf(answer) : -1;
  const until = from < 0 ? -1 : from + answer.length;
  const asked = words(question).map(([word]) => stem(word));
  const isMeant = (word) => word.length >= SHORTEST && !COMMON.has(word.toLowerCase());
  const found = words(quote).filter(([word]) => isMeant(word) && asked.includes(stem(word)));
  const cuts = new Set([0, quote.length]);
  for (const [word, at] of found) cuts.add(at).add(at + word.length);
  if (from >= 0) cuts.add(from).add(until);
  const edges = [...cuts].sort((one, other) => one - other);
  return edges.slice(1).map((end, index) => {
    const start = edges[index];
    return {
      text: quote.slice(start, end),
      isAnswer: from <= start && end <= until,
      isAsked: found.some(([word, at]) => at <= start && end <= at + word.length),
    };
  });
}

/** Every word with where it begins. */
function words(text) {
  return [...text.matchAll(/[\p{L}\p{N}]+/gu)].map((match) => [match[0], match.index]);
}

/** Enough of a word to know its other forms by: "card" and "cards", "decline" and "declined". */
function stem(word) {
  return word.toLowerCase().slice(0, STEM).replace(/s$/, "");
}
