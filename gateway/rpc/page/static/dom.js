// Elements made by code. Every text goes in as text: nothing that a document says can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with that id. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes and children: elements, texts, or nothing. */
export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** A picture that is read out as `label`, in coordinates of its own. */
export function picture(label, width, height, attributes = {}, ...children) {
  const shape = { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label };
  return draw("svg", { ...shape, ...attributes }, ...children);
}

/** A track with parts of these shares, each in the colour of its class. */
export function track(parts) {
  const inner = parts.filter(([share]) => share > 0).map(([share, name]) => within("span", { class: name }, { share }));
  return make("div", { class: "track" }, ...inner);
}

/** An element with custom properties, which the policy allows by code and not as an attribute. */
export function within(tag, attributes, properties, ...children) {
  const element = make(tag, attributes, ...children);
  for (const [name, value] of Object.entries(properties)) {
    element.style.setProperty(`--${name}`, value);
  }
  return element;
}

/** A table of rows of cells; a cell is a text or an element, and columns in `numbers` stand to the right. */
export function table(caption, head, rows, numbers = []) {
  const side = (index) => (numbers.includes(index) ? { class: "number" } : {});
  const cells = (tag, row, more) => row.map((cell, index) => make(tag, { ...side(index), ...more }, cell));
  return make(
    "table",
    { "aria-label": caption },
    make("thead", {}, make("tr", {}, ...cells("th", head, { scope: "col" }))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells("td", row, {})))),
  );
}

/** Names with what is said of them. */
export function facts(pairs) {
  const lines = pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  return make("dl", { class: "facts" }, ...lines);
}

export function quiet(text) {
  return make("p", { class: "quiet" }, text);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
