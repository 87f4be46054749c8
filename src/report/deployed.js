// What is deployed, measured last: predicted, as the search measured it, now.

function drawRemeasured() {
  const figures = report.remeasured ?? [];
  if (!figures.length) return byId("remeasured").remove();
  const ms = value => known(value) ? number(value, 4) : "–";
  const now = outcome => outcome.measured
    ? [`${number(outcome.measured.p50_ms, 4)} `, el("span", { class: "unit" }, `(${outcome.measured.ci95_ms.map(end => number(end, 4)).join(" to ")}) ${outcome.measured.verdict}`)]
    : `failed: ${outcome.failed}`;
  const shares = parts => Object.entries(parts ?? {}).map(([part, share]) => `${part} ${(100 * share).toFixed(2)} %`).join(", ") || "–";
  const row = f => [[f.trial ? `trial ${f.trial[1]} of ${f.trial[0]}` : f.arch, el("span", { class: "unit" }, f.trained ? " trained" : " untrained")],
    ...[f.device, f.precision, f.file ?? "copy, not kept", ms(f.predicted_ms), ms(f.searched_ms), now(f.outcome),
      known(f.speed_up) ? number(f.speed_up, 3) : "–", shares(f.accuracy), number(f.bytes / 1024, 4)].map(text => el("td", {}, text))];
  byId("remeasured-table").append(plainTable("Files on the device, measured last",
    ["network", "device", "precision", "file", "predicted [ms]", "in the search [ms]", "now [ms]", "times as fast as f32", "accuracy", "KiB"], figures.map(row)));
  byId("remeasured-note").textContent = (report.integers ?? []).join(" ");
}
