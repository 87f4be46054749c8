// The page of `tegu correlate`: a table of scores, and the scatter of each against the truth.

const data = JSON.parse(byId("data").textContent);
const rows = [...data.rows].sort((a, b) => (b.evaluation.spearman?.value ?? -1) - (a.evaluation.spearman?.value ?? -1));
const figure = value => value ? number(value.value, 3) : "–";
const interval = value => value ? `${number(value.ci95[0], 2)} to ${number(value.ci95[1], 2)}` : "–";
const percent = value => `${Math.round(100 * value)} %`;

byId("facts").textContent = `${data.architectures} architectures, ${data.dead} of them dead (last in every order)`;

const columns = [
  ["score", r => r.name], ["kind", r => r.kind],
  ["Kendall τ", r => figure(r.evaluation.kendall)], ["Spearman ρ", r => figure(r.evaluation.spearman)],
  ["95 %", r => interval(r.evaluation.spearman)], ["ρ in the top 20 %", r => figure(r.evaluation.spearman_top20)],
  ["found of the top 10 %", r => percent(r.evaluation.precision_top10)], ["found of the top 20 %", r => percent(r.evaluation.precision_top20)],
  ["best of 1", r => number(r.evaluation.best_of_top[0])], ["best of 5", r => number(r.evaluation.best_of_top[1])],
  ["best of 10", r => number(r.evaluation.best_of_top[2])], ["s an architecture", r => number(r.seconds, 2)],
];
byId("table").append(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Scores" }, el("table", { class: "data" },
  el("thead", {}, el("tr", {}, columns.map(([title]) => el("th", { scope: "col" }, title)))),
  el("tbody", {}, rows.map(row => el("tr", {}, columns.map(([, cell]) => el("td", {}, cell(row)))))))));
for (const recipe of data.recipes) {
  byId("table").append(el("p", { class: "hint" }, `${recipe.recipe}: ${recipe.weights.map(([name, weight]) => `${weight} ${name}`).join(" + ")}`));
  for (const { indicator, reason } of recipe.dropped) byId("table").append(el("p", { class: "hint" }, `dropped ${indicator}: ${reason}`));
}

for (const row of rows) {
  const points = row.scores.map((score, at) => [{ control: row.kind === "control" }, score, data.truth[at]]).filter(p => known(p[1]));
  byId("multiples").append(multiple(points, row.name, row.name, ` ρ ${figure(row.evaluation.spearman)}`, false));
}
for (const draw of waiting.splice(0)) draw();
