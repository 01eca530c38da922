// The configuration on the board, its past, and the answers so far.
import { costsOf } from "./costs.js";

export class State {
  constructor(evaluator, head) {
    this.evaluator = evaluator;
    this.layout = head.layout;
    this.frontier = head.frontier.map(([mask, accuracy]) => {
      const keep = this.unmasked(BigInt(`0x${mask}`));
      return { keep, key: keep.join(""), accuracy, costs: this.costs(keep) };
    });
    this.budget = head.budget;
    this.cost = head.cost;
    this.size = evaluator.level.length;
    this.full = new Uint8Array(this.size).fill(1);
    this.past = [this.full];
    this.future = [];
    this.known = new Map();
  }

  get keep() {
    return this.past.at(-1);
  }

  accuracy(keep = this.keep) {
    const key = keep.join("");
    if (!this.known.has(key)) this.known.set(key, this.evaluator.accuracy(keep));
    return this.known.get(key);
  }

  // The same with pauses. Begins again if another computation came in between.
  *settle(keep) {
    const key = keep.join("");
    while (!this.known.has(key)) {
      const accuracy = yield* this.evaluator.steps(keep);
      if (accuracy !== undefined) this.known.set(key, accuracy);
    }
    return this.known.get(key);
  }

  costs(keep = this.keep) {
    return costsOf(this.layout, keep);
  }

  // The costs that the layout allows to compute.
  get costNames() {
    const known = Object.entries(this.costs(this.full)).filter(([, value]) => value !== null);
    return known.map(([name]) => name).filter((name) => name !== "n_anchors");
  }

  // Takes anchors away, or puts them back if none of them is there. False if none would be left.
  toggle(anchors) {
    const next = this.keep.slice();
    const away = anchors.some((anchor) => next[anchor]);
    for (const anchor of anchors) next[anchor] = away ? 0 : 1;
    return this.set(next);
  }

  set(keep) {
    if (!keep.includes(1)) return false;
    if (keep.join("") !== this.keep.join("")) {
      this.past.push(keep);
      this.future = [];
    }
    return true;
  }

  undo() {
    if (this.past.length > 1) this.future.push(this.past.pop());
  }

  redo() {
    if (this.future.length) this.past.push(this.future.pop());
  }

  // AP after each toggle; null where no anchor would be left. Pauses often.
  *children() {
    const found = [];
    for (let anchor = 0; anchor < this.size; anchor++) {
      const next = this.keep.slice();
      next[anchor] ^= 1;
      found.push(next.includes(1) ? yield* this.settle(next) : null);
      yield;
    }
    return found;
  }

  // The removal that loses least; of equal ones the one that saves most of a cost. Undefined if one anchor is left.
  best(children, cost) {
    const costAfter = (anchor) => {
      const next = this.keep.slice();
      next[anchor] = 0;
      return this.costs(next)[cost];
    };
    const found = [...children.keys()].filter((anchor) => this.keep[anchor] && children[anchor] !== null);
    return found.sort((a, b) => children[b] - children[a] || costAfter(a) - costAfter(b))[0];
  }

  // The best accuracy that the search found at a cost or less; undefined if it found nothing so cheap.
  searched(cost, limit) {
    const found = this.frontier.filter((point) => point.costs[cost] <= limit);
    return found.length ? Math.max(...found.map((point) => point.accuracy)) : undefined;
  }

  unmasked(mask) {
    const count = this.layout.levels.reduce((total, level) => total + level.anchors.length, 0);
    return Uint8Array.from({ length: count }, (_, i) => Number((mask >> BigInt(i)) & 1n));
  }

  get mask() {
    return this.keep.reduce((mask, kept, i) => mask | (BigInt(kept) << BigInt(i)), 0n);
  }
}
