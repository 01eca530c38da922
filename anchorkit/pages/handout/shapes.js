// The boxes that each anchor predicts, laid over each other, and the anchor itself: what each is used for.
import { element } from "./words.js";

export class Shapes {
  constructor(place, anchors, state, shapes) {
    const [height, width] = state.layout.input;
    const paths = anchors.map(() => []);
    const centered = (w, h) => `M${(width - w) / 2} ${(height - h) / 2}h${w}v${h}h${-w}z`;
    for (let i = 0; i < shapes.length; i += 3) paths[shapes[i]].push(centered(shapes[i + 1], shapes[i + 2]));
    let first = 0;
    this.figures = [];
    this.state = state;
    state.layout.levels.forEach((level, number) => {
      level.anchors.forEach(([w, h], i) => {
        const boxes = paths[first + i];
        const svg = element(
          "svg",
          { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${boxes.length} boxes of ${anchors[first + i]}` },
          element("path", { class: `boxes paint${number % 7}`, d: boxes.join("") || "M0 0" }),
          element("path", { class: "own", d: centered(w, h) }),
        );
        const note = boxes.length ? "" : " no boxes";
        const figure = element("figure", {}, svg, element("figcaption", {}, anchors[first + i] + note));
        place.append(figure);
        this.figures.push(figure);
      });
      first += level.anchors.length;
    });
  }

  draw() {
    this.figures.forEach((figure, i) => figure.classList.toggle("away", !this.state.keep[i]));
  }
}
