// Numbers as people read them, with their units.

const DASH = "-";

/** A number with up to three digits that count: 1,234 and 0.0123 and 1.2e-5. */
function plain(value) {
  if (value === null || value === undefined) return DASH;
  const size = Math.abs(value);
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3)).toLocaleString("en")} M`;
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 });
}

/** A number from 0 to 1 in percent. */
function percent(value, digits = 1) {
  return value === null || value === undefined ? DASH : `${(100 * value).toFixed(digits)}%`;
}

/** The same with a digit behind the point only where there is one. */
function roundPercent(value) {
  return percent(value, Math.round(value * 1000) % 10 ? 1 : 0);
}

/** A number in the unit of its chart, without the unit's name. */
function inUnit(value, unit) {
  return unit === "share" ? percent(value) : plain(value);
}

/** The unit as it stands beside a chart's title. */
function unitName(unit) {
  return unit === "share" ? "percent" : unit;
}

/** `1 rollout`, `2 rollouts`. */
function counted(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}
