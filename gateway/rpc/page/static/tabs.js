// Tabs as the ARIA Authoring Practices have them: arrows, Home and End move between them, Tab goes on to the panel.

/** Makes a list of tabs work; the shown one is kept in the address. */
export function tabs(list) {
  const all = [...list.querySelectorAll("[role=tab]")];

  function choose(tab, isFocused) {
    for (const one of all) {
      const isChosen = one === tab;
      one.setAttribute("aria-selected", String(isChosen));
      one.tabIndex = isChosen ? 0 : -1;
      panelOf(one).hidden = !isChosen;
    }
    if (isFocused) tab.focus();
  }

  function go(tab) {
    history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
    choose(tab, true);
  }

  function fromAddress() {
    const name = location.hash.slice(1);
    choose(all.find((tab) => tab.getAttribute("aria-controls") === name) ?? all[0], false);
  }

  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) go(tab);
  });
  list.addEventListener("keydown", (event) => {
    const at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    go(all[(to + all.length) % all.length]);
  });
  addEventListener("hashchange", fromAddress);
  fromAddress();
}

function panelOf(tab) {
  return document.getElementById(tab.getAttribute("aria-controls"));
}
