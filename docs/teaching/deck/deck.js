"use strict";
// Without scripts the slides stand below one another.
const slides = [...document.querySelectorAll(".slide")];
const place = document.querySelector("nav output");
let shown = 0;

function show(number) {
  shown = Math.max(0, Math.min(slides.length - 1, number));
  slides.forEach((slide, index) => slide.classList.toggle("shown", index === shown));
  place.textContent = `${shown + 1} / ${slides.length}`;
  history.replaceState(null, "", `#${shown + 1}`);
  window.scrollTo(0, 0);
}

const keys = {
  ArrowRight: () => show(shown + 1),
  PageDown: () => show(shown + 1),
  " ": () => show(shown + 1),
  ArrowLeft: () => show(shown - 1),
  PageUp: () => show(shown - 1),
  Home: () => show(0),
  End: () => show(slides.length - 1),
  n: () => document.body.classList.toggle("noted"),
};

document.addEventListener("keydown", (event) => {
  const onButton = event.key === " " && event.target.closest("button");
  if (!event.ctrlKey && !event.metaKey && !event.altKey && !onButton && keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});
for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => keys[button.dataset.key]());
}
document.body.classList.add("live");
show(Number(location.hash.slice(1)) - 1 || 0);
