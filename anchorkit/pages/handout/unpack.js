// From the bytes that pack.py writes to arrays. Rows are numbered by place: class by class, best first.
import { sliced } from "./inflate.js";

const PAUSE = 1 << 15;

export async function unpack(bytes) {
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const streams = await sliced(numbers(bytes, 4 + length, head.streams));
  return { head, streams, table: await sliced(tableOf(head, streams)) };
}

function* numbers(bytes, at, sizes) {
  const found = {};
  for (const [name, [count, planes]] of Object.entries(sizes)) {
    const values = (found[name] = new Uint32Array(count));
    for (let plane = 0; plane < planes; plane++) {
      for (let i = 0; i < count; i++) {
        if (i % PAUSE === 0) yield;
        values[i] |= bytes[at++] << (8 * plane);
      }
    }
  }
  return found;
}

// Sums of differences, in place.
function* summed(values, modulus = 0) {
  for (let i = 0, sum = 0; i < values.length; i++) {
    if (i % PAUSE === 0) yield;
    sum += values[i];
    if (modulus && sum >= modulus) sum -= modulus;
    values[i] = sum;
  }
  return values;
}

function startsOf(counts) {
  const starts = new Uint32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) starts[i + 1] = starts[i] + counts[i];
  return starts;
}

function* tableOf(head, s) {
  const n = s.anchor.length;
  const classStart = startsOf(head.class_sizes);
  const image = yield* summed(s.image, head.images);
  // The file numbers rows by image first; place[row] is where a row is here.
  const imageSize = new Uint32Array(head.images);
  for (let p = 0; p < n; p++) {
    if (p % PAUSE === 0) yield;
    imageSize[image[p]]++;
  }
  const imageStart = startsOf(imageSize);
  const next = imageStart.slice();
  const place = new Uint32Array(n);
  const groupOf = new Uint32Array(n);
  const groupStart = [];
  const lastClass = new Int32Array(head.images).fill(-1);
  for (let k = 0; k < head.class_sizes.length; k++) {
    for (let p = classStart[k]; p < classStart[k + 1]; p++) {
      if (p % PAUSE === 0) yield;
      const row = next[image[p]]++;
      place[row] = p;
      if (lastClass[image[p]] !== k) groupOf[row] = 1;
      lastClass[image[p]] = k;
    }
  }
  for (let row = 0; row < n; row++) {
    if (row % PAUSE === 0) yield;
    if (groupOf[row]) groupStart.push(row);
    groupOf[row] = groupStart.length - 1;
  }
  groupStart.push(n);
  yield;

  const anchor = new Uint16Array(n);
  const victimStart = new Uint32Array(n + 1);
  const pairStart = new Uint32Array(n + 1);
  for (let row = 0; row < n; row++) {
    if (row % PAUSE === 0) yield;
    const p = place[row];
    anchor[p] = s.anchor[row];
    victimStart[p + 1] = s.n_victims[row];
    pairStart[p + 1] = s.n_pairs[row];
  }
  yield* summed(victimStart);
  yield* summed(pairStart);
  const truthStart = startsOf(s.n_truths);
  const victim = new Uint32Array(s.victim.length);
  const pairTruth = new Uint32Array(s.pair_truth.length);
  const pairPassed = new Uint32Array(s.pair_truth.length); // one bit per IoU threshold
  let v = 0;
  let q = 0;
  for (let row = 0; row < n; row++) {
    if (row % PAUSE === 0) yield;
    const p = place[row];
    let suppressed = row;
    for (let e = victimStart[p]; e < victimStart[p + 1]; e++) {
      suppressed += s.victim[v++];
      victim[e] = place[suppressed];
    }
    for (let e = pairStart[p]; e < pairStart[p + 1]; e++, q++) {
      pairTruth[e] = truthStart[groupOf[row]] + s.pair_truth[q];
      pairPassed[e] = (1 << s.pair_passed[q]) - 1;
    }
  }

  const outside = new Uint8Array(n);
  for (const row of yield* summed(s.outside)) outside[place[row]] = 1;
  const topped = new Set(yield* summed(s.topped));
  let visited = 0;
  const parts = []; // images in the detector's order where a cap or a top-k may remove rows; and all other rows
  const isLimited = new Uint8Array(head.images);
  for (const number of yield* summed(s.limited)) {
    const at = new Map(); // the next row of each class
    for (let row = imageStart[number]; row < imageStart[number + 1]; row = groupStart[groupOf[row] + 1])
      at.set(classOf(place[row], classStart), row);
    const rows = new Uint32Array(imageSize[number]); // places, in the detector's order
    const classes = s.visit.subarray(visited, (visited += rows.length));
    classes.forEach((k, i) => {
      rows[i] = place[at.get(k)];
      at.set(k, at.get(k) + 1);
    });
    parts.push({ rows, classes, limited: true, topped: topped.has(number) });
    isLimited[number] = 1;
    yield;
  }
  const others = new Uint32Array(n);
  let rest = 0;
  for (let p = 0; p < n; p++) {
    if (p % PAUSE === 0) yield;
    if (!isLimited[image[p]]) others[rest++] = p;
  }
  parts.push({ rows: others.subarray(0, rest), limited: false, topped: false });
  const long = []; // groups that may have more detections than count
  for (let group = 0; group + 1 < groupStart.length; group++)
    if (groupStart[group + 1] - groupStart[group] > head.most_counted)
      long.push(place.subarray(groupStart[group], groupStart[group + 1]));
  return {
    n, classStart, anchor, victimStart, victim, pairStart, pairTruth, pairPassed, outside, parts, long, place,
    real: s.truth.map((flags) => flags & 1),
    crowd: s.truth.map((flags) => flags >> 1),
  };
}

export function classOf(p, classStart) {
  let k = 0;
  while (classStart[k + 1] <= p) k++;
  return k;
}
