// What could not be read.

/** Says what could not be read, whichever part it is missing from. */
function showProblems(lines) {
  byId("problems").hidden = lines.length === 0;
  byId("problems").querySelector("ul").replaceChildren(...lines.map((line) => make("li", { text: line })));
}
