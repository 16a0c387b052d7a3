// What is shown of one token: who wrote it, divergence and threshold, and the candidates of both models.

const CONTROL = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}]/gu;
const MARKS = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍" };

/** A text in which blanks and characters without a shape can be seen. */
function visible(text) {
  if (text === "") return "(nothing)";
  return text.replace(/[ \n\t\r]/g, (blank) => MARKS[blank])
    .replace(CONTROL, (mark) => `⟨U+${mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

const tipBox = byId("tip");

/** Shows what is known of token `i` beside its element. */
function showTip(rollout, names, i, element) {
  // A dialog lies above all else of the page, so what is shown over it must stand in it.
  const frame = element.closest("dialog");
  (frame ?? document.body).append(tipBox);
  tipBox.replaceChildren(...tipContent(rollout, names, i));
  tipBox.hidden = false;
  const place = element.getBoundingClientRect(), size = tipBox.getBoundingClientRect();
  const isBelow = place.bottom + 8 + size.height < window.innerHeight || place.top < size.height + 8;
  const left = Math.max(8, Math.min(place.left, window.innerWidth - size.width - 8));
  const top = isBelow ? place.bottom + 8 : place.top - size.height - 8;
  const around = frame?.getBoundingClientRect();
  tipBox.style.left = `${left + (frame ? frame.scrollLeft - around.left : window.scrollX)}px`;
  tipBox.style.top = `${top + (frame ? frame.scrollTop - around.top : window.scrollY)}px`;
}

function hideTip() {
  tipBox.hidden = true;
}

function tipContent(rollout, names, i) {
  const id = rollout.ids[i];
  const writer = rollout.by[i] === "1" ? "teacher" : "student";
  const seen = i < rollout.divergences.length;
  return [
    make("div", { class: "what" }, make("code", { text: visible(names[id] ?? rollout.pieces[i]) }),
      make("span", { class: "fact", text: `token ${i} of ${rollout.ids.length}, id ${id}` })),
    make("div", { class: "fact", text: `written by the ${writer === "teacher" ? "teacher (or the data)" : "student"}` }),
    make("div", { class: "fact", text: seen ? compared(rollout, i) : "no divergence was looked at here" }),
    make("div", { class: "sides" },
      candidates("teacher", rollout.top, rollout.chances, rollout.ids.length, rollout, names, i),
      rollout.own_top
        ? candidates("student", rollout.own_top, rollout.own_chances, rollout.divergences.length, rollout, names, i)
        : make("p", { class: "fact", text: "the student's distribution is not on record" })),
  ];
}

/** Divergence and threshold at token `i`, in words. */
function compared(rollout, i) {
  const divergence = rollout.divergences[i], threshold = rollout.thresholds[i];
  const told = `divergence ${plain(divergence)} nats`;
  if (threshold === null) return `${told}, no threshold yet`;
  if (threshold < 0) return `${told}; switched without a threshold`;
  return `${told}, threshold ${plain(threshold)}${divergence > threshold ? ": crossed" : ""}`;
}

/** The most likely tokens of one model at token `i`; the token that stands there is bold. */
function candidates(whose, ids, chances, rows, rollout, names, i) {
  const caption = `${whose}'s most likely`;
  if (i >= rows) return make("p", { class: "fact", text: `the ${whose}'s distribution was not seen here` });
  const width = ids.length / rows;
  const body = [];
  for (let at = i * width; at < (i + 1) * width; at += 1) {
    body.push(make("tr", { class: ids[at] === rollout.ids[i] ? "chosen" : null },
      make("td", { text: visible(names[ids[at]] ?? `⟨${ids[at]}⟩`) }),
      make("td", { text: chance(chances[at]) })));
  }
  return make("table", {}, make("caption", { class: whose, text: caption }), make("tbody", {}, ...body));
}

/** Hundredths of a percent as percent. */
function chance(hundredths) {
  return hundredths === 0 ? "<0.01%" : `${(hundredths / 100).toFixed(hundredths < 1000 ? 2 : 1)}%`;
}
