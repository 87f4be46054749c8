// The charts of the page: scatter, hypervolume, small multiples. `report`, `fields`, `complete`, `select` are report.js's.

const diamond = (x, y, r) => `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`;
const kind = trial => trial.on_front ? "on-front" : trial.control ? "control" : "search";

/* The part of `points` that no other one beats in both fields, best x first. */
function staircase(points, x, y) {
  const cost = (field, trial) => field.direction === "maximize" ? -field.value(trial) : field.value(trial);
  const ordered = [...points].sort((a, b) => cost(x, a) - cost(x, b) || cost(y, a) - cost(y, b));
  let best = Infinity;
  return ordered.filter(trial => cost(y, trial) < best && ((best = cost(y, trial)), true));
}

function legend(withFront) {
  const item = (text, ...shapes) => el("span", {}, svg("svg", { width: 18, height: 14, "aria-hidden": "true" }, shapes), text);
  return el("div", { class: "legend" },
    withFront && item("front", svg("circle", { class: "mark-key mark on-front", cx: 9, cy: 7, r: 6 })),
    item(report.search.sampler, svg("circle", { class: "mark-key mark search", cx: 9, cy: 7, r: 4.5 })),
    report.control && item(controlName(), svg("path", { class: "mark-key mark control", d: diamond(9, 7, 5) })));
}

/* The scatter of two chosen fields. */
function drawScatter(host, controls, note) {
  if (!complete.length) { host.append(el("p", { class: "empty" }, "No trial is complete yet.")); return; }
  const state = { ...startingAxes(), logX: false, logY: false };
  let marks = new Map();
  const picker = (text, axis) => {
    const groups = [...new Set(fields.map(f => f.group))].map(group => el("optgroup", { label: group },
      fields.filter(f => f.group === group).map(f => el("option", { value: f.id, selected: f === state[axis] }, f.label))));
    return el("label", {}, text, el("select", { id: `axis-${axis}`, onchange: e => { state[axis] = fields.find(f => f.id === e.target.value); draw(); } }, groups));
  };
  const logs = {};
  const toggle = (text, key) => {
    logs[key] = el("input", { type: "checkbox", id: key, onchange: e => { state[key] = e.target.checked; draw(); } });
    return el("label", {}, logs[key], text);
  };
  controls.append(picker("x", "x"), picker("y", "y"), toggle("log x", "logX"), toggle("log y", "logY"), legend(true));
  const tip = tooltip(host);
  let chart = null;

  function render(width) {
    const { x: fx, y: fy } = state;
    const shown = complete.filter(t => known(fx.value(t)) && known(fy.value(t)));
    const values = field => shown.flatMap(t => [field.value(t), ...(t.on_front && field.interval(t) || [])]);
    const positive = field => values(field).every(v => v > 0) && shown.length > 0;
    for (const [key, field] of [["logX", fx], ["logY", fy]]) logs[key].disabled = !positive(field);
    const box = { left: 64, right: width - 12, top: 34, bottom: Math.max(300, Math.min(480, width * 0.5)) };
    const x = scale(values(fx), box.left, box.right, state.logX && positive(fx), width / 110);
    const y = scale(values(fy), box.bottom, box.top, state.logY && positive(fy), 7);
    const at = t => [x.at(fx.value(t)), y.at(fy.value(t))];
    const front = staircase(shown.filter(t => t.on_front), fx, fy);
    // From the bottom up: other trials, the front's line, intervals, the front.
    const lines = [];
    if (fx.objective && fy.objective && fx !== fy && front.length) {
      // From the best x to the best y, level by level, and out to the edges of what the front dominates.
      const points = front.map(at);
      const [first, last] = [points[0], points[points.length - 1]];
      const path = [[first[0], edge(fy, box, "y")], first];
      points.slice(1).forEach((p, i) => path.push([p[0], points[i][1]], p));
      path.push([edge(fx, box, "x"), last[1]]);
      lines.push(svg("path", { class: "stairs", d: polyline(path) }));
    }
    // A confidence interval with a cap at each end.
    const bars = (t, extra) => {
      const [px, py] = at(t), css = `bar ${extra}`, across = fx.interval(t), along = fy.interval(t);
      const d = [across && across.map(v => `M${x.at(v)} ${py - 4}v8`).join("") + `M${x.at(across[0])} ${py}H${x.at(across[1])}`,
        along && along.map(v => `M${px - 4} ${y.at(v)}h8`).join("") + `M${px} ${y.at(along[0])}V${y.at(along[1])}`];
      return d.filter(Boolean).map(line => svg("path", { class: css, d: line }));
    };
    lines.push(shown.filter(t => t.on_front).map(t => bars(t, "")));
    const small = shown.length > 500 ? 3 : 4.5;
    const rank = t => t.control ? 0 : 1;
    marks = new Map();
    for (const t of shown) {
      const [px, py] = at(t);
      const attributes = { class: `mark ${kind(t)}`, "data-trial": t.index, tabindex: -1, role: "img", "aria-label": spoken(t, [fx, fy]) };
      marks.set(t, t.control && !t.on_front
        ? svg("path", { ...attributes, d: diamond(px, py, small + 0.5) })
        : svg("circle", { ...attributes, cx: px, cy: py, r: t.on_front ? 6.5 : small }));
    }
    const drawn = front => shown.filter(t => t.on_front === front).sort((a, b) => rank(a) - rank(b)).map(t => marks.get(t));
    const overlay = svg("g");
    const drawing = svg("svg", { width, height: box.bottom + 46, viewBox: `0 0 ${width} ${box.bottom + 46}`, role: "group",
      "aria-label": `Scatter of ${fy.label} over ${fx.label}, ${shown.length} trials. Arrow keys move between trials, Enter selects one.` },
      frame(x, y, box, axisLabel(fx), axisLabel(fy)), drawn(false), lines, drawn(true), overlay);
    const order = [...shown].sort((a, b) => fx.value(a) - fx.value(b));
    let current = order.find(t => t.on_front) || order[0];
    if (current) marks.get(current).setAttribute("tabindex", 0);
    const approach = t => {
      marks.forEach(mark => mark.classList.remove("near"));
      overlay.querySelectorAll(".hover").forEach(node => node.remove());
      if (!t) return tip.hide();
      marks.get(t).classList.add("near");
      if (!t.on_front) overlay.append(...bars(t, "hover"));
      tip.show(...at(t).map(v => v * drawing.clientWidth / width), ...card(t, [fx, fy]));
    };
    const nearest = event => {
      const area = drawing.getBoundingClientRect(), ratio = width / area.width;
      const [px, py] = [(event.clientX - area.left) * ratio, (event.clientY - area.top) * ratio];
      let found = null, distance = 22;
      for (const t of shown) {
        const [mx, my] = at(t), d = Math.hypot(mx - px, my - py) - (t.on_front ? 2 : 0);
        if (d < distance) [found, distance] = [t, d];
      }
      return found;
    };
    drawing.addEventListener("pointermove", e => approach(nearest(e)));
    drawing.addEventListener("pointerleave", () => approach(null));
    drawing.addEventListener("click", e => select(nearest(e)));
    drawing.addEventListener("focusin", e => { const t = shown.find(s => marks.get(s) === e.target); if (t) approach(t); });
    drawing.addEventListener("focusout", () => approach(null));
    drawing.addEventListener("keydown", e => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[e.key];
      if (step && current) {
        e.preventDefault();
        const next = order[Math.max(0, Math.min(order.length - 1, order.indexOf(current) + step))];
        marks.get(current).setAttribute("tabindex", -1);
        marks.get(next).setAttribute("tabindex", 0);
        (current = next, marks.get(next)).focus();
      } else if ((e.key === "Enter" || e.key === " ") && current) {
        e.preventDefault();
        select(current);
      } else if (e.key === "Escape") approach(null);
    });
    const ring = t => {
      overlay.querySelectorAll(".ring").forEach(node => node.remove());
      if (t && marks.has(t)) overlay.append(svg("circle", { class: "ring", cx: at(t)[0], cy: at(t)[1], r: 11 }));
    };
    onSelect.scatter = ring;
    ring(selected);
    chart?.remove();
    chart = drawing;
    host.prepend(drawing);
    const lacking = complete.length - shown.length;
    note.textContent = [
      `${shown.length} complete trials`,
      lacking ? `, ${lacking} more lack one of the two values` : "", ". ",
      fields.some(f => f.device) ? "Bars are 95 % confidence intervals of the median latency. " : "",
      fx.objective && fy.objective && optimised.length > 2 ? "With more than two objectives, the line joins those trials of the front that no other beats in these two. " : "",
      shown.length ? "Hover or focus a mark for its values; click it to select the trial." : "",
    ].join("");
  }
  const draw = responsive(host, render);
}
/* Where a field is worst, as a pixel at the edge of the plot. */
function edge(field, box, axis) {
  const [low, high] = axis === "x" ? [box.left, box.right] : [box.bottom, box.top];
  return field.direction === "maximize" ? low : high;
}
const axisLabel = field => field.label + (field.unit && !field.label.endsWith(`_${field.unit}`) ? ` [${field.unit}]` : "") + (field.direction ? field.direction === "minimize" ? "  ↓ better" : "  ↑ better" : "");
const spoken = (t, shown) => `Trial ${t.number}${t.on_front ? ", on the front" : ""}: ${shown.map(f => `${f.label} ${f.text(t)}`).join(", ")}; ${t.arch}`;
/* What the tooltip says of a trial. */
function card(t, shown) {
  const rows = [...new Set([...shown, ...fields.filter(f => f.objective || f.group === "size")])].filter(f => known(f.value(t)));
  return [
    el("div", {}, el("strong", {}, `Trial ${t.number}`), ` · ${t.control ? controlName() : t.sampler}${t.on_front ? " · on the front" : ""}`),
    archText(t),
    el("table", {}, rows.map(f => el("tr", {}, el("td", {}, f.label), el("td", {}, f.rich(t))))),
  ];
}

/* Hypervolume as evaluations, or time, went on. */
function drawHistory(host, controls, note) {
  const history = report.hypervolume_history;
  if (history.length < 2) { host.append(el("p", { class: "empty" }, "There are too few evaluations for a curve.")); return; }
  const controlled = history.filter(p => known(p.control));
  const axes = [
    { id: "evaluations", label: "evaluations", search: p => p.evaluations, control: p => p.evaluations, text: p => `${p.evaluations} evaluations` },
    { id: "seconds", label: "seconds", search: p => p.search_s, control: p => p.control_s, text: p => `${p.evaluations} evaluations in ${duration(p.search_s)}` },
  ];
  let axis = axes[0];
  if (history.every(p => p.search_s > 0)) controls.append(el("label", {}, "over", el("select", { id: "history-over", onchange: e => { axis = axes.find(a => a.id === e.target.value); draw(); } }, axes.map(a => el("option", { value: a.id }, a.label)))));
  const tip = tooltip(host);
  let chart = null;
  const draw = responsive(host, width => {
    const series = [{ name: report.search.sampler, css: "search", points: history.map(p => [axis.search(p), p.search]) }];
    if (controlled.length) series.push({ name: controlName(), css: "control", points: controlled.map(p => [axis.control(p), p.control]) });
    const box = { left: 64, right: width - (width > 700 ? 150 : 12), top: 34, bottom: Math.max(220, Math.min(320, width * 0.34)) };
    const x = scale(series.flatMap(s => s.points.map(p => p[0])), box.left, box.right, false, width / 110, 0);
    const y = scale(series.flatMap(s => s.points.map(p => p[1])), box.bottom, box.top, false, 5);
    const cross = svg("line", { class: "cross", y1: box.top, y2: box.bottom, visibility: "hidden" });
    const ends = series.map(s => y.at(s.points[s.points.length - 1][1]) + 4);
    // Labels at the lines' ends keep a line's distance from each other.
    if (ends.length > 1 && Math.abs(ends[0] - ends[1]) < 15) ends[1] = ends[0] + (ends[1] < ends[0] ? -15 : 15);
    const drawing = svg("svg", { width, height: box.bottom + 46, viewBox: `0 0 ${width} ${box.bottom + 46}`, role: "img",
      "aria-label": series.map(s => `${s.name} ends at hypervolume ${number(s.points[s.points.length - 1][1])} after ${number(s.points[s.points.length - 1][0])} ${axis.label}`).join("; ") },
      frame(x, y, box, axis.label, "hypervolume  ↑ better"), cross,
      series.map(s => svg("path", { class: `line ${s.css}`, d: steps(s.points.map(p => [x.at(p[0]), y.at(p[1])])) })).reverse(),
      width > 700 ? series.map((s, i) => svg("text", { class: s.css, x: box.right + 10, y: ends[i] }, `${s.name} ${number(s.points[s.points.length - 1][1])}`)) : []);
    drawing.addEventListener("pointermove", e => {
      const area = drawing.getBoundingClientRect(), px = (e.clientX - area.left) * width / area.width;
      const nearest = (points, of) => points.reduce((a, b) => Math.abs(x.at(of(b)) - px) < Math.abs(x.at(of(a)) - px) ? b : a);
      const near = nearest(history, axis.search), beside = controlled.length ? nearest(controlled, axis.control) : null;
      for (const end of ["x1", "x2"]) cross.setAttribute(end, x.at(axis.search(near)));
      cross.setAttribute("visibility", "visible");
      const row = (name, value) => el("tr", {}, el("td", {}, name), el("td", {}, number(value)));
      tip.show(x.at(axis.search(near)) * area.width / width, box.top + 60, el("strong", {}, axis.text(near)),
        el("table", {}, row(report.search.sampler, near.search), beside ? row(controlName(), beside.control) : null));
    });
    drawing.addEventListener("pointerleave", () => { tip.hide(); cross.setAttribute("visibility", "hidden"); });
    chart?.remove();
    chart = drawing;
    host.prepend(drawing);
  });
  const point = optimised.map((o, i) => `${o.name} ${number(report.reference_point[i])}${o.unit ? " " + o.unit : ""}`).join(", ");
  note.textContent = `Hypervolume is what the front dominates, measured from the reference point (${point}). ` +
    (controlled.length ? "The dashed line is the control." : "No random search was run beside this one.");
}

const wideRange = values => values.length > 2 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 30;
/* One small chart: `points` are [trial, x, y]; those of `path` are joined. */
function multiple(points, xLabel, caption, rho, trend, path = []) {
  const host = el("div", { class: "chart" });
  const figure = el("figure", { class: "multiple" }, el("figcaption", {}, caption, rho), host);
  if (!points.length) { host.append(el("p", { class: "empty" }, "no values")); return figure; }
  const xs = points.map(p => p[1]), ys = points.map(p => p[2]);
  responsive(host, width => {
    const box = { left: 46, right: width - 8, top: 8, bottom: 150 };
    const x = scale(xs, box.left, box.right, !trend && wideRange(xs), 4), y = scale(ys, box.bottom, box.top, wideRange(ys), 4);
    const of = css => dots(points.filter(p => kind(p[0]) === css).map(p => [x.at(p[1]), y.at(p[2])]));
    const lines = !trend ? [] : [true, false].map(control => {
      const own = points.filter(p => p[0].control === control);
      return own.length < 5 ? null : svg("path", { class: `line ${control ? "control" : "search"}`, d: polyline(movingMedian(own).map(p => [x.at(p[0]), y.at(p[1])])) });
    });
    const joined = path.map(p => [x.at(p[1]), y.at(p[2])]), end = joined[joined.length - 1];
    if (end) lines.push(svg("path", { class: "line search", d: polyline(joined) }), svg("circle", { class: "ring", cx: end[0], cy: end[1], r: 6 }));
    host.replaceChildren(svg("svg", { width, height: 190, viewBox: `0 0 ${width} 190`, role: "img", "aria-label": figure.querySelector("figcaption").textContent },
      frame(x, y, box, null, null), ["control", "search", "on-front"].map(css => svg("path", { class: `dots ${css}`, d: of(css) })), lines,
      svg("text", { x: box.right, y: 186, "text-anchor": "end" }, xLabel + (x.log ? " (log)" : "")), y.log ? svg("text", { x: 0, y: 186 }, "y: log") : null));
  });
  return figure;
}
const windowOf = n => Math.max(5, Math.round(n / 8));
function movingMedian(points) {
  const size = windowOf(points.length);
  return points.map((p, i) => {
    const near = points.slice(Math.max(0, i - size + 1), i + 1).map(q => q[2]).sort((a, b) => a - b);
    return [p[1], (near[(near.length - 1) >> 1] + near[near.length >> 1]) / 2];
  }).slice(Math.min(size, points.length) - 1);
}
