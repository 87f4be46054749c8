// What the search is worth beside controls, which way it went, and what its front prefers.

/* A table of plain cells: `head` names the columns, each row begins with its name. */
function plainTable(label, head, rows) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, el("table", { class: "data" },
    el("thead", {}, el("tr", {}, head.map((text, i) => el("th", { scope: "col", class: i ? null : "text" }, text)))),
    el("tbody", {}, rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row", class: "text" }, name), cells)))));
}

/* Best values beside those of the controls, and how far seeds are apart. */
function drawControls() {
  const place = byId("control-table"), { controls, seeds } = report;
  if (!controls.length && !seeds) return byId("controls").remove();
  const percent = value => known(value) ? `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)} %` : "–";
  const cells = (...texts) => texts.map(text => el("td", {}, known(text) ? text : "–"));
  if (controls.length) {
    const row = c => {
      const o = report.objectives.find(o => o.name === c.objective), text = value => known(value) ? number(value) : null;
      return [[o.name, o.unit && !o.name.includes(`_${o.unit}`) ? el("span", { class: "unit" }, ` ${o.unit}`) : null, ` ${arrow(o.direction)}`],
        ...cells(text(c.search), text(c.random), text(c.random_in_time), text(c.largest), text(c.random_mean), text(c.random_median), percent(c.gain_on_mean_pct), percent(c.gain_on_median_pct))];
    };
    place.append(plainTable("Best values of the search and of controls", ["best", report.search.sampler, "random, as many evaluations", "random, as much time", "largest tenth",
      "random mean", "random median", "better than the mean", "than the median"], controls.map(row)),
      el("p", { class: "hint" }, "Bests keep all bounds. “Largest tenth” is the best among those random draws that have the most multiply-accumulates: what counting operations alone would find. " +
        "Mean and median are those of the random draws, which stand for the space."));
  }
  if (seeds) {
    const range = (mean, ci) => `${number(mean)} (95 % ${number(ci[0])} to ${number(ci[1])})`;
    place.append(el("p", { id: "seeds" }, `Hypervolume over ${seeds.seeds.length} seeds: ${report.search.sampler} ${range(seeds.search_mean, seeds.search_ci95)}` +
      (known(seeds.control_mean) && seeds.control_ci95 ? `, ${controlName()} ${range(seeds.control_mean, seeds.control_ci95)}.` : ".")));
  }
}

/* How often each choice stands on the front, beside how often it is drawn. */
function drawPreferences() {
  const place = byId("preference-table");
  if (!report.preferences.length) return byId("preferences").remove();
  const decisions = [...new Set(report.preferences.map(p => p.decision))], choices = [...new Set(report.preferences.map(p => p.choice))];
  const share = value => `${Math.round(100 * value)} %`;
  const cell = (decision, choice) => {
    const p = report.preferences.find(p => p.decision === decision && p.choice === choice);
    if (!p) return el("td", { class: "rho" }, "–");
    const change = p.on_front - p.drawn, tint = Math.round(Math.min(1, Math.abs(change)) * 70);
    return el("td", { class: "rho", title: `${share(p.drawn)} of the random draws`, style: `background:color-mix(in srgb, var(${change < 0 ? "--front" : "--search"}) ${tint}%, var(--card))` }, share(p.on_front));
  };
  place.append(plainTable("Choices on the front", ["decision", ...choices], decisions.map(d => [d, ...choices.map(c => cell(d, c))])),
    el("p", { class: "hint" }, `Shares of the ${report.front.length} networks on the front. The tint is how far a share is from that of random draws.`));
}

/* Trials that raised the search's hypervolume, in order: the way of the search. */
function way() {
  const raised = new Set(report.hypervolume_history.filter((p, i, all) => p.search > (i ? all[i - 1].search : 0)).map(p => p.evaluations));
  return complete.filter(t => !t.control && t.sampler === report.search.sampler && raised.has(evaluation.get(t)));
}

/* Each two of the TEG three, with the way of the search through them (Chen et al. 2021, TEG-NAS, Figure 3). */
function drawWay(place) {
  const teg = ["ntk_condition", "linear_regions", "ntk_regression"].map(name => indicatorFields.find(f => f.label === name)).filter(Boolean);
  const path = way();
  const charts = [[0, 1], [0, 2], [1, 2]].filter(([x, y]) => teg[x] && teg[y]).map(([x, y]) => {
    const point = t => [t, teg[x].value(t), teg[y].value(t)], has = t => known(teg[x].value(t)) && known(teg[y].value(t));
    return multiple(complete.filter(has).map(point), axisLabel(teg[x]), `${teg[y].label} ${arrow(teg[y].direction)}`, null, false, path.filter(has).map(point));
  });
  if (!charts.length || path.length < 2) return;
  place.append(el("div", { class: "card" }, el("div", { class: "heading" }, el("h3", {}, "The way of the search"), legend(true)),
    el("p", { class: "hint" }, "Trainability, expressivity and generalisation of all trials. The line joins those that raised the hypervolume, in the order in which they came; it ends in a ring."),
    el("div", { class: "multiples" }, charts)));
}

