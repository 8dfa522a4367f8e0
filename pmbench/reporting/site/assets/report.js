// Sorting, filtering and choosing. Without it the pages show everything, best first.
"use strict";

// What papers report stands below the metric that it belongs to, and goes where that one goes.
function leaders(body) {
  return Array.from(body.rows).filter((row) => !row.classList.contains("beside"));
}

function following(row) {
  const found = [];
  for (let next = row.nextElementSibling; next?.classList.contains("beside"); ) {
    found.push(next);
    next = next.nextElementSibling;
  }
  return found;
}

// A table is sorted by a column's data-by, or by its text; what has no value stays last.
function sortBy(button) {
  const header = button.parentElement;
  const table = header.closest("table");
  const column = header.cellIndex;
  const text = button.dataset.sort === "text";
  const now = header.getAttribute("aria-sort");
  // scores fall at first, names and ranks rise
  const first = text || header.classList.contains("rising") ? "ascending" : "descending";
  const second = first === "ascending" ? "descending" : "ascending";
  const direction = now === first ? second : first;
  const sign = direction === "ascending" ? 1 : -1;
  const value = (row) => {
    const cell = row.cells[column];
    if (text) return cell.textContent.trim();
    return cell.dataset.by === "" ? null : Number(cell.dataset.by);
  };
  const body = table.querySelector("tbody.metrics");
  const rows = leaders(body).map((row) => [value(row), [row, ...following(row)]]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (text ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  });
  body.append(...rows.flatMap(([, group]) => group));
  for (const other of table.querySelectorAll("th[aria-sort]")) {
    other.setAttribute("aria-sort", other === header ? direction : "none");
  }
}

// Rows whose name has the text in it, and whose family is the chosen one; those of papers on demand.
function filter(form) {
  const table = document.getElementById(form.dataset.table);
  const wanted = form.querySelector("input[type=search]").value.trim().toLowerCase();
  const family = form.querySelector("select").value;
  const papers = form.querySelector("input[type=checkbox]")?.checked ?? true;
  const rows = leaders(table.querySelector("tbody.metrics"));
  for (const row of rows) {
    const name = row.cells[0].textContent.toLowerCase();
    const off = !name.includes(wanted) || (family !== "" && row.dataset.family !== family);
    row.hidden = off;
    for (const one of following(row)) one.hidden = off || !papers;
  }
  for (const one of table.querySelectorAll("tbody.people tr.beside, tbody.published")) {
    one.hidden = !papers;
  }
  const shown = rows.filter((row) => !row.hidden).length;
  form.querySelector("output").textContent = `${shown} of ${rows.length} metrics`;
}

function choose(form) {
  const wall = document.getElementById(form.dataset.wall);
  const key = form.querySelector("select").value;
  for (const duel of wall.children) duel.hidden = duel.dataset.key !== key;
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortBy(button));
}
for (const form of document.querySelectorAll("form.filter")) {
  form.hidden = false;
  form.addEventListener("input", () => filter(form));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter(form);
}
for (const form of document.querySelectorAll("form.duels")) {
  form.hidden = false;
  form.addEventListener("change", () => choose(form));
  choose(form);
}
