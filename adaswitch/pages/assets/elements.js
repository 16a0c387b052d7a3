// Elements of the page. Whatever comes from a run gets into the page through here, as text and never as markup.

/** An element with its attributes (`class`, `text`, `onclick` and the like are understood) and its children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The element with this id. */
function byId(id) {
  return document.getElementById(id);
}

/** A table with a head and rows; a row is its cells, of which the first is the row's own head. */
function table(heads, rows, classOf = () => null) {
  const head = make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text }))));
  const body = rows.map((cells, number) =>
    make("tr", { class: classOf(number) },
      make("th", { scope: "row", text: cells[0] }),
      ...cells.slice(1).map((text) => make("td", { text }))));
  return make("table", {}, heads.length ? head : null, make("tbody", {}, ...body));
}

/** Calls `act` once the element comes near the window. */
const whenNear = (() => {
  const waiting = new WeakMap();
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      waiting.get(entry.target)();
    }
  }, { rootMargin: "300px" });
  return (element, act) => {
    waiting.set(element, act);
    observer.observe(element);
  };
})();
