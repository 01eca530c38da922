// A picture to touch: shows an SVG that Python drew and reports to Python which mark was picked. It also sees to the
// explorer that it is in: one ground below all of its parts, and a name for every control.
//
// Marks that can be picked are <a data-pick="..."> elements with an aria-label; <a data-mark="..."> only change their
// looks. What changes often (which marks are off or ringed, where the pointer is) is changed in place, without a
// new drawing. Nothing is loaded from anywhere.

const STYLE = `
.anchorkit-picture, .anchorkit-explorer { --ground: #fff; --ink: #1f2328; --ghost: #9aa3ad; --quiet: #6f7781; }
.anchorkit-picture.dark, .anchorkit-explorer.dark { --ground: #1d1d1d; --ink: #e6ecf3; --ghost: #636b74; --quiet: #8a929b; }
.anchorkit-picture { position: relative; display: inline-block; max-width: 100%; background: var(--ground); }
.anchorkit-explorer { background: var(--ground); color: var(--ink);
  --jp-widgets-label-color: var(--ink); --jp-widgets-readout-color: var(--ink); }
.anchorkit-explorer :focus-visible { outline: 2px solid var(--ink); outline-offset: 1px; }
.anchorkit-picture svg { max-width: 100%; height: auto; display: block; }
.anchorkit-picture a[data-pick] { cursor: pointer; outline: none; }
.anchorkit-picture a[data-pick]:hover > *, .anchorkit-picture a[data-pick]:focus-visible > * {
  stroke: var(--ink); stroke-width: 2.5px; stroke-opacity: 1;
}
.anchorkit-picture a.off[data-mark] > * {
  fill-opacity: 0; stroke: var(--ghost); stroke-opacity: 1; stroke-width: 1.4px; stroke-dasharray: 3 3;
}
.anchorkit-picture a.off[data-mark] > text { fill: var(--quiet); fill-opacity: 1; stroke: none; }
.anchorkit-picture a[data-mark].ring > text { font-weight: bold; }
.anchorkit-picture a.ring[data-pick] > * { stroke: var(--ink); stroke-width: 2.4px; stroke-opacity: 1; }
.anchorkit-picture a.frame > * { stroke: var(--ink); stroke-width: 2.6px; stroke-opacity: 1; }
.anchorkit-picture a.inset > * { stroke: var(--ink); stroke-width: 5px; } /* its neighbours cover the outer half */
.anchorkit-picture a.lit > path[aria-roledescription='line mark'] { stroke-width: 2.2px; }
.anchorkit-picture a.dim > * { opacity: 0.16; }
.anchorkit-picture.dark a.dim > * { opacity: 0.34; }
.anchorkit-picture a.gone { display: none; }
.anchorkit-picture a[data-mark^="name "] > text { paint-order: stroke; stroke: var(--ground); stroke-width: 3.5px;
  stroke-linejoin: round; }
.anchorkit-picture a[data-mark], .anchorkit-picture a[data-corner] { pointer-events: none; }
.anchorkit-picture .pointer circle { fill: none; stroke: var(--ink); stroke-width: 2.2px; }
.anchorkit-picture .pointer text { font: 700 15px sans-serif; fill: var(--ink); paint-order: stroke; stroke: var(--ground);
  stroke-width: 4px; }
.anchorkit-tip { position: absolute; pointer-events: none; z-index: 10; max-width: 22em; padding: 4px 8px;
  background: var(--ink); color: var(--ground); font: 13px/1.4 sans-serif; border-radius: 4px; white-space: pre-line; }
`;

function render({ model, el }) {
  const style = document.createElement("style");
  style.textContent = STYLE;
  const frame = document.createElement("div");
  frame.className = "anchorkit-picture";
  frame.setAttribute("role", "group");
  const holder = document.createElement("div");
  const tip = document.createElement("div");
  tip.className = "anchorkit-tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  frame.append(holder, tip);
  el.append(style, frame);

  const SVG = "http://www.w3.org/2000/svg";
  let pickedAt = null; // when the last pick was, to measure how long the new picture took
  let current = 0; // which mark takes the keyboard's focus: Tab reaches the picture once, arrows walk in it

  const marks = () => [...holder.querySelectorAll("a[data-pick]")];
  // Where the keyboard stops: what is shown, and what answers the same only once.
  const stops = () => {
    const seen = new Set();
    return marks().filter((mark) => {
      const stop = !mark.classList.contains("gone") && !seen.has(mark.dataset.pick);
      seen.add(mark.dataset.pick);
      return stop;
    });
  };
  const focusAt = (all, place) => {
    current = place;
    all.forEach((mark, other) => mark.setAttribute("tabindex", other === place ? "0" : "-1"));
  };

  const draw = () => {
    const focused = holder.contains(document.activeElement) ? document.activeElement.dataset.pick : null;
    holder.innerHTML = model.get("svg");
    frame.classList.toggle("dark", model.get("dark"));
    frame.setAttribute("aria-label", model.get("label"));
    tip.hidden = true;
    const all = marks();
    all.forEach((mark) => {
      mark.setAttribute("role", "button");
      mark.setAttribute("tabindex", "-1");
      const named = mark.querySelector("[aria-label]");
      mark.dataset.name = named ? named.getAttribute("aria-label") : mark.dataset.pick;
    });
    dress();
    const at = stops();
    const again = at.findIndex((mark) => mark.dataset.pick === focused);
    if (at.length) focusAt(at, again >= 0 ? again : Math.min(current, at.length - 1));
    if (again >= 0) at[again].focus();
    point();
    furnish();
    drawn();
  };

  // Classes of the marks, and what they say of themselves beside their name.
  const dress = () => {
    const classes = model.get("classes");
    const notes = model.get("notes");
    holder.querySelectorAll("a[data-pick], a[data-mark]").forEach((mark) => {
      const key = mark.dataset.pick ?? mark.dataset.mark;
      mark.setAttribute("class", classes[key] ?? "");
      if (mark.dataset.pick) mark.setAttribute("aria-label", [mark.dataset.name, notes[key]].filter(Boolean).join("\n"));
    });
    const at = stops();
    if (at.length && !at.some((mark) => mark.getAttribute("tabindex") === "0")) focusAt(at, 0);
  };

  // The pointer is at a share of the way between two corners that the drawing marks.
  const point = () => {
    holder.querySelector(".pointer")?.remove();
    const where = model.get("pointer");
    const corners = [...holder.querySelectorAll("a[data-corner] > *")];
    if (!("x" in where) || corners.length < 2) return;
    const root = holder.querySelector("svg");
    const inverse = root.getScreenCTM().inverse();
    const [low, high] = corners.slice(0, 2).map((corner) => {
      const box = corner.getBoundingClientRect();
      return new DOMPoint(box.x + box.width / 2, box.y + box.height / 2).matrixTransform(inverse);
    });
    const group = document.createElementNS(SVG, "g");
    group.setAttribute("class", "pointer");
    const x = low.x + (high.x - low.x) * where.x;
    const y = low.y + (high.y - low.y) * where.y;
    group.setAttribute("transform", `translate(${x},${y})`);
    const ring = document.createElementNS(SVG, "circle");
    ring.setAttribute("r", "10");
    const text = document.createElementNS(SVG, "text");
    text.setAttribute("x", "8");
    text.setAttribute("y", "27");
    text.textContent = where.text ?? "";
    group.append(ring, text);
    root.append(group);
  };

  const drawn = () => {
    frame.dataset.drawings = String(1 + Number(frame.dataset.drawings || 0));
    if (pickedAt !== null) {
      const shownFor = pickedAt;
      pickedAt = null;
      // Two frames later the browser has painted it.
      requestAnimationFrame(() =>
        requestAnimationFrame(() => {
          frame.dataset.pickToPicture = (performance.now() - shownFor).toFixed(1);
        }),
      );
    }
  };

  const pick = (mark, event) => {
    pickedAt = performance.now();
    model.send({ pick: mark.dataset.pick, extend: event.shiftKey || event.ctrlKey || event.metaKey });
  };

  const markOf = (event) => (event.target instanceof Element ? event.target.closest("a[data-pick]") : null);

  // ipywidgets gives sliders and their numbers no name for those who cannot see the label beside them.
  const furnish = () => {
    const room = frame.closest(".anchorkit-explorer");
    if (!room) return;
    room.classList.toggle("dark", model.get("dark"));
    for (const part of room.querySelectorAll(".widget-hslider, .slider-container")) {
      const control = part.closest(".widget-hslider") ?? part;
      const name = control.querySelector(".widget-label")?.textContent;
      const number = control.querySelector(".widget-readout");
      if (!name) continue;
      control.querySelectorAll("[role=slider]").forEach((handle) => handle.setAttribute("aria-label", name));
      number?.setAttribute("aria-label", `${name}, as a number`);
      if (number?.isContentEditable) number.setAttribute("role", "textbox");
    }
  };

  const showTip = (event) => {
    const mark = markOf(event);
    const text = mark && mark.getAttribute("aria-label");
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const box = frame.getBoundingClientRect();
    const at = mark.getBoundingClientRect();
    tip.style.top = `${at.bottom - box.top + 6}px`;
    tip.style.left = `${Math.max(0, Math.min(at.left - box.left, box.width - tip.offsetWidth))}px`;
  };

  holder.addEventListener("click", (event) => {
    const mark = markOf(event);
    if (!mark) return;
    event.preventDefault();
    pick(mark, event);
  });
  holder.addEventListener("keydown", (event) => {
    const mark = markOf(event);
    if (!mark) return;
    const all = stops();
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key === "Enter" || event.key === " ") {
      pick(mark, event);
    } else if (event.key in steps) {
      const from = all.findIndex((other) => other.dataset.pick === mark.dataset.pick);
      focusAt(all, (from + steps[event.key] + all.length) % all.length);
      all[current].focus();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has keys of its own
  });
  holder.addEventListener("mouseover", showTip);
  holder.addEventListener("focusin", showTip);
  holder.addEventListener("mouseleave", () => (tip.hidden = true));
  holder.addEventListener("focusout", () => (tip.hidden = true));

  const copy = (message) => {
    if (message && message.copy && navigator.clipboard) navigator.clipboard.writeText(message.copy);
  };
  const changed = { "change:svg": draw };
  for (const name of ["classes", "notes"]) changed[`change:${name}`] = () => (dress(), drawn());
  changed["change:pointer"] = () => (point(), drawn());
  changed["msg:custom"] = copy;
  for (const [event, act] of Object.entries(changed)) model.on(event, act);
  draw();
  // Before the page has a layout the corners have no place.
  const seen = new ResizeObserver(() => (point(), furnish()));
  seen.observe(frame);
  return () => {
    seen.disconnect();
    for (const [event, act] of Object.entries(changed)) model.off(event, act);
  };
}

export default { render };
