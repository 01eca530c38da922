// Some images with the detections of all anchors, and of those on the board.
import { element } from "./words.js";

export class Pictures {
  constructor(place, sources, head, streams, table, state) {
    this.state = state;
    const { level } = state.evaluator;
    let row = 0;
    this.boxes = Array.from(streams.shown, (step, i) => {
      row += step;
      const [x1, y1, x2, y2] = streams.shown_corners.subarray(4 * i, 4 * i + 4).map((corner) => corner);
      const p = table.place[row];
      let klass = 0;
      while (table.classStart[klass + 1] <= p) klass++;
      const name = `${head.class_names[klass] ?? "another class"}, ${streams.shown_score[i]} %`;
      const d = `M${x1 / 2} ${y1 / 2}H${x2 / 2}V${y2 / 2}H${x1 / 2}Z`;
      return { p, d, name, picture: streams.shown_picture[i], level: level[table.anchor[p]] };
    });
    const was = this.detected(state.full);
    this.pictures = sources.map((source, number) => {
      const [width, height] = head.picture_sizes[number];
      const pane = (name) => {
        const marks = element("g");
        const image = element("image", { href: source, width, height });
        const label = `image ${number + 1} ${name}`;
        place.lastElementChild?.append(element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, image, marks));
        return marks;
      };
      place.append(element("figure"));
      const [before, after] = [pane("with all anchors"), pane("with yours")];
      const caption = element("figcaption");
      place.lastElementChild.append(caption);
      const own = this.boxes.filter((box) => box.picture === number);
      before.append(...own.filter((box) => was.has(box)).map((box) => this.drawn(box, "")));
      return { after, caption, own };
    });
    this.was = was;
  }

  detected(keep) {
    this.state.evaluator.detect(keep);
    return new Set(this.boxes.filter((box) => this.state.evaluator.state[box.p] === 2));
  }

  drawn(box, kind) {
    const path = () => element("path", { d: box.d });
    return element("g", { class: `box paint${box.level % 7} ${kind}` }, path(), path(), element("title", {}, box.name));
  }

  draw() {
    const now = this.detected(this.state.keep);
    for (const { after, caption, own } of this.pictures) {
      const here = own.filter((box) => now.has(box));
      const lost = own.filter((box) => this.was.has(box) && !now.has(box));
      const gained = here.filter((box) => !this.was.has(box));
      after.replaceChildren(...lost.map((box) => this.drawn(box, "lost")), ...here.map((box) => this.drawn(box, gained.includes(box) ? "gained" : "")));
      const parts = [`${here.length} boxes`, lost.length ? `${lost.length} gone (dashed)` : "", gained.length ? `${gained.length} new (thick)` : ""];
      caption.textContent = parts.filter(Boolean).join(", ");
    }
  }
}
