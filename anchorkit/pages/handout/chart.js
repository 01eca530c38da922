// AP against a cost: the frontier of the search, the full detector, what was tried, and the point on the board.
import { TITLES, amount, element, points } from "./words.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [400, 250, 40, 34, 12, 14];

export class Chart {
  constructor(place, state, load) {
    this.place = place;
    this.state = state;
    place.addEventListener("click", (event) => {
      const box = place.getBoundingClientRect();
      const [x, y] = [event.clientX - box.x, event.clientY - box.y].map((v) => (v * WIDTH) / box.width);
      const away = this.line.map((point) => Math.hypot(this.x(point.cost) - x, this.y(point.accuracy) - y));
      const nearest = away.indexOf(Math.min(...away));
      if (away[nearest] < 24) load(this.line[nearest].keep);
    });
  }

  x(cost) {
    return LEFT + (cost / this.most) * (WIDTH - LEFT - RIGHT);
  }

  y(accuracy) {
    const share = (accuracy - this.floor) / (this.top - this.floor);
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP);
  }

  draw() {
    const { state } = this;
    const cost = (keep) => state.costs(keep)[state.cost];
    const here = { cost: cost(state.keep), accuracy: state.accuracy() };
    const full = { cost: cost(state.full), accuracy: state.accuracy(state.full) };
    if (this.drawn !== state.cost) {
      this.line = state.frontier.map((point) => ({ ...point, cost: point.costs[state.cost] })).sort((a, b) => a.cost - b.cost);
      this.most = full.cost;
    }
    const found = this.line.map((point) => point.accuracy);
    const lowest = Math.min(...found, full.accuracy, here.accuracy);
    const step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2].find((size) => Math.max(...found, full.accuracy) - lowest <= 5 * size) ?? 0.2;
    const floor = Math.max(0, Math.floor(lowest / step - 0.2) * step);
    const top = Math.ceil(Math.max(...found, full.accuracy) / step + 0.2) * step;
    if (this.drawn !== state.cost || this.floor !== floor || this.top !== top) {
      [this.floor, this.top, this.drawn] = [floor, top, state.cost];
      this.drawGround(step, full);
    }
    this.marks.replaceChildren(
      ...state.past.slice(-40, -1).map((keep) => this.dot("tried", 2.5, { cost: cost(keep), accuracy: state.accuracy(keep) })),
      this.dot("you", 7, here),
      this.label(here),
    );
  }

  drawGround(step, full) {
    const parts = [];
    for (let value = this.floor; value <= this.top + 1e-9; value += step) {
      const y = this.y(value);
      parts.push(element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }));
      parts.push(element("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, (100 * value).toFixed(step < 0.01 ? 1 : 0)));
    }
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const x = this.x(share * this.most);
      const anchor = share === 1 ? "end" : share === 0 ? "start" : "middle";
      parts.push(element("text", { x: share === 1 ? WIDTH - 2 : x, y: HEIGHT - 17, "text-anchor": anchor }, amount(share * this.most)));
    }
    parts.push(element("text", { class: "title", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 2, "text-anchor": "middle" }, TITLES[this.drawn]));
    const path = this.line.map((point, i) => `${i ? "L" : "M"}${this.x(point.cost).toFixed(1)} ${this.y(point.accuracy).toFixed(1)}`);
    parts.push(element("path", { class: "frontier", d: path.join("") || "M0 0" }));
    parts.push(...this.line.map((point) => this.dot("found", 2.5, point)));
    parts.push(this.dot("full", 5, full));
    this.marks = element("g");
    this.place.replaceChildren(...parts, this.marks);
  }

  dot(kind, r, { cost, accuracy }) {
    return element("circle", { class: kind, r, cx: this.x(cost).toFixed(1), cy: this.y(accuracy).toFixed(1) });
  }

  label(here) {
    const x = this.x(here.cost);
    const left = x > WIDTH - 110;
    const y = this.y(here.accuracy);
    return element(
      "text",
      { class: "here", x: left ? x - 12 : x + 12, y: y > HEIGHT - BOTTOM - 14 ? y - 8 : y + 17, "text-anchor": left ? "end" : "start" },
      `you: ${points(here.accuracy)}`,
    );
  }
}
