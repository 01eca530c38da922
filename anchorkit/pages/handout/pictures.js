// An image with the detections of all anchors, and beside it with those of the anchors on the board.
import { classOf } from "./unpack.js";
import { element } from "./words.js";

export class Picture {
  constructor(place, source, number, head, streams, table, state) {
    this.state = state;
    this.boxes = boxesOf(number, head, streams, table, state.evaluator.level);
    this.was = this.detected(state.full);
    const [width, height] = head.picture_sizes[number];
    const pane = (name) => {
      const marks = element("g");
      const label = `image ${number + 1} ${name}`;
      const image = element("image", { href: source, width, height });
      return { marks, svg: element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, image, marks) };
    };
    const [before, after] = [pane("with all anchors"), pane("with yours")];
    before.marks.append(...[...this.was].map((box) => drawn(box, "")));
    this.marks = after.marks;
    this.caption = element("figcaption");
    place.append(element("figure", {}, before.svg, after.svg, this.caption));
  }

  detected(keep) {
    const state = this.state.evaluator.detections(keep);
    return new Set(this.boxes.filter((box) => state[box.p] === 2));
  }

  draw() {
    const now = this.detected(this.state.keep);
    const lost = [...this.was].filter((box) => !now.has(box));
    const gained = [...now].filter((box) => !this.was.has(box));
    const kinds = [...lost.map((box) => [box, "lost"]), ...[...now].map((box) => [box, this.was.has(box) ? "" : "gained"])];
    this.marks.replaceChildren(...kinds.map(([box, kind]) => drawn(box, kind)));
    const parts = [`${now.size} boxes`];
    if (lost.length) parts.push(`${lost.length} gone (dashed)`);
    if (gained.length) parts.push(`${gained.length} new (thick)`);
    this.caption.textContent = parts.join(", ");
  }
}

function boxesOf(number, head, streams, table, level) {
  const found = [];
  let row = 0;
  streams.shown.forEach((step, i) => {
    row += step;
    if (streams.shown_picture[i] !== number) return;
    const [x1, y1, x2, y2] = Array.from(streams.shown_corners.subarray(4 * i, 4 * i + 4), (corner) => corner / 2);
    const p = table.place[row];
    const klass = classOf(p, table.classStart);
    const name = `${head.class_names[klass] ?? "another class"}, ${streams.shown_score[i]} %`;
    found.push({ p, name, d: `M${x1} ${y1}H${x2}V${y2}H${x1}Z`, level: level[table.anchor[p]] });
  });
  return found;
}

function drawn(box, kind) {
  const path = () => element("path", { d: box.d });
  return element("g", { class: `box paint${box.level % 7} ${kind}` }, path(), path(), element("title", {}, box.name));
}
