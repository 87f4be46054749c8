// Trainings of the study's architectures: how they went, and how good they ended.

function drawTrained() {
  const trainings = Object.entries(report.trainings ?? {});
  if (!trainings.length) return byId("trained").remove();
  const share = value => known(value) ? `${(100 * value).toFixed(2)} %` : "–";
  const cells = (...texts) => texts.map(text => el("td", {}, text));
  const row = ([name, t]) => {
    const after = t.evaluated?.after ?? {}, of = part => after[part];
    const state = known(t.best_epoch) ? `${t.best_epoch} of ${t.curve.length}` : `${t.curve.length} of ${t.options.epochs}, under way`;
    return [[name, t.trial ? el("span", { class: "unit" }, ` trial ${t.trial[1]} of ${t.trial[0]}`) : null],
      ...cells(state, share(of("validation")?.accuracy), share(of("test")?.accuracy), known(of("test")?.ece) ? number(of("test").ece, 2) : "–",
        t.evaluated ? number(t.evaluated.temperature, 3) : "–", count(t.params), duration(t.curve.reduce((sum, e) => sum + e.seconds, 0)))];
  };
  byId("trained-table").append(plainTable("Trainings", ["training", "best epoch", "validation", "test", "calibration error", "temperature", "parameters", "time"], trainings.map(row)),
    el("p", { class: "hint" }, "Accuracy is the share of samples whose likeliest class is the true one. Calibration error (15 bins of as many samples each) is that of the test samples, " +
      "logits divided by the temperature, which was fitted on the validation samples and is in the model."));
  const place = byId("trained-curves");
  const figure = (caption, of, validation) => multipleLines(caption, trainings.map(([name, t]) => ({ name, lines: [
    { css: "control", points: t.curve.map(e => [e.epoch, of(e)]) },
    { css: "search", points: t.curve.filter(e => known(validation(e))).map(e => [e.epoch, validation(e)]) }] })));
  place.append(figure("loss", e => e.loss, e => e.validation_loss), figure("accuracy", e => e.accuracy, e => e.validation_accuracy));
  byId("trained-note").textContent = "Solid: validation. Dashed: training samples as they were trained on, with all that makes them harder.";
}

/* One chart of several curves over epochs; a label names the curve under the pointer. */
function multipleLines(caption, curves) {
  const host = el("div", { class: "chart" });
  const points = curves.flatMap(c => c.lines.flatMap(l => l.points));
  const tip = tooltip(host);
  let chart = null;
  responsive(host, width => {
    const box = { left: 56, right: width - 12, top: 12, bottom: 190 };
    const x = scale(points.map(p => p[0]), box.left, box.right, false, width / 110, 0), y = scale(points.map(p => p[1]), box.bottom, box.top, false, 5);
    const drawing = svg("svg", { width, height: box.bottom + 40, viewBox: `0 0 ${width} ${box.bottom + 40}`, role: "img",
      "aria-label": curves.map(c => `${c.name}: ${caption} ends at ${number(c.lines[c.lines.length - 1].points.at(-1)?.[1])}`).join("; ") },
      frame(x, y, box, "epochs", caption),
      curves.flatMap(c => c.lines.filter(l => l.points.length).map(l => svg("path", { class: `line ${l.css}`, d: polyline(l.points.map(p => [x.at(p[0]), y.at(p[1])])) }))));
    drawing.addEventListener("pointermove", e => {
      const area = drawing.getBoundingClientRect(), px = (e.clientX - area.left) * width / area.width, py = e.clientY - area.top;
      const all = curves.flatMap(c => c.lines.flatMap(l => l.points.map(p => ({ name: c.name, p }))));
      const far = ({ p }) => Math.hypot(x.at(p[0]) - px, y.at(p[1]) - py), near = all.reduce((a, b) => far(b) < far(a) ? b : a);
      tip.show(x.at(near.p[0]) * area.width / width, y.at(near.p[1]), el("strong", {}, near.name), el("p", {}, `epoch ${near.p[0]}: ${caption} ${number(near.p[1])}`));
    });
    drawing.addEventListener("pointerleave", () => tip.hide());
    chart?.remove();
    host.prepend(chart = drawing);
  });
  return el("figure", { class: "multiple" }, el("figcaption", {}, caption), host);
}

