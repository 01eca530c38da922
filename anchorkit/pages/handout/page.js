// The page: reads its data, answers window.anchorkit, and wires the parts.
import { Board } from "./board.js";
import { Chart } from "./chart.js";
import { costsOf } from "./costs.js";
import { Evaluator } from "./evaluate.js";
import { Game } from "./game.js";
import { Picture } from "./pictures.js";
import { Shapes } from "./shapes.js";
import { State } from "./state.js";
import { breath, inflate, painted, sliced } from "./inflate.js";
import { unpack } from "./unpack.js";
import { POINTS, TITLES, amount, change, element, inSentence, points, signed, spoken } from "./words.js";

const by = (id) => document.getElementById(id);
const { anchors } = window.anchorkit;

async function begin() {
  const { head, streams, table } = await unpack(await inflate(by("table").textContent));
  const level = head.layout.levels.flatMap(({ anchors }, number) => anchors.map(() => number));
  await breath();
  const evaluator = new Evaluator(head, table, level);

  // One byte per anchor from indices.
  function kept(indices) {
    const keep = new Uint8Array(anchors.length);
    for (const index of indices) {
      if (!(index in keep)) throw new RangeError(`there is no anchor ${index}; indices are 0 to ${keep.length - 1}`);
      keep[index] = 1;
    }
    return keep;
  }
  window.anchorkit.accuracy = (indices) => evaluator.accuracy(kept(indices));
  window.anchorkit.costs = (indices) => costsOf(head.layout, kept(indices));
  await breath();
  await play(evaluator, head, streams, table);
}

async function play(evaluator, head, streams, table) {
  const state = new State(evaluator, head);
  await breath();
  let children; // AP after each toggle of the present configuration, once computed
  let advised;
  let turn = 0;

  const say = (text) => (by("said").textContent = text);
  const toggle = (numbers) => (state.toggle(numbers) ? moved() : say("A detector needs at least one anchor."));
  const load = (keep) => state.set(keep.slice()) && moved();
  const board = new Board(by("board"), anchors, state, toggle);
  await breath();
  const chart = new Chart(by("chart"), state, load);
  const game = new Game(by("game"), state, head.tag);
  const sources = JSON.parse(by("pictures").textContent);
  by("with-images").hidden = !sources.length;
  by("with-shapes").hidden = !streams.shape.length;
  // What is further down the page, in the order in which it appears.
  const below = [
    () => new Shapes(by("shapes"), anchors, state, streams.shape),
    ...sources.map((source, number) => () => new Picture(by("images"), source, number, head, streams, table, state)),
  ].map((make) => ({ make }));

  const names = ["accuracy", "n_anchors", ...state.costNames];
  const sums = new Map(names.map((name) => {
    const [value, note] = [element("b"), element("span", { class: "quiet" })];
    by("sums").append(element("div", { class: name }, element("span", {}, TITLES[name] ?? POINTS), value, note));
    return [name, { value, note }];
  }));
  await breath();
  const full = { ...state.costs(state.full), accuracy: await sliced(state.settle(state.full)) };
  await breath();

  for (const name of state.costNames) by("cost").append(new Option(TITLES[name], name));
  by("cost").value = state.cost = state.costNames.includes(state.cost) ? state.cost : state.costNames[0];
  by("cost").addEventListener("change", () => {
    state.cost = by("cost").value;
    advised = undefined;
    draw();
  });
  const point = by("point");
  point.max = state.frontier.length - 1;
  point.addEventListener("input", () => load(state.frontier[point.value].keep));

  const acts = {
    undo: () => (state.undo(), moved()),
    redo: () => (state.redo(), moved()),
    reset: () => load(state.full),
    best: () => (typeof advised === "number" ? toggle([advised]) : advise()),
  };
  for (const [name, act] of Object.entries(acts)) by(name).addEventListener("click", act);
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    acts[event.shiftKey ? "redo" : "undo"]();
  });

  function figures() {
    const now = { ...state.costs(), accuracy: state.accuracy() };
    for (const [name, { value, note }] of sums) {
      const isAccuracy = name === "accuracy";
      value.textContent = isAccuracy ? points(now.accuracy) : amount(now[name]);
      note.textContent = isAccuracy ? signed(100 * (now.accuracy - full.accuracy)) : name === "n_anchors" ? `of ${full.n_anchors}` : change(full[name], now[name]);
    }
    by("sums").dataset.cost = state.cost;
    return now;
  }

  function sentence(now) {
    const lost = signed(100 * (now.accuracy - full.accuracy));
    const cost = `${inSentence(state.cost)} ${change(full[state.cost], now[state.cost])}`;
    const best = state.searched(state.cost, now[state.cost]);
    if (now.n_anchors === full.n_anchors) return "All anchors are kept. Take one away.";
    const text = `${now.n_anchors} of ${full.n_anchors} anchors kept: AP ${lost} points, ${cost}.`;
    if (best === undefined) return `${text} The search found nothing so cheap.`;
    const lead = 100 * (now.accuracy - best);
    if (Math.abs(lead) < 0.005) return `${text} Level with the search at this cost.`;
    return `${text} At this cost ${lead > 0 ? "you beat the search" : "the search is ahead"} by ${Math.abs(lead).toFixed(2)}.`;
  }

  function draw() {
    say(sentence(figures()));
    chart.draw();
    game.draw();
    by("undo").disabled = state.past.length < 2;
    by("redo").disabled = !state.future.length;
    by("best").textContent = "Best next removal";
    const here = state.keep.join("");
    const at = state.frontier.findIndex(({ key }) => key === here);
    if (at >= 0) point.value = at;
    point.setAttribute("aria-valuetext", at >= 0 ? `point ${at + 1} of ${state.frontier.length}, AP ${points(state.accuracy())}` : "not on the frontier");
    if (advised === undefined) board.unring();
  }

  // First what a player looks at; the rest follows.
  function moved() {
    children = advised = undefined;
    figures();
    board.draw();
    by("play").setAttribute("aria-busy", "true");
    follow(++turn);
  }

  // The rest, a slice at a time, unless the next move comes first.
  async function follow(own) {
    const isWanted = () => own === turn;
    await breath();
    if (!isWanted()) return;
    draw();
    await breath();
    if (isWanted()) board.show(undefined);
    const found = isWanted() && (await sliced(state.children(), isWanted));
    if (!found) return;
    children = found;
    board.show(children);
    if (advised === null) advise();
    for (const part of below) {
      await breath();
      if (!isWanted()) return;
      part.made ??= part.make();
      part.made.draw();
    }
    by("play").setAttribute("aria-busy", "false");
  }

  function advise() {
    if (!children) {
      advised = null; // wanted as soon as the answers are there
      say("Trying every anchor \u2026");
      return;
    }
    advised = state.best(children, state.cost);
    if (advised === undefined || state.keep.reduce((sum, one) => sum + one, 0) < 2) return;
    board.ring(advised);
    by("best").textContent = `Remove ${anchors[advised]}`;
    say(`Best next removal: ${spoken(anchors[advised])}. AP would change by ${signed(100 * (children[advised] - state.accuracy()))} points.`);
  }

  // Part by part: laying out everything at once would be the longest task of the page.
  const parts = [...by("board").children, by("side")];
  for (const part of parts) part.hidden = true;
  by("play").hidden = false;
  by("loading").hidden = true;
  for (const part of parts) {
    part.hidden = false;
    await painted();
  }
  moved();
}
