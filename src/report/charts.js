// Elements, numbers, scales and axes.

// The SVG namespace, taken from an element that the parser made.
const SVG = document.getElementById("namespace").namespaceURI;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) if (child !== null && child !== undefined) node.append(child);
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = id => document.getElementById(id);
const known = value => typeof value === "number" && Number.isFinite(value);

/* A number with `digits` significant digits, grouped in thousands by a thin space. */
function number(value, digits = 4) {
  if (!known(value)) return "–";
  if (value === 0) return "0";
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  if (size >= 1e7 || size < 1e-4) {
    const [mantissa, exponent] = rounded.toExponential(digits - 1).split("e");
    return `${mantissa.replace("-", "−")} × 10${superscript(Number(exponent))}`;
  }
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return grouped(rounded.toFixed(Math.min(decimals, 12)));
}
const superscript = exponent => [...String(exponent)].map(c => c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]).join("");
function grouped(text) {
  const [whole, decimals] = String(text).replace("-", "−").split(".");
  const spaced = whole.length > 5 || !decimals ? whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") : whole;
  return decimals === undefined ? spaced : `${spaced}.${decimals}`;
}
/* A count with a decimal prefix. */
function count(value) {
  if (!known(value)) return "–";
  for (const [size, prefix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (value >= size) return `${number(value / size)}\u202f${prefix}`;
  return String(value);
}
const whole = value => !known(value) ? "–" : value < 1e15 ? grouped(Math.round(value)) : number(value);
function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  return s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
}

/* A linear or logarithmic scale of `values` over the pixels `from`…`to`. */
function scale(values, from, to, log, tickCount, margin = 0.05) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low > high) { low = log ? 1 : 0; high = log ? 10 : 1; }
  const map = log ? Math.log10 : v => v;
  let [a, b] = [map(low), map(high)];
  const pad = b > a ? (b - a) * margin : log ? 0.3 : Math.abs(a) * 0.1 || 1;
  // A scale of values that are never negative does not reach below zero.
  [a, b] = [!log && low >= 0 ? Math.max(0, a - pad) : a - pad, b + pad];
  const at = value => from + (map(value) - a) / (b - a) * (to - from);
  return { at, ticks: log ? logTicks(a, b, tickCount) : linearTicks(a, b, tickCount), log };
}
function linearTicks(low, high, wanted) {
  const raw = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 2.5, 5, 10].find(m => m * power >= raw * 0.999);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (String(step / power).startsWith("2.5") ? 1 : 0));
  const largest = Math.max(Math.abs(low), Math.abs(high)), ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high * (1 + 1e-12) + 1e-12 * step; n++) {
    const value = n * step;
    const text = largest >= 1e4 || decimals > 5 ? short(value) : grouped(value.toFixed(decimals));
    ticks.push({ value, text });
  }
  return ticks;
}
function logTicks(low, high, wanted) {
  const decades = high - low;
  const factors = decades < 1.2 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : decades < 3 ? [1, 2, 5] : [1];
  let ticks = [];
  for (let e = Math.floor(low); e <= Math.ceil(high); e++) {
    for (const factor of factors) {
      const value = factor * 10 ** e, at = Math.log10(value);
      if (at >= low && at <= high) ticks.push({ value, text: short(value) });
    }
  }
  const every = Math.ceil(ticks.length / Math.max(2, wanted * 1.4));
  return ticks.filter((_, index) => index % every === 0);
}
function short(value) {
  const size = Math.abs(value);
  if (size >= 1e3 && size < 1e12) {
    const [divisor, prefix] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : [1e3, "k"];
    return `${String(Number((value / divisor).toPrecision(4))).replace("-", "−")}${prefix}`;
  }
  if (size === 0 || (size >= 1e-3 && size < 1e3)) return String(Number(value.toPrecision(4))).replace("-", "−");
  const [mantissa, exponent] = Number(value.toPrecision(3)).toExponential().split("e");
  return `${mantissa === "1" ? "" : mantissa.replace("-", "−") + "·"}10${superscript(Number(exponent))}`;
}

/* Grid, ticks and labels of a chart whose plot lies between the pixels of its scales. */
function frame(x, y, box, xLabel, yLabel) {
  const lines = [
    y.ticks.map(t => svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y.at(t.value), y2: y.at(t.value) })),
    x.ticks.map(t => svg("line", { class: "grid", x1: x.at(t.value), x2: x.at(t.value), y1: box.top, y2: box.bottom })),
    svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
  ];
  const texts = [
    y.ticks.map(t => svg("text", { x: box.left - 8, y: y.at(t.value) + 4, "text-anchor": "end" }, t.text)),
    x.ticks.map(t => svg("text", { x: x.at(t.value), y: box.bottom + 18, "text-anchor": "middle" }, t.text)),
  ];
  if (xLabel) texts.push(svg("text", { class: "label", x: box.right, y: box.bottom + 38, "text-anchor": "end" }, xLabel));
  if (yLabel) texts.push(svg("text", { class: "label", x: 0, y: box.top - 12 }, yLabel));
  return svg("g", { "aria-hidden": "true" }, lines, texts);
}
const polyline = points => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
const dots = points => points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
/* A line that keeps its level until the next point. */
const steps = points => points.map(([x, y], i) => i ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/* Charts whose place was not yet in the page when they were made. */
const waiting = [];
/* Draws into `host` as soon as it is in the page, and whenever its width changes. */
function responsive(host, draw) {
  let width = 0;
  const redraw = () => {
    const now = Math.floor(host.clientWidth);
    if (now > 0 && now !== width) { width = now; draw(width); }
  };
  if (host.isConnected) redraw(); else waiting.push(redraw);
  // In the next frame, since drawing changes sizes itself.
  new ResizeObserver(() => requestAnimationFrame(redraw)).observe(host);
  return () => { width = 0; redraw(); };
}
/* A box beside the pointer or the focused mark. */
function tooltip(host) {
  const box = el("div", { class: "tip", hidden: true });
  host.append(box);
  return {
    show(x, y, ...content) {
      box.replaceChildren(...content);
      box.hidden = false;
      const right = x + 16 + box.offsetWidth > host.clientWidth;
      box.style.left = `${Math.max(0, right ? x - 16 - box.offsetWidth : x + 16)}px`;
      box.style.top = `${Math.max(0, y - box.offsetHeight / 2)}px`;
    },
    hide() { box.hidden = true; },
  };
}
