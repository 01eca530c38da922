// The game against the search, and the code that the teacher collects: as game.py reads it.
import { amount, change, inSentence, points, signed } from "./words.js";

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

function written(number, digits) {
  let text = "";
  for (let place = digits - 1; place >= 0; place--) text += DIGITS[Number((number >> BigInt(5 * place)) & 31n)];
  return text;
}

export function codeOf(mask, size, tag) {
  const check = (31n * mask + BigInt(tag)) % 1021n;
  return `${written(BigInt(tag), 3)}-${written(mask, Math.ceil(size / 5))}-${written(check, 2)}`;
}

export class Game {
  constructor(place, state, tag) {
    this.place = place;
    this.state = state;
    this.tag = tag;
    const { cost, limit, accuracy } = state.budget;
    const full = state.costs(state.full)[cost];
    place.querySelector(".task").textContent =
      `Spend at most ${amount(limit)} of ${inSentence(cost)} (${change(full, limit)}) and keep as much AP as you can. The search reached ${points(accuracy)}.`;
    place.querySelector("button").addEventListener("click", async (event) => {
      const code = place.querySelector("output").textContent;
      try {
        await navigator.clipboard.writeText(code);
        event.target.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(place.querySelector("output"));
      }
    });
  }

  draw() {
    const { state, place } = this;
    const { cost, limit, accuracy } = state.budget;
    const spent = state.costs()[cost];
    const within = spent <= limit;
    const lead = 100 * (state.accuracy() - accuracy);
    const ahead = lead > 0.005 ? "You are ahead of the search by" : lead < -0.005 ? "The search is ahead by" : "You are level with the search:";
    place.querySelector(".standing").textContent = within
      ? `${ahead} ${signed(Math.abs(lead)).slice(1)} points.`
      : `Over the budget by ${amount(spent - limit)}: take more away.`;
    place.querySelector(".code").hidden = !within;
    place.querySelector("output").textContent = within ? codeOf(state.mask, state.size, this.tag) : "";
    place.querySelector("button").textContent = "Copy";
  }
}
