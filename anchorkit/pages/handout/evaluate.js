// AP of any set of anchors, with the bits of Python's evaluator (docs/evaluator.md): NMS, cap, matching, COCO's mean.

const EPSILON = 2 ** -52; // numpy.spacing(1)
const RECALLS = 101;
const ROWS_AT_ONCE = 1 << 14;

export class Evaluator {
  // table: from unpack; level: the level of each anchor.
  constructor(head, table, level) {
    Object.assign(this, { head, table, level, turn: 0 });
    this.state = new Uint8Array(table.n); // of each row: 0 no detection, 1 suppressed, 2 a detection
    this.used = new Uint32Array(table.real.length); // of each annotated box: one bit per IoU threshold
    this.measured = head.n_real.map((_, k) => k).filter((k) => head.n_real[k] > 0);
    this.need = new Map(this.measured.map((k) => [k, truePositivesNeeded(head.n_real[k])]));
    this.precision = new Float64Array(head.thresholds * RECALLS * this.measured.length);
    let longest = 0;
    for (const k of this.measured) {
      let pairs = 0;
      for (let p = table.classStart[k]; p < table.classStart[k + 1]; p++)
        pairs += table.pairStart[p + 1] > table.pairStart[p];
      longest = Math.max(longest, pairs);
    }
    [this.before, this.hit, this.off] = [0, 1, 2].map(() => new Uint32Array(longest));
    this.falsePositives = new Float64Array(longest);
  }

  // keep: one byte per anchor. AP 0..1, or -1 where nothing is to be found.
  accuracy(keep) {
    for (const work = this.steps(keep); ; ) {
      const { done, value } = work.next();
      if (done) return value;
    }
  }

  // The same with pauses; undefined if another computation began in a pause, since all use the same arrays.
  *steps(keep) {
    if (!this.measured.length) return -1;
    const own = ++this.turn;
    for (const _ of this.detect(keep)) {
      yield;
      if (own !== this.turn) return undefined;
    }
    this.used.fill(0);
    for (const [column, k] of this.measured.entries()) {
      this.readClass(k, column);
      yield;
      if (own !== this.turn) return undefined;
    }
    return pairwiseSum(this.precision, 0, this.precision.length) / this.precision.length;
  }

  // The state of each row, see detect, for what needs no AP.
  detections(keep) {
    this.turn++;
    for (const _ of this.detect(keep)); // to its end
    return this.state;
  }

  // Sets state to 2 for the rows that are detections and count. Within a part a row comes after all that suppress it.
  *detect(keep) {
    const { anchor, victimStart, victim, parts, long } = this.table;
    const { state, head } = this;
    state.fill(0);
    let visited = 0;
    for (const part of parts) {
      if (part.topped) this.limitToTopk(part, keep);
      let room = part.limited ? (head.cap ?? Infinity) : Infinity;
      for (const p of part.rows) {
        if (++visited % ROWS_AT_ONCE === 0) yield;
        if (state[p] || !keep[anchor[p]]) continue;
        state[p] = 2;
        if (--room === 0) break;
        for (let e = victimStart[p]; e < victimStart[p + 1]; e++) state[victim[e]] = 1;
      }
    }
    for (const rows of long) {
      let seen = 0;
      for (const p of rows) if (state[p] === 2 && ++seen > head.most_counted) state[p] = 0;
    }
  }

  // Rows of kept anchors beyond the top-k of their scope take no part in NMS.
  limitToTopk({ rows, classes }, keep) {
    const taken = new Map();
    rows.forEach((p, i) => {
      const anchor = this.table.anchor[p];
      if (!keep[anchor]) return;
      const scope = { class: classes[i], level: this.level[anchor], image: 0 }[this.head.topk_scope];
      const seen = (taken.get(scope) ?? 0) + 1;
      taken.set(scope, seen);
      if (seen > this.head.topk) this.state[p] = 1;
    });
  }

  // Precision of one class at all recalls and IoU thresholds.
  readClass(k, column) {
    const { classStart, pairStart, outside } = this.table;
    const { state, before, hit, off, falsePositives, precision, head } = this;
    let n = 0;
    let counted = 0;
    for (let p = classStart[k]; p < classStart[k + 1]; p++) {
      if (state[p] !== 2) continue;
      if (pairStart[p + 1] > pairStart[p]) {
        before[n] = counted;
        if (this.match(p, n)) n++;
      }
      if (!outside[p]) counted++;
    }
    const need = this.need.get(k);
    const columns = this.measured.length;
    for (let t = 0; t < head.thresholds; t++) {
      let found = 0;
      let right = 0;
      for (let j = 0; j < n; j++) {
        if ((hit[j] >> t) & 1) falsePositives[found++] = before[j] - right;
        right += (off[j] >> t) & 1;
      }
      for (let i = found - 1, best = 0; i >= 0; i--) {
        best = Math.max(best, (i + 1) / (falsePositives[i] + (i + 1) + EPSILON));
        falsePositives[i] = best;
      }
      for (let r = 0, at = t * RECALLS * columns + column; r < RECALLS; r++, at += columns)
        precision[at] = need[r] <= found ? falsePositives[need[r] - 1] : 0;
    }
  }

  // What a detection matches at each IoU threshold: hit has the bits where it is a box to be found, off those where it
  // matched anything and so is no false positive. It takes a box to be found if one is left, else an ignored one; a
  // crowd is never used up.
  match(p, n) {
    const { pairStart, pairTruth, pairPassed, real, crowd, outside } = this.table;
    const { used } = this;
    const everything = 2 ** this.head.thresholds - 1;
    let free = everything;
    const end = pairStart[p + 1];
    for (let e = pairStart[p]; e < end; e++) {
      const truth = pairTruth[e];
      if (!real[truth]) continue;
      const taken = free & pairPassed[e] & ~used[truth];
      used[truth] |= taken;
      free ^= taken;
    }
    this.hit[n] = everything ^ free;
    for (let e = pairStart[p]; free && e < end; e++) {
      const truth = pairTruth[e];
      if (real[truth]) continue;
      let taken = free & pairPassed[e];
      if (!crowd[truth]) {
        taken &= ~used[truth];
        used[truth] |= taken;
      }
      free ^= taken;
    }
    this.off[n] = outside[p] ? 0 : everything ^ free;
    return this.hit[n] || this.off[n];
  }
}

// The true positives that reach each recall 0.00 to 1.00; at recall 0 the first one, as in pycocotools.
function truePositivesNeeded(nReal) {
  const need = new Uint32Array(RECALLS);
  for (let r = 0, found = 1; r < RECALLS; r++) {
    const recall = r === 100 ? 1 : r * 0.01;
    while (found / nReal < recall) found++;
    need[r] = found;
  }
  return need;
}

// numpy's sum: the order of additions decides the last bits.
export function pairwiseSum(values, at, n) {
  if (n < 8) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += values[at + i];
    return sum;
  }
  if (n <= 128) {
    const r = [0, 1, 2, 3, 4, 5, 6, 7].map((j) => values[at + j]);
    let i = 8;
    for (; i < n - (n % 8); i += 8) for (let j = 0; j < 8; j++) r[j] += values[at + i + j];
    let sum = r[0] + r[1] + (r[2] + r[3]) + (r[4] + r[5] + (r[6] + r[7]));
    for (; i < n; i++) sum += values[at + i];
    return sum;
  }
  const half = Math.floor(n / 2) - (Math.floor(n / 2) % 8);
  return pairwiseSum(values, at, half) + pairwiseSum(values, at + half, n - half);
}
