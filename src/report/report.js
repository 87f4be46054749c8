// The page: everything on it comes from the study's data.

const report = JSON.parse(byId("data").textContent);
report.trials.forEach((trial, index) => { trial.index = index; });
const onFront = new Set(report.front);
report.trials.forEach(trial => { trial.on_front = onFront.has(trial.index); });
const isComplete = trial => trial.state === "complete";
const complete = report.trials.filter(isComplete);
const failed = report.trials.filter(trial => !isComplete(trial));
const none = complete.length ? "No complete trial keeps all bounds of the objectives" : "No trial is complete yet";
const controlName = () => report.control.sampler === "random" ? "random search" : `${report.control.sampler} (control)`;
const listed = names => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
const arrow = direction => direction === "minimize" ? "↓" : "↑";

/* The evaluation's number within its own search, from 1. */
const evaluation = new Map(), counted = {};
for (const t of report.trials) evaluation.set(t, counted[`${t.control} ${t.sampler}`] = (counted[`${t.control} ${t.sampler}`] || 0) + 1);

/* Everything that a trial has a number for. */
function field(id, label, group, value, more) {
  const f = { id, label, group, value, unit: "", direction: null, interval: () => null, format: number, ...more };
  f.half = t => { const ci = f.interval(t); return ci && Math.max(0, f.value(t) - ci[0], ci[1] - f.value(t)); };
  f.text = t => f.format(f.value(t)) + (f.half(t) === null ? "" : ` ± ${number(f.half(t), 2)}`) + (f.unit && known(f.value(t)) ? ` ${f.unit}` : "");
  f.rich = t => [f.format(f.value(t)), f.half(t) === null ? null : el("span", { class: "pm" }, ` ± ${number(f.half(t), 2)}`), doubt(t, f)];
  return f;
}
/* What is wrong with the measurement behind a value. */
const doubt = (t, f) => { const verdict = t.measurements[f.device]?.verdict; return verdict && verdict !== "stable" ? [" ", el("span", { class: "badge failed" }, verdict)] : null; };
const interval = device => t => t.measurements[device]?.ci95_ms ?? null;
const optimised = report.objectives.filter(o => !o.constraint), constraints = report.objectives.filter(o => o.constraint);
const bounds = o => [!known(o.at_least) ? [] : `at least ${number(o.at_least)}`, !known(o.at_most) ? [] : `at most ${number(o.at_most)}`].flat().map(b => o.unit ? `${b} ${o.unit}` : b).join(", ");
const objectiveFields = report.objectives.map(o => field(`objective ${o.name}`, o.name, "objectives", t => t.objectives[o.name],
  { unit: o.unit, direction: o.direction, objective: true, device: o.device, interval: o.device ? interval(o.device) : () => null }));
const latencyFields = report.devices.filter(d => !report.objectives.some(o => o.device === d.name)).map(d => field(`latency ${d.name}`, `latency on ${d.name}`, "latency",
  t => t.measurements[d.name]?.p50_ms, { unit: "ms", direction: "minimize", device: d.name, interval: interval(d.name) }));
const indicatorFields = report.indicators.map(i => field(`indicator ${i.name}`, i.name, "indicators", t => t.indicators[i.name], { direction: i.direction }));
const macs = field("macs", "MACs", "size", t => t.macs, { format: count });
const params = field("params", "parameters", "size", t => t.params, { format: count });
const live = field("live_params", "live parameters", "size", t => t.live_params, { format: count });
const sizes = [params, macs, ...(complete.some(t => known(t.live_params) && t.live_params !== t.params) ? [live] : [])];
const evaluations = field("evaluation", "evaluation", "order", t => evaluation.get(t), { format: whole });
// An indicator that is an objective too is listed once.
const otherIndicators = indicatorFields.filter(i => !objectiveFields.some(o => o.label === i.label));
const tabulated = [...objectiveFields, ...latencyFields, ...otherIndicators, ...sizes];
const fields = [...tabulated, evaluations];
/* Cost across, quality up. */
function startingAxes() {
  const x = objectiveFields.find(f => f.device) || objectiveFields[1] || evaluations;
  return { x, y: objectiveFields.find(f => f !== x) || macs };
}

/* The selected trial: marked in the scatter and the tables, told below the scatter. */
let selected = null;
const onSelect = {};
function select(trial) {
  selected = trial && trial !== selected ? trial : null;
  for (const row of document.querySelectorAll("tr[data-trial]")) {
    const its = selected && Number(row.dataset.trial) === selected.index;
    row.classList.toggle("selected", Boolean(its));
  }
  onSelect.scatter?.(selected);
  byId("selected").replaceChildren(...(selected ? [details(selected)] : []));
}
function details(t) {
  const pairs = [["architecture", archCell(t)], ["id", el("code", {}, t.arch_id)]];
  for (const f of [...objectiveFields, ...otherIndicators, ...sizes]) if (known(f.value(t))) pairs.push([f.label, f.text(t)]);
  for (const [device, m] of Object.entries(t.measurements)) {
    const interval = `${number(m.ci95_ms[0])} to ${number(m.ci95_ms[1])} ms`;
    pairs.push([device, known(m.load_ms)
      ? `median ${number(m.p50_ms)} ms, 95 % confidence ${interval}` + (known(m.p90_ms) ? `, p90 ${number(m.p90_ms)} ms` : "") +
        `; ${m.samples} runs, ${m.verdict}; load ${number(m.load_ms)} ms, first run ${number(m.first_run_ms)} ms`
      : `${number(m.p50_ms)} ms, not measured: ${m.verdict === "predicted" ? `predicted, 90 % interval ${interval}` : "from a table"}`]);
  }
  if (t.model) pairs.push(["model", modelLink(t, t.model)]);
  if (t.model_sha256) pairs.push(["SHA-256", el("code", {}, t.model_sha256)]);
  return el("div", {}, el("h3", {}, `Trial ${t.number} `, badge(t)), list(pairs));
}
const list = pairs => el("dl", { class: "pairs" }, pairs.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
const badge = t => el("span", { class: `badge ${t.on_front ? "on-front" : isComplete(t) ? "" : "failed"}` },
  t.on_front ? "on the front" : isComplete(t) ? t.control ? controlName() : t.sampler : "failed");
function modelLink(t, text) {
  // The leading "./" keeps a path a path, whatever it looks like.
  return el("a", { href: "./" + t.model.split("/").map(encodeURIComponent).join("/"), title: t.model_sha256 ? `SHA-256 ${t.model_sha256}` : null, "aria-label": `${t.model}, ONNX file of trial ${t.number}` }, text);
}
function copyButton(text, what) {
  return el("button", { type: "button", class: "copy", "aria-label": `Copy ${what}`, onclick: async e => {
    e.stopPropagation();
    const button = e.currentTarget;
    try { await navigator.clipboard.writeText(text); } catch {
      const area = el("textarea", { style: "position:fixed;opacity:0" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1200);
  } }, "copy");
}
/* An architecture that may break after its separators. */
const archText = t => el("span", { class: "arch" }, t.arch.split(/(?<=[|+,;])/).map(part => [part, el("wbr")]));
const archCell = t => [archText(t), copyButton(t.arch, `the architecture of trial ${t.number}`)];

/* A table of trials whose columns sort; `columns` are {title, cell, sort?, text?, wide?}. */
function trialTable(rows, columns, label) {
  const body = el("tbody");
  let shown = rows, order = null;
  const draw = () => {
    let sorted = [...shown];
    if (order) {
      const { column, sign } = order;
      const missing = v => v === undefined || v === null;
      sorted.sort((a, b) => {
        const [u, v] = [column.sort(a), column.sort(b)];
        if (missing(u) || missing(v)) return missing(u) - missing(v);
        return sign * (typeof u === "string" ? u.localeCompare(v) : u - v);
      });
    }
    body.replaceChildren(...sorted.map(t => el("tr", { "data-trial": t.index, class: t === selected ? "selected" : null,
      onclick: e => { if (!e.target.closest("a, button") && !String(getSelection())) select(t); } },
      columns.map((c, i) => el(i ? "td" : "th", { scope: i ? null : "row", class: [c.text && "text", c.wide && "wide", c.link && "link"].filter(Boolean).join(" ") || null }, c.cell(t))))));
  };
  const heads = columns.map(column => {
    const th = el("th", { scope: "col", class: [column.text && "text", column.link && "link"].filter(Boolean).join(" ") || null });
    const mark = el("span", { "aria-hidden": "true" });
    const title = typeof column.title === "string" ? column.title : column.title();
    th.append(!column.sort ? title : el("button", { type: "button", onclick: () => {
      const sign = order?.column === column ? -order.sign : 1;
      order = { column, sign };
      heads.forEach(h => { h.removeAttribute("aria-sort"); const m = h.querySelector("button span:last-child"); if (m) m.textContent = ""; });
      th.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      mark.textContent = sign > 0 ? " ▴" : " ▾";
      draw();
    } }, title, mark));
    return th;
  });
  draw();
  const table = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    el("table", { class: "data" }, el("thead", {}, el("tr", {}, heads)), body));
  return { table, filter: keep => { shown = rows.filter(keep); draw(); return shown.length; } };
}
const fieldColumn = f => ({
  title: () => [el("span", {}, f.label), f.unit && !f.label.endsWith(`_${f.unit}`) ? el("span", { class: "unit" }, ` ${f.unit}`) : null, f.direction ? el("span", { class: "unit", title: `${f.direction}` }, ` ${arrow(f.direction)}`) : null],
  cell: f.rich, sort: f.value });
const numberColumn = { title: "trial", cell: t => el("button", { type: "button", class: "number", "aria-label": `Select trial ${t.number}`, onclick: () => select(t) }, String(t.number)), sort: t => t.number, text: true };
const archColumn = { title: "architecture", cell: archCell, sort: t => t.arch, text: true, wide: true };
const modelColumn = { title: "model", cell: t => t.model ? modelLink(t, "ONNX") : "–", text: true, link: true };

function drawSummary() {
  document.querySelectorAll("section[data-title]").forEach(s => byId("contents").append(el("li", {}, el("a", { href: `#${s.id}` }, s.dataset.title))));
  const created = new Date(report.created);
  const when = Number.isNaN(created.getTime()) ? report.created : report.created.replace("T", " ").replace(/\.\d+/, "").replace("Z", " UTC");
  byId("facts").textContent = [report.space, `${whole(report.space_size)} architectures`, report.search.sampler, `seed ${report.seed}`, when, `Tegu ${report.tegu_version}`].join(" · ");
  byId("footer").textContent = `Made by Tegu ${report.tegu_version} from the study “${report.study}”, created ${when}. This file is complete in itself and loads nothing.`;
  const { search, control } = report;
  const gain = control && control.hypervolume > 0 ? 100 * (search.hypervolume / control.hypervolume - 1) : null;
  const percent = gain === null ? "" : `${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(1)} %`;
  const own = complete.filter(t => !t.control).length;
  byId("lead").textContent = (report.front.length
    ? `${search.evaluations} evaluations of ${search.sampler} in ${duration(search.total_s)} left ${report.front.length} ${report.front.length === 1 ? "network" : "networks"} on the Pareto front of ${listed(optimised.map(o => o.name))}${constraints.length ? ` with ${listed(constraints.map(o => `${o.name} ${bounds(o)}`))}` : ""}`
    : none) + (gain === null ? "." : gain === 0
    ? `; with as many evaluations, ${controlName()} reached the same hypervolume.`
    : `; its hypervolume is ${Math.abs(gain).toFixed(1)} % ${gain > 0 ? "more" : "less"} than what ${controlName()} reached with ${control.evaluations === search.evaluations ? "as many" : control.evaluations} evaluations.`);
  const tile = (css, name, value, ...detail) => el("div", { class: `card tile ${css}` }, el("p", { class: "name" }, name), el("p", { class: "value" }, value), el("div", { class: "detail" }, detail));
  const parts = ["scoring", "exporting", "loading", "measuring", "waiting"].map(stage => [stage, search[`${stage}_s`]]).filter(p => p[1] > 0);
  byId("tiles").append(
    tile("", "Evaluations", whole(search.evaluations), `${own} complete, ${search.failed} failed`),
    tile("", "Pareto front", whole(report.front.length), report.front.length === 1 ? "network" : "networks"),
    tile("half", "Hypervolume", number(search.hypervolume), control
      ? [`${controlName()} ${number(control.hypervolume)} `, gain === null ? null : el("span", { class: gain < 0 ? "loss" : "gain" }, percent)]
      : "no random search to compare with"),
    tile("long", "Time", duration(search.total_s),
      el("div", { class: "split", "aria-hidden": "true" }, parts.map(([name, s]) => el("span", { style: `flex:${s} 1 0;background:var(--${name})` }))),
      el("ul", { class: "key" }, parts.map(([name, s]) => el("li", {}, el("i", { style: `background:var(--${name})` }), `${name} ${duration(s)}`)))));
}

function drawTables() {
  const cost = t => { const o = report.objectives[0]; const v = o ? t.objectives[o.name] : t.number; return o && o.direction === "maximize" ? -v : v; };
  const front = complete.filter(t => t.on_front).sort((a, b) => cost(a) - cost(b) || a.number - b.number);
  const values = tabulated.map(fieldColumn);
  byId("front-table").append(el("div", { class: "heading" }, el("h3", {}, "Networks on the front"), front.length && fields.some(f => f.device) ? el("span", { class: "hint" }, "± is the wider side of the 95 % confidence interval") : null),
    front.length ? trialTable(front, [numberColumn, ...values, archColumn, modelColumn], "Networks on the front").table : el("p", { class: "empty" }, "No trial is complete yet."));
  const all = byId("all-trials");
  all.querySelector("summary").textContent = `${report.trials.length} trials: ${complete.length} complete, ${failed.length} failed`;
  const stateColumn = { title: "state", cell: badge, sort: t => t.on_front ? "0" : t.state.failed ? "2" : "1", text: true };
  const { table, filter } = trialTable(report.trials, [numberColumn, { title: "search", cell: t => t.control ? controlName() : t.sampler, sort: t => t.control ? controlName() : t.sampler, text: true }, stateColumn, ...values, archColumn, modelColumn], "All trials");
  const found = el("span", { class: "hint", "aria-live": "polite" });
  all.append(el("div", { class: "controls" }, el("label", {}, "Filter", el("input", { type: "search", id: "filter", placeholder: "number, operator, reason …", oninput: e => {
    const words = e.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = t => [t.number, t.sampler, t.control ? "control" : "search", t.arch, t.arch_id, t.on_front ? "front" : "", t.state.failed ? `failed ${t.state.failed}` : "complete"].join(" ").toLowerCase();
    found.textContent = `${filter(t => words.every(w => text(t).includes(w)))} of ${report.trials.length}`;
  } })), found), table);
  if (failed.length) {
    byId("failed").append(el("div", { class: "card", id: "failed-trials" }, el("div", { class: "heading" }, el("h3", {}, `${failed.length} failed ${failed.length === 1 ? "trial" : "trials"}`)),
      trialTable(failed, [numberColumn, { title: "reason", cell: t => t.state.failed, sort: t => t.state.failed, text: true, wide: true }, archColumn], "Failed trials").table));
  }
}

function rhoOf(of, withName) {
  const found = report.correlations.find(c => c.of === of && c.with === withName);
  return el("span", { class: "unit", title: found ? `Spearman’s rank correlation of ${found.trials} trials` : null }, found ? `ρ = ${number(found.spearman, 2)}` : "");
}
function drawLandscape() {
  const costs = objectiveFields.filter(f => f.device);
  const against = [...(costs.length ? costs : objectiveFields).slice(0, 2), macs, params];
  const key = f => f.objective ? f.label : f.id;
  byId("landscape-note").textContent = indicatorFields.length && complete.length
    ? "Each indicator over the course of the search, and against latency and size. " + (report.correlations.length ? "ρ is Spearman’s rank correlation over all complete trials. " : "") + "The line over evaluations is the median of the last " +
      `${windowOf(evaluationsOf(false))} trials. Axes are logarithmic where values span more than a factor of 30.`
    : "No indicator has a value yet.";
  drawWay(byId("way"));
  for (const f of complete.length ? indicatorFields : []) {
    const info = report.indicators.find(i => i.name === f.label);
    const points = of => complete.filter(t => known(of.value(t)) && known(f.value(t))).map(t => [t, of.value(t), f.value(t)]);
    byId("multiples").append(el("div", { class: "card", "data-indicator": f.label },
      el("div", { class: "heading" }, el("h3", {}, `${f.label} ${arrow(info.direction)}`), legend(true)), el("p", { class: "hint" }, info.description),
      el("div", { class: "multiples" },
        multiple(points(evaluations), "evaluation", "over evaluations", null, true),
        against.filter(a => a.label !== f.label).map(a => multiple(points(a), axisLabel(a).split("  ")[0], `against ${a.label}`, rhoOf(f.label, key(a)), false)))));
  }
  const place = byId("correlations");
  if (!report.correlations.length) return place.remove();
  const rows = [...new Set(report.correlations.map(c => c.of))], columns = [...new Set(report.correlations.map(c => c.with))];
  const cell = (of, withName) => {
    const c = report.correlations.find(c => c.of === of && c.with === withName);
    if (!c) return el("td", { class: "rho" }, "–");
    const share = Math.round(Math.abs(c.spearman) * 55);
    return el("td", { class: "rho", title: `${c.trials} trials`, style: `background:color-mix(in srgb, var(${c.spearman < 0 ? "--front" : "--search"}) ${share}%, var(--card))` }, `${c.spearman < 0 ? "−" : "+"}${Math.abs(c.spearman).toFixed(2)}`);
  };
  const n = Math.max(...report.correlations.map(c => c.trials));
  place.append(el("div", { class: "heading" }, el("h3", {}, "Rank correlations (Spearman’s ρ)")),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Rank correlations" }, el("table", { class: "data" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "text" }, ""), columns.map(c => el("th", { scope: "col", style: "text-align:center" }, c)))),
      el("tbody", {}, rows.map(of => el("tr", {}, el("th", { scope: "row", class: "text" }, of), columns.map(c => cell(of, c))))))),
    el("p", { class: "hint" }, `Of ${n} trials, unrelated quantities stay within ±${number(1.96 / Math.sqrt(n - 1), 2)} nineteen times out of twenty` +
      (rows.includes("random") ? "; “random” is a random number for each trial." : ".") + " The sign follows the values as they are, whichever way is better."));
}
const evaluationsOf = control => report.trials.filter(t => t.control === control).length;

function drawFacts() {
  for (const d of report.devices) {
    const pairs = [["runtime", `${d.runtime} ${d.runtime_version}`], ["provider", d.execution_provider ?? "–"], ["threads", d.threads ?? "all cores"], ["batch", d.batch],
      ["processor", d.host.cpu], ["logical cores", d.host.logical_cores], ["memory", `${number(d.host.memory_bytes / 2 ** 30, 3)} GiB`], ["system", d.host.os],
      ["load average", known(d.load_average) ? number(d.load_average, 3) : "–"], ...Object.entries(d.host.facts)];
    const verdicts = {};
    for (const t of complete) if (t.measurements[d.name]) verdicts[t.measurements[d.name].verdict] = (verdicts[t.measurements[d.name].verdict] || 0) + 1;
    if (Object.keys(verdicts).length) pairs.push(["measurements", Object.entries(verdicts).map(([v, n]) => `${n} ${v}`).join(", ")]);
    byId("device-cards").append(el("div", { class: "card" }, el("h3", {}, d.name), list(pairs.map(([k, v]) => [k, String(v)]))));
  }
  if (!report.devices.length) byId("device-cards").append(el("p", { class: "empty" }, "Nothing was measured."));
  for (const o of report.objectives) byId("definition-list").append(el("div", { class: "definition" }, el("h3", {}, o.name, el("span", { class: "unit" }, o.constraint ? ` constraint, ${bounds(o)}` : ` objective, ${[o.direction, bounds(o), o.unit ? `in ${o.unit}` : ""].filter(Boolean).join(", ")}`)),
    el("p", {}, o.device ? `Median latency of one run on ${o.device}.` : report.indicators.some(i => i.name === o.name) ? "The indicator of the same name." : "As the config defines it.")));
  if (report.quality) byId("definition-list").append(el("div", { class: "definition" }, el("h3", {}, "quality", el("span", { class: "unit" }, ` recipe ${report.quality.recipe}`)),
    el("p", {}, "The weighted sum of an architecture’s standings in a reference sample of the space: ", el("code", {}, report.quality.weights.map(([name, weight]) => `${weight} ${name}`).join(" + "))),
    report.quality.dropped.map(d => el("p", { class: "hint" }, `Without ${d.indicator}: ${d.reason}.`))));
  for (const i of report.indicators) byId("definition-list").append(el("div", { class: "definition" }, el("h3", {}, i.name, el("span", { class: "unit" }, ` indicator, ${i.direction}`)),
    el("p", {}, i.description), i.formula ? el("p", {}, el("code", {}, i.formula)) : null, i.source ? el("p", { class: "hint" }, i.source) : null));
  byId("config-text").textContent = report.config_yaml;
  byId("config-controls").append(copyButton(report.config_yaml, "the config"));
}

drawControls();
drawPreferences();
drawTrained();
drawRemeasured();
drawSummary();
drawScatter(byId("scatter"), byId("axes"), byId("scatter-note"));
drawTables();
drawHistory(byId("history"), byId("history-axis"), byId("history-note"));
drawLandscape();
drawFacts();
waiting.forEach(redraw => redraw());
document.body.dataset.ready = "true";
