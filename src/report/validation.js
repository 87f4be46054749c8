// The page of `tegu lut validate`: figures, predicted against measured latency, errors over latency.

const data = JSON.parse(byId("data").textContent);
const first = data.tables[0];
const percent = value => known(value) ? `${number(value, 3)} %` : "–";
const error = network => 100 * (network.predicted_ms / network.measured_ms - 1);

byId("facts").textContent = [`${first.figures.networks} networks that the table had not seen`,
  first.dead && `${first.dead} dead ones left out`, first.failed && `${first.failed} could not be measured`,
  first.cpu, first.runtime].filter(Boolean).join(", ");

const grid = (label, columns, rows) => el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, el("table", { class: "data" },
  el("thead", {}, el("tr", {}, columns.map(([title]) => el("th", { scope: "col" }, title)))),
  el("tbody", {}, rows.map(row => el("tr", {}, columns.map(([, cell]) => el("td", {}, cell(row))))))));

byId("table").append(grid("Figures", [
  ["table", t => t.method], ["entries", t => String(t.entries)], ["timed networks", t => String(t.networks)],
  ["Spearman ρ", t => number(t.figures.spearman, 4)], ["Kendall τ", t => number(t.figures.kendall, 4)],
  ["median error", t => percent(t.figures.median_error_pct)], ["90 % below", t => percent(t.figures.p90_error_pct)],
  ["within 90 % interval", t => percent(t.figures.coverage90_pct)],
], data.tables));

for (const table of data.tables) {
  const rho = ` ρ ${number(table.figures.spearman, 4)}`;
  const points = y => table.checked.map(network => [{ control: table !== first }, network.measured_ms, y(network)]);
  byId("multiples").append(multiple(points(n => n.predicted_ms), "measured, ms", `${table.method}: predicted, ms`, rho, false));
  byId("multiples").append(multiple(points(error), "measured, ms", `${table.method}: error, %`, "", false));
}

const worst = [...first.checked].sort((a, b) => Math.abs(error(b)) - Math.abs(error(a))).slice(0, 15);
byId("worst").append(grid("The largest errors", [
  ["measured, ms", n => number(n.measured_ms, 4)], ["predicted, ms", n => number(n.predicted_ms, 4)],
  ["error", n => percent(error(n))], ["90 % interval, ms", n => n.interval90_ms ? n.interval90_ms.map(v => number(v, 4)).join(" to ") : "–"],
  ["architecture", n => n.arch],
], worst));
for (const draw of waiting.splice(0)) draw();
