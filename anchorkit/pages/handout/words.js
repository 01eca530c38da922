// Numbers as text, as in the kit's charts.

export const POINTS = "AP (points)";

export const TITLES = {
  n_anchors: "Anchors",
  boxes: "Boxes per image",
  head_flops: "Head FLOPs",
  total_flops: "Total FLOPs",
  head_parameters: "Head parameters",
};

// A title within a sentence.
export const inSentence = (name) => TITLES[name][0].toLowerCase() + TITLES[name].slice(1);

export const points = (accuracy) => (accuracy < 0 ? "\u2013" : (100 * accuracy).toFixed(2));

export function signed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return (Number(text) === 0 ? "\u00b1" : value < 0 ? "\u2212" : "+") + text;
}

export function change(before, after) {
  const percent = before ? Math.round(100 * (after / before - 1)) : 0;
  return `${percent === 0 ? "\u00b1" : percent < 0 ? "\u2212" : "+"}${Math.abs(percent)} %`;
}

export function amount(value) {
  const [divisor, suffix] = value >= 1e9 ? [1e9, " G"] : value >= 1e6 ? [1e6, " M"] : value >= 1e5 ? [1e3, " k"] : [1, ""];
  const scaled = value / divisor;
  // Commas by hand: toLocaleString loads a library first, which takes a slow phone 150 ms.
  if (divisor === 1 || scaled >= 100) return String(Math.round(scaled)).replace(/\B(?=(\d{3})+$)/g, ",") + suffix;
  return Number(scaled.toPrecision(3)) + suffix;
}

// L0/56x28 as people say it.
export const spoken = (id) => id.replace(/^L(\d+)\//, "level $1, ").replace("x", " by ");

// An element: element("p", { class: "quiet" }, "text", child, ...). An SVG element below <svg>.
const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "g", "path", "rect", "circle", "line", "text", "title", "image"]);

export function element(name, attributes = {}, ...children) {
  const made = DRAWN.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
