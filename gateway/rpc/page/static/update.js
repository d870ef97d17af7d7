// What is shown becomes what is to be shown, in place: what stays the same is not touched. So selections and places of
// reading are kept, widths move and do not jump, and nothing is read out twice.

/** Make `element` hold `children`. */
export function update(element, children) {
  becomeAll(
    element,
    children.filter((child) => child !== null && child !== undefined),
  );
}

function becomeAll(element, fresh) {
  const old = [...element.childNodes];
  if (old.length === fresh.length) fresh.forEach((one, index) => become(old[index], one));
  else element.replaceChildren(...fresh);
}

function become(old, fresh) {
  if (old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else {
    takeAttributes(old, fresh);
    becomeAll(old, [...fresh.childNodes]);
  }
}

function takeAttributes(old, fresh) {
  for (const name of old.getAttributeNames()) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  // The policy lets properties in one by one, and no attribute.
  for (const name of fresh.style) old.style.setProperty(name, fresh.style.getPropertyValue(name));
}
