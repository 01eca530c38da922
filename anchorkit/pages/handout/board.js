// Every anchor drawn to one scale, level by level: filled if kept, a dashed outline if taken away.
import { element, signed } from "./words.js";

const LARGEST = 76; // pixels of the longest side of an anchor

export class Board {
  constructor(place, anchors, state, toggle) {
    this.state = state;
    this.anchors = anchors;
    const { levels } = state.layout;
    const sides = levels.flatMap((level) => level.anchors.flat());
    const scale = LARGEST / Math.max(1, ...sides);
    this.tiles = [];
    this.heads = levels.map((level, number) => {
      const first = this.tiles.length;
      const numbers = level.anchors.map((_, i) => first + i);
      const count = element("span", { class: "quiet" });
      const name = element("b", {}, `Level ${number}`);
      const head = element("button", { class: `level ink${number % 7}`, type: "button" }, name, " ", count, said("kept; all away or back"));
      head.addEventListener("click", () => toggle(numbers));
      const height = Math.max(12, ...level.anchors.map(([, h]) => h * scale));
      const row = level.anchors.map((anchor, i) => this.tile(anchor, first + i, number, scale, height, toggle));
      if (row.length) place.append(element("div", { class: "row", role: "group", "aria-label": `Level ${number}` }, head, ...row));
      return { count, numbers };
    });
  }

  tile([width, height], number, level, scale, room, toggle) {
    const [w, h] = [Math.max(3, width * scale), Math.max(3, height * scale)];
    const box = element("rect", { x: (LARGEST + 2 - w) / 2, y: room + 1 - h, width: w, height: h });
    const picture = element("svg", { viewBox: `0 0 ${LARGEST + 2} ${room + 2}`, "aria-hidden": "true" }, box);
    const change = element("span", { class: "change" });
    const size = element("span", { class: "size" }, this.anchors[number].split("/").pop());
    const button = element("button", { class: `tile paint${level % 7}`, type: "button", "aria-pressed": "true" }, picture, size, " ", change, said("AP by a click"));
    button.addEventListener("click", () => toggle([number]));
    this.tiles.push({ button, change });
    return button;
  }

  draw() {
    const { keep } = this.state;
    this.tiles.forEach((tile, i) => {
      if (tile.kept === keep[i]) return;
      tile.kept = keep[i];
      tile.button.setAttribute("aria-pressed", keep[i] ? "true" : "false");
    });
    for (const { count, numbers } of this.heads) count.textContent = `${numbers.filter((i) => keep[i]).length} of ${numbers.length}`;
  }

  // What each toggle would do to AP; undefined while it is being computed.
  show(children) {
    const now = this.state.accuracy();
    this.tiles.forEach((tile, i) => {
      tile.button.classList.toggle("waits", children === undefined);
      if (children) tile.change.textContent = children[i] === null ? "the last" : signed(100 * (children[i] - now));
    });
  }

  ring(anchor) {
    this.unring();
    this.tiles[anchor].button.classList.add("ring");
  }

  unring() {
    for (const { button } of this.tiles) button.classList.remove("ring");
  }
}

// Text for screen readers alone, after what is to be seen.
const said = (text) => element("span", { class: "said" }, ` ${text}`);
