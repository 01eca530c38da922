"use strict";
const table = document.getElementById("runs");
const body = table.tBodies[0];
const wanted = document.getElementById("wanted");

function show() {
  const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    count += !row.hidden;
  }
  document.getElementById("shown").textContent = `${count} of ${body.rows.length} runs`;
}

// Numbers by value, an empty cell last whichever way; all else as people sort text.
function value(row, column) {
  const cell = row.cells[column];
  const number = cell.dataset.value ?? cell.textContent.trim();
  return number === "" ? null : Number.isNaN(Number(number)) ? number : Number(number);
}

function sort(header) {
  const column = header.cellIndex;
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].sort((a, b) => {
    const [left, right] = [value(a, column), value(b, column)];
    if (left === null || right === null) return (left === null) - (right === null);
    const order = typeof left === "number" && typeof right === "number"
      ? left - right
      : String(left).localeCompare(String(right), undefined, { numeric: true });
    return down ? -order : order;
  });
  body.append(...rows);
}

for (const header of table.tHead.rows[0].cells) {
  header.querySelector("button")?.addEventListener("click", () => sort(header));
}
wanted.addEventListener("input", show);
show();
