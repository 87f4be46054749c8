// The page of `tegu bench samplers`: the figure of each strategy against evaluations, and a table.

const data = JSON.parse(byId("data").textContent);
const sign = data.direction === "maximize" ? 1 : -1;
const rows = [...data.samplers].sort((a, b) => sign * (b.best_mean - a.best_mean));
const same = row => rows.filter(other => other.sampler === row.sampler).length > 1;
const named = row => row.options && same(row) ? JSON.stringify(row.options).replaceAll('"', "") : row.sampler;
const what = data.figure === "best" ? data.objectives[0].name : "fraction of the true front's hypervolume";
// Colours that people who see fewer of them tell apart, and dashes for the next round of them.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#a0522d"];
const DASHES = ["", "6 3", "2 3"];
rows.filter(row => !row.control).forEach((row, at) => { row.colour = COLOURS[at % COLOURS.length]; row.dash = DASHES[Math.floor(at / COLOURS.length) % DASHES.length]; });
rows.filter(row => row.control).forEach((row, at) => { row.colour = "var(--control)"; row.dash = at ? "1 3" : "5 4"; });
rows.forEach(row => { row.shown = true; });

byId("facts").textContent = [`${data.architectures} architectures, ${data.distinct} of them distinct`, `${data.seeds} seeds`,
  `${data.evaluations} evaluations`, data.objectives.map(o => `${o.name} ${o.direction === "maximize" ? "↑" : "↓"}`).join(", ")].join(" · ");
byId("figure").textContent = data.figure === "best" ? "Best so far" : "Hypervolume so far";

const line = row => svg("svg", { width: 26, height: 12, "aria-hidden": "true" },
  svg("line", { x1: 1, x2: 25, y1: 6, y2: 6, style: `stroke:${row.colour};stroke-width:2.5`, "stroke-dasharray": row.dash || null }));
rows.forEach(row => byId("legend").append(el("label", {}, el("input", { type: "checkbox", checked: true,
  onchange: event => { row.shown = event.target.checked; draw(); } }), line(row), named(row))));

const tip = tooltip(byId("curves"));
let chart = null;
function render(width) {
  const shown = rows.filter(row => row.shown);
  const box = { left: 64, right: width - 12, top: 34, bottom: Math.max(320, Math.min(520, width * 0.5)) };
  // What happens in the first tenth would press all that counts to the top.
  const from = Math.floor(data.evaluations / 10);
  const drawn = shown.filter(row => !row.control || row.sampler === "random");
  const values = (drawn.length ? drawn : shown).flatMap(row => [...row.curve.mean.slice(from), ...row.curve.ci95.slice(from).flat()]);
  const x = scale([0, data.evaluations], box.left, box.right, false, width / 110, 0), y = scale(values, box.bottom, box.top, false, 7);
  const at = (row, of) => row.curve.evaluations.map((n, i) => [x.at(n), y.at(of(row, i))]);
  const band = row => row.curve.ci95.length ? svg("path", { style: `fill:${row.colour};fill-opacity:.13;stroke:none`,
    d: polyline([...at(row, (r, i) => r.curve.ci95[i][1]), ...at(row, (r, i) => r.curve.ci95[i][0]).reverse()]) + "Z" }) : null;
  const path = row => svg("path", { class: "line", "data-sampler": row.sampler, style: `stroke:${row.colour}`, "stroke-dasharray": row.dash || null, d: polyline(at(row, (r, i) => r.curve.mean[i])) });
  const cross = svg("line", { class: "cross", y1: box.top, y2: box.bottom, visibility: "hidden" });
  const clip = svg("clipPath", { id: "plot" }, svg("rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top }));
  const drawing = svg("svg", { width, height: box.bottom + 46, viewBox: `0 0 ${width} ${box.bottom + 46}`, role: "img",
    "aria-label": shown.map(row => `${named(row)} ends at ${number(row.best_mean)}`).join("; ") },
    clip, frame(x, y, box, "evaluations", `${what}  ${sign > 0 ? "↑" : "↓"} better`), cross,
    svg("g", { "clip-path": "url(#plot)" }, shown.map(band), [...shown].reverse().map(path)));
  drawing.addEventListener("pointermove", event => {
    const area = drawing.getBoundingClientRect(), px = (event.clientX - area.left) * width / area.width;
    const i = Math.max(0, Math.min(data.evaluations - 1, Math.round((px - box.left) / (box.right - box.left) * data.evaluations) - 1));
    for (const end of ["x1", "x2"]) cross.setAttribute(end, x.at(i + 1));
    cross.setAttribute("visibility", "visible");
    const best = [...shown].sort((a, b) => sign * (b.curve.mean[i] - a.curve.mean[i]));
    tip.show(x.at(i + 1) * area.width / width, box.top + 120, el("strong", {}, `${i + 1} evaluations`),
      el("table", {}, best.map(row => el("tr", {}, el("td", {}, named(row)), el("td", {}, number(row.curve.mean[i]))))));
  });
  drawing.addEventListener("pointerleave", () => { tip.hide(); cross.setAttribute("visibility", "hidden"); });
  chart?.remove();
  chart = drawing;
  byId("curves").prepend(drawing);
}
const draw = responsive(byId("curves"), render);
byId("note").textContent = "Means over seeds with 95 % intervals. " + (data.reference_point
  ? `Hypervolume is measured from ${data.objectives.map((o, i) => `${o.name} ${number(data.reference_point[i])}`).join(", ")}, as a fraction of that of the ${data.true_front} architectures on the true front.`
  : `All architectures: mean ${number(data.objectives[0].mean)}, median ${number(data.objectives[0].median)}, best ${number(data.objectives[0].best)}.`);

const half = interval => interval ? el("span", { class: "pm" }, ` ± ${number((interval[1] - interval[0]) / 2, 2)}`) : null;
const gain = row => `${row.gain_over_random < 0 ? "" : "+"}${number(row.gain_over_random, 3)}`;
const columns = [
  ["sampler", row => named(row)], ["", row => row.control ? "control" : ""], [what, row => [number(row.best_mean, 5), half(row.best_ci95)]],
  ["over random", row => [gain(row), half(row.gain_ci95)]],
  ...(data.figure === "best" ? [["over the mean", row => `${number(row.over_mean_pct)} %`], ["over the median", row => `${number(row.over_median_pct)} %`]] : []),
  ["s of its own, a run", row => number(row.sampler_s, 2)],
];
byId("table").append(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Strategies" }, el("table", { class: "data" },
  el("thead", {}, el("tr", {}, columns.map(([title]) => el("th", { scope: "col" }, title)))),
  el("tbody", {}, rows.map(row => el("tr", {}, columns.map(([, cell]) => el("td", {}, cell(row)))))))));
for (const begin of waiting.splice(0)) begin();
document.body.dataset.ready = "true";
