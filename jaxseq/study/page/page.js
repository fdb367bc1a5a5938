"use strict";
(() => {
const DATA = JSON.parse(document.getElementById("data").textContent);
const TEXTS = JSON.parse(document.getElementById("texts").textContent);
const MAPS = DATA.maps, TOLERANCE = 1e-5;
const byId = (id) => document.getElementById(id);

// ---- state, kept in the address ----
const state = { p: 0, e: 0, t: 0, u: 0, pins: [], clamps: [], swap: null, lang: "en", theme: "light", snap: 0 };
function readHash() {
  const given = new URLSearchParams(location.hash.slice(1)), whole = (name) => Number.parseInt(given.get(name) ?? "", 10);
  if (matchMedia("(prefers-color-scheme: dark)").matches) state.theme = "dark";
  if ((navigator.language || "").startsWith("zh")) state.lang = "zh";
  for (const name of ["p", "e", "t", "u", "snap"]) if (Number.isInteger(whole(name))) state[name] = whole(name);
  if (TEXTS[given.get("lang")]) state.lang = given.get("lang");
  if (["light", "dark"].includes(given.get("theme"))) state.theme = given.get("theme");
  state.pins = (given.get("pins") || "").split(",").filter(Boolean).map(Number).filter(Number.isInteger);
  state.clamps = (given.get("clamp") || "").split(",").filter(Boolean).map((one) => {
    const [gate, unit, value] = one.split(":");
    return { gate, unit: unit === "*" ? null : Number(unit), value: ["1-f", "mean"].includes(value) ? value : Number(value) };
  }).filter((c) => c.value === "1-f" || c.value === "mean" || Number.isFinite(c.value));
  const swap = (given.get("swap") || "").split(":").map(Number);
  state.swap = swap.length === 2 && swap.every(Number.isInteger) ? swap : null;
  fit();
}
function fit() {
  const within = (v, n) => Math.max(0, Math.min(n - 1, v));
  state.p = within(state.p, DATA.parts.length);
  const p = part();
  state.e = within(state.e, p.B);
  state.t = within(state.t, p.lengths[state.e]);
  state.u = within(state.u, p.H);
  state.pins = state.pins.filter((u) => u >= 0 && u < p.H);
  state.clamps = p.live ? state.clamps.filter((c) => CELLS[p.live.cell].names.includes(c.gate) && (c.unit === null || (c.unit >= 0 && c.unit < p.H)) && (c.value !== "1-f" || (c.gate === "i" && p.live.cell === "lstm"))) : [];
  if (state.swap && !(p.live && p.live.swaps && state.swap[0] < p.lengths[state.e] && state.swap[1] < p.live.swaps.labels.length && Math.min(...state.swap) >= 0)) state.swap = null;
}
function writeHash() {
  const out = new URLSearchParams({ p: state.p, e: state.e, t: state.t, u: state.u, lang: state.lang, theme: state.theme });
  if (state.pins.length) out.set("pins", state.pins.join(","));
  if (state.clamps.length) out.set("clamp", state.clamps.map((c) => `${c.gate}:${c.unit ?? "*"}:${c.value}`).join(","));
  if (state.swap) out.set("swap", state.swap.join(":"));
  if (state.snap) out.set("snap", state.snap);
  try { history.replaceState(null, "", `#${out}`); } catch { /* a page in a frame without an address */ }
}
let due = false;
function change(values) {
  Object.assign(state, values);
  fit();
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; draw(); writeHash(); });
}

// ---- what the data hold ----
const part = () => DATA.parts[state.p];
const steps = () => part().lengths[state.e];
const say3 = (v) => say(v, 3);
const T = (id, ...values) => {
  let text = TEXTS[state.lang][id] ?? TEXTS.en[id] ?? id;
  values.forEach((v, n) => { text = text.replaceAll(`{${n}}`, () => v); });
  return text;
};
// [T, B, H] at step t and unit u of the example chosen
const at = (a, t, u, p = part(), e = state.e) => floats(a)[(t * a.shape[1] + e) * (a.shape[2] ?? 1) + u];
const over = (n, f) => Array.from({ length: n }, (_, k) => f(k));
const track = (a, u, p = part(), e = state.e) => over(p.lengths[e], (t) => at(a, t, u, p, e));
const gateName = (g, p = part()) => { const known = `gate.${(p.words_of || {})[g] || g}`; return TEXTS.en[known] ? T(known) : g; };
const signed = (g, p = part()) => p.signed.includes(g);
const mapOf = (g, p) => (signed(g, p) ? [MAPS.signed, -1, 1] : [MAPS.gate, 0, 1]);
const shown = (g, v) => (g === "a" ? Math.tanh(v) : v); // a pre-activation is drawn squashed
const units = () => part().order;
const keepAt = (t, u, p = part(), e = state.e) => { const k = p.keep; const v = at(p.gates[k.gate], t, u, p, e); return k.inverted ? 1 - v : v; };
const unitNo = (u, p = part()) => (p.numbers ? p.numbers[u] : u); // of a thinned part only some are here
const label = (t, p = part(), e = state.e) => p.inputs[e][t] ?? "";

// ---- the cell, run here ----
function modelOf(p) {
  const l = p.live;
  if (!l.model) l.model = { cell: l.cell, H: p.H, U: floats(l.U), U_n: l.U_n && floats(l.U_n), b_hn: l.b_hn && floats(l.b_hn) };
  return l.model;
}
function termsOf(p, e, swap) {
  const a = p.live.wx, values = floats(a), G = a.shape[2];
  const rows = over(p.lengths[e], (t) => values.subarray((t * a.shape[1] + e) * G, (t * a.shape[1] + e) * G + G));
  if (swap) { const s = p.live.swaps.wx; rows[swap[0]] = floats(s).subarray(swap[1] * G, swap[1] * G + G); }
  return rows;
}
function startOf(p, e) {
  const s = p.live.start;
  return s ? Object.fromEntries(Object.entries(s).map(([n, a]) => [n, floats(a).subarray(e * p.H, e * p.H + p.H)])) : null;
}
function resolve(clamps, p, e) {
  return clamps.map((c) => (c.value !== "mean" ? c : { ...c, value: Float64Array.from(over(p.H, (u) => track(p.gates[c.gate], u, p, e).reduce((a, b) => a + b, 0) / p.lengths[e])) }));
}
function rerun(p, e, clamps = [], swap = null) {
  const run = runCell(modelOf(p), termsOf(p, e, swap), startOf(p, e), resolve(clamps, p, e));
  if (p.live.W) run.said = readOut(run.carry.h, p.H, floats(p.live.W), floats(p.live.b));
  if (run.said && p.targets) {
    run.losses = run.said.map((y, t) => (p.scored[t][e] ? lossOf(y, targetOf(p, t, e), p.kind === "class") : 0));
  }
  return run;
}
function targetOf(p, t, e) {
  if (p.kind === "class") return p.targets[t][e];
  const V = p.targets.shape[2];
  return floats(p.targets).subarray((t * p.B + e) * V, (t * p.B + e) * V + V);
}
const kept = new Map();
function plainRun(p = part(), e = state.e) {
  const name = `${DATA.parts.indexOf(p)}:${e}`;
  if (!kept.has(name)) kept.set(name, rerun(p, e));
  return kept.get(name);
}

// ---- the equation of one unit at one step ----
const sign = (v) => (v < 0 ? `− ${say(-v)}` : `+ ${say(v)}`);
function preActivation(p, e, gate, t, u) { // {x: x W + b, h: h U, terms}
  const run = plainRun(p, e), g = CELLS[p.live.cell].names.indexOf(gate), H = p.H;
  const x = termsOf(p, e)[t][g * H + u], uh = run.uh[t];
  if (p.live.cell === "gru_cho" && gate === "n") return { x, h: null, terms: [] };
  const columns = uh.length, terms = [], U = floats(p.live.U);
  const old = t > 0 ? run.carry.h.subarray((t - 1) * H, t * H) : (startOf(p, e) || {}).h || new Float64Array(H);
  for (let k = 0; k < H; k++) terms.push({ name: `h[${k}]`, value: old[k], weight: U[k * columns + g * H + u], product: old[k] * U[k * columns + g * H + u] });
  if (p.live.Wx && p.xs) {
    const D = p.xs.shape[2], W = floats(p.live.Wx);
    for (let d = 0; d < D; d++) { const v = at(p.xs, t, d, p, e); if (v !== 0) terms.push({ name: `x[${d}]`, value: v, weight: W[d * columns + g * H + u], product: v * W[d * columns + g * H + u] }); }
  }
  terms.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  return { x, h: uh[g * H + u], terms };
}
function gateLine(p, e, gate, t, u) {
  const v = at(p.gates[gate], t, u, p, e);
  if (!p.live || !CELLS[p.live.cell].names.includes(gate)) return `${gate}[${unitNo(u, p)}] = ${say(v)}`;
  const a = preActivation(p, e, gate, t, u), squash = { sigmoid: "σ", tanh: "tanh", none: "" }[CELLS[p.live.cell].kinds[CELLS[p.live.cell].names.indexOf(gate)]];
  if (a.h === null) return `${gate}[${unitNo(u, p)}] = tanh(xW+b + (r⊙h)U) = tanh(${say(a.x)} ${sign(Math.atanh(v) - a.x)}) = ${say(v)}`;
  if (p.live.cell === "gru" && gate === "n") {
    const r = at(p.gates.r, t, u, p, e);
    return `n[${unitNo(u, p)}] = tanh(xW+b + r·(hU+b′)) = tanh(${say(a.x)} + ${say(r)} · ${say(a.h)}) = ${say(v)}`;
  }
  return `${gate}[${unitNo(u, p)}] = ${squash}(xW+b + hU) = ${squash}(${say(a.x)} ${sign(a.h)}) = ${say(v)}`;
}
function leafLine(p, e, leaf, t, u) {
  const g = (n) => at(p.gates[n], t, u, p, e), c = (n, s) => (s < 0 ? startAt(p, e, n, u) : at(p.carries[n], s, u, p, e));
  const value = c(leaf, t);
  switch (`${p.equations} ${leaf}`) {
    case "lstm c": return `c[${unitNo(u, p)}] = f·c + i·g = ${say(g("f"))} · ${say(c("c", t - 1))} + ${say(g("i"))} · ${say(g("g"))} = ${say(value)}`;
    case "lstm h": return `h[${unitNo(u, p)}] = o·tanh(c) = ${say(g("o"))} · tanh(${say(c("c", t))}) = ${say(value)}`;
    case "gru h": return `h[${unitNo(u, p)}] = z·h + (1−z)·n = ${say(g("z"))} · ${say(c("h", t - 1))} + ${say(1 - g("z"))} · ${say(g("n"))} = ${say(value)}`;
    case "rnn h": return `h[${unitNo(u, p)}] = ${p.live && p.live.cell === "rnn_relu" ? "relu" : "tanh"}(a) = ${say(value)},  a = ${gateLine(p, e, "a", t, u).slice(`a[${unitNo(u, p)}] = `.length)}`;
    default: return `${leaf}[${unitNo(u, p)}] = ${say(value)}`;
  }
}
const startAt = (p, e, leaf, u) => (p.start && p.start[leaf] ? floats(p.start[leaf])[e * p.H + u] : 0);
function snippet(p, e, gate, t, u) { // NumPy that prints the gate's number
  const run = plainRun(p, e), cell = p.live.cell, H = p.H, g = CELLS[cell].names.indexOf(gate), U = floats(p.live.U), columns = U.length / H;
  const old = t > 0 ? Array.from(run.carry.h.subarray((t - 1) * H, t * H)) : over(H, (k) => startAt(p, e, "h", k));
  const column = over(H, (k) => U[k * columns + g * H + u]), list = (a) => `[${a.map((v) => Number(v.toPrecision(9))).join(", ")}]`;
  const kind = CELLS[cell].kinds[g], x = termsOf(p, e)[t][g * H + u];
  const lines = ["import numpy as np", `h = np.array(${list(old)})  # h[t-1]`];
  if (cell === "gru_cho" && gate === "n") {
    const r = over(H, (k) => run.gates.r[t * H + k]), V = floats(p.live.U_n);
    lines.push(`r = np.array(${list(r)})`, `U = np.array(${list(over(H, (k) => V[k * H + u]))})  # U_n[:, ${u}]`, `a = ${x} + (r * h) @ U`);
  } else {
    lines.push(`U = np.array(${list(column)})  # U_${gate}[:, ${u}]`);
    const b = p.live.b_hn && gate === "n" ? floats(p.live.b_hn)[u] : null;
    lines.push(b === null ? `a = ${x} + h @ U  # x W + b, then h U` : `a = ${x} + ${run.gates.r[t * H + u]} * (h @ U + ${b})  # x W + b, then r (h U + b')`);
  }
  lines.push(kind === "sigmoid" ? "print(1 / (1 + np.exp(-a)))" : kind === "tanh" ? "print(np.tanh(a))" : "print(a)");
  return lines.join("\n");
}
const snippetNow = () => snippet(part(), state.e, CELLS[part().live.cell].names[0], state.t, state.u);
window.jaxseqStudy = { state, change, snippet, part, rerun, plainRun, snippetNow, DATA, check };

// ---- reading out what the pointer is on ----
function read(text) { byId("read").textContent = text; }
function rest() {
  const p = part(), u = state.u, t = state.t, leaf = p.keep ? p.keep.leaf : Object.keys(p.carries)[0];
  const first = `t ${t} “${label(t)}”`;
  const gate = p.keep ? p.keep.gate : Object.keys(p.gates)[0];
  read([first, gate && gateLine(p, state.e, gate, t, u), leaf && leafLine(p, state.e, leaf, t, u)].filter(Boolean).join("   "));
}
const readGate = (g) => (t, u) => read(`t ${t} “${label(t)}”   ${gateLine(part(), state.e, g, t, u)}`);

// ---- views ----
const VIEWS = {};
function caption(name, right) { return el("div", { class: "cap" }, el("span", {}, name), right || ""); }
function note(body, id, ...values) { body.append(el("p", { class: "small" }, T(id, ...values))); }
const pickTime = (t) => change({ t });
function boxes(body, count) { // laid out before anything is drawn into them, so that their widths are known
  const made = over(count, () => el("div"));
  body.append(el("div", { class: "pair" }, made));
  return made;
}

VIEWS.strip = { wide: true, has: () => true, draw(body) {
  const p = part(), n = steps(), e = state.e;
  const wide = Math.max(120, body.clientWidth), each = (wide - LEFT - RIGHT) / n;
  const row = (name, text, ink, strong) => {
    const root = svg("svg", { class: "chart", viewBox: `0 0 ${wide} 18`, height: 18, role: "img", "aria-label": `${name}: ${over(n, text).join(" ")}` });
    root.append(svg("text", { x: LEFT - 5, y: 13, "text-anchor": "end" }, name));
    let free = LEFT - 20;
    const size = (word) => Array.from(word).reduce((w, ch) => w + (ch.codePointAt(0) > 0x2e00 ? 12 : 7), 0);
    const reserved = [LEFT + (state.t + .5) * each - size(text(state.t)) / 2, LEFT + (state.t + .5) * each + size(text(state.t)) / 2];
    over(n, (t) => {
      const word = text(t), middle = LEFT + (t + .5) * each, half = size(word) / 2, here = t === state.t;
      const from = Math.max(LEFT - 2, Math.min(wide - 2 * half, middle - half));
      if (!here && (from < free + 3 || (from < reserved[1] + 3 && from + 2 * half > reserved[0] - 3))) return;
      free = from + 2 * half;
      const node = svg("text", { x: from, y: 13, class: here || strong?.(t) ? "strong" : "" }, word);
      if (ink) node.style.fill = ink(t) || "";
      root.append(node);
    });
    root.addEventListener("click", (event) => pickTime(Math.max(0, Math.min(n - 1, Math.floor((event.clientX - root.getBoundingClientRect().left - LEFT) / each)))));
    body.append(root);
  };
  if (p.kind === "value") {
    const V = p.targets.shape[2];
    const series = [{ name: T("expected"), values: over(n, (t) => targetOf(p, t, e)[0]), ink: INKS[0] }, { name: T("predicted"), values: over(n, (t) => at(p.predictions, t, 0)), ink: INKS[1], dash: true }];
    if (p.xs && p.xs.shape[2] <= 3) over(p.xs.shape[2], (d) => series.unshift({ name: p.xs.shape[2] > 1 ? `${T("input")} ${d}` : T("input"), values: track(p.xs, d), ink: d ? INKS[3] : "var(--soft)", thin: true }));
    body.append(caption("", key(series)));
    chart(body, { series, x: [0, n - 1], across: true, mark: state.t, height: 120, label: T("strip"), xName: (t) => "", pick: pickTime, hover: (t) => read(`t ${t} “${label(t)}”   ${series.map((s) => `${s.name} ${say(s.values[t])}`).join("   ")}`), leave: rest });
    if (V > 1) note(body, "first_of", V);
  }
  row(T("input"), (t) => label(t));
  if (p.kind === "class") {
    const best = (t) => p.words[p.top.ids[t][e][0]];
    const right = (t) => p.top.ids[t][e][0] === p.targets[t][e];
    row(T("expected"), (t) => (p.scored[t][e] ? p.words[p.targets[t][e]] : "·"));
    row(T("predicted"), (t) => (p.scored[t][e] ? best(t) : "·"), (t) => (p.scored[t][e] ? (right(t) ? "var(--good)" : "var(--bad)") : null), (t) => p.scored[t][e] && !right(t));
    body.append(el("p", { class: "small" }, `${T("at_step", state.t)}${p.scored[state.t][e] ? "" : ` (${T("not_scored")})`}: `, over(p.top.ids[state.t][e].length, (k) => el("bdi", {}, `${k ? ", " : ""}${p.words[p.top.ids[state.t][e][k]]} ${(100 * at(p.top.share, state.t, k)).toFixed(1)}%`))));
  }
  if (p.losses) {
    const values = over(n, (t) => (p.scored[t][e] ? floats(p.losses)[t * p.B + e] : NaN));
    const sum = values.filter(Number.isFinite).reduce((a, b) => a + b, 0), count = values.filter(Number.isFinite).length;
    body.append(caption(`${T("loss_per_step")} — ${T("sum_mean", say(sum), say(sum / Math.max(1, count)))}`));
    chart(body, { series: [{ name: T("loss"), values, dots: 2.2 }], x: [0, n - 1], across: true, low: 0, mark: state.t, height: 70, label: T("loss_per_step"), pick: pickTime, hover: (t) => read(`t ${t} “${label(t)}”   ${T("loss")} ${Number.isFinite(values[t]) ? say(values[t]) : T("not_scored")}`), leave: rest });
  }
} };

VIEWS.timelines = { wide: true, has: () => Object.keys(part().gates).length, draw(body) {
  const p = part(), order = units(), free = boxes(body, Object.keys(p.gates).length + Object.keys(p.carries).length);
  const panel = (name, values, [map, low, high], readOff, squash) => {
    const box = free.shift();
    box.append(caption(name, scaleBar(map, say3(low), say3(high))));
    heat(box, { rows: p.H, columns: steps(), map, low, high, label: T("heat_label", name, p.H, steps()), row: order.indexOf(state.u), column: state.t, height: 130, left: 12, right: 1,
      value: (r, t) => squash(at(values, t, order[r])), hover: (r, t) => readOff(t, order[r]), leave: rest, pick: (r, t) => change({ t, u: order[r] }) });
  };
  for (const [g, values] of Object.entries(p.gates)) panel(gateName(g), values, mapOf(g), readGate(g), (v) => shown(g, v));
  for (const [leaf, values] of Object.entries(p.carries)) {
    const most = Math.max(1e-6, ...over(steps(), (t) => Math.max(...over(p.H, (u) => Math.abs(at(values, t, u)) || 0))));
    panel(`${leaf}  ${T(`leaf.${leaf}`) === `leaf.${leaf}` ? T("leaf.other") : T(`leaf.${leaf}`)}`, values, [MAPS.signed, -most, most], (t, u) => read(`t ${t} “${label(t)}”   ${leafLine(p, state.e, leaf, t, u)}`), (v) => v);
  }
  const pins = [...new Set([state.u, ...state.pins])].slice(0, 5);
  const main = p.keep ? p.keep.gate : Object.keys(p.gates)[0], leaf = p.keep ? p.keep.leaf : Object.keys(p.carries)[0];
  const lines = [[gateName(main), p.gates[main], (v) => shown(main, v)], [leaf, p.carries[leaf], (v) => v]].filter(([, a]) => a), places = boxes(body, lines.length);
  for (const [name, a, squash] of lines) {
    const box = places.shift(), series = pins.map((u) => ({ name: `${T("unit")} ${unitNo(u)}`, values: track(a, u).map(squash) }));
    box.append(caption(`${T("pinned")}: ${name}`, key(series)));
    chart(box, { series, x: [0, steps() - 1], across: true, mark: state.t, height: 90, label: `${T("pinned")}: ${name}`, pick: pickTime, leave: rest, hover: (t) => read(`t ${t} “${label(t)}”   ${series.map((s) => `${s.name}: ${say(s.values[t])}`).join("   ")}`) });
  }
} };

VIEWS.ledger = { has: () => part().keep, draw(body) {
  const p = part(), u = state.u, k = p.keep, n = steps();
  body.append(el("div", { class: "eq" }, p.equations === "lstm" ? math("c_t = f_t ⊙ c_t−1 + i_t ⊙ g_t , h_t = o_t ⊙ tanh ( c_t )") : p.equations === "gru" ? math("h_t = z_t ⊙ h_t−1 + ( 1 − z_t ) ⊙ n_t") : `${T("kept")} + ${T("written")} = ${k.leaf}`));
  const now = track(p.carries[k.leaf], u), before = over(n, (t) => (t ? now[t - 1] : startAt(p, state.e, k.leaf, u)));
  const keptHere = over(n, (t) => keepAt(t, u) * before[t]);
  const series = [{ name: `${T("kept")}`, values: keptHere, ink: INKS[0] }, { name: T("written"), values: over(n, (t) => now[t] - keptHere[t]), ink: INKS[1] }, { name: `${k.leaf} = ${T("sum")}`, values: now, ink: "var(--ink)" }];
  if (p.equations === "lstm") series.push({ name: "tanh(c)", values: now.map(Math.tanh), ink: INKS[3], dash: true }, { name: `h ${T("shown")}`, values: track(p.carries.h, u), ink: INKS[2], dash: true });
  body.append(caption(`${T("unit")} ${unitNo(u)}`, key(series)));
  chart(body, { series, x: [0, n - 1], across: true, mark: state.t, height: 150, label: T("ledger"), pick: pickTime, leave: rest, hover: (t) => read(`t ${t} “${label(t)}”   ${series.map((s) => `${s.name} ${say(s.values[t])}`).join("   ")}`) });
  const t = state.t;
  body.append(el("p", { class: "num" }, leafLine(p, state.e, k.leaf, t, u)));
  if (p.equations === "lstm") body.append(el("p", { class: "num" }, leafLine(p, state.e, "h", t, u)));
} };

VIEWS.saturation = { has: () => part().saturation && Object.keys(part().saturation).length, draw(body) {
  const p = part(), names = Object.keys(p.saturation), series = names.map((g, n) => ({ name: g, ink: INKS[n % 5], values: Array.from(floats(p.saturation[g].histogram)) }));
  const bins = series[0].values.length, [a, b] = boxes(body, 2);
  a.append(caption(T("histogram"), key(series)));
  chart(a, { series, x: [0, bins - 1], across: true, low: 0, height: 170, label: T("histogram"), xTicks: [0, (bins - 1) / 2, bins - 1], xName: (v) => say(v / (bins - 1)), hover: (n) => read(`${say3(n / bins)} – ${say3((n + 1) / bins)}   ${series.map((s) => `${s.name} ${(100 * s.values[n]).toFixed(1)}%`).join("   ")}`), leave: rest });
  b.append(caption(T("closed_open"), key(series.map((s) => ({ ...s })))));
  const points = [], whose = [];
  names.forEach((g, n) => over(p.H, (u) => { points.push([floats(p.saturation[g].closed)[u], floats(p.saturation[g].open)[u], INKS[n % 5], u === state.u ? 5 : 2.6]); whose.push([g, u]); }));
  cloud(b, { points, x: [-.03, 1.03], y: [-.03, 1.03], square: true, height: 170, label: T("closed_open"), xName: T("below"), yName: T("above"), hover: (n) => read(`${whose[n][0]}[${whose[n][1]}]   ${T("below")}: ${(100 * points[n][0]).toFixed(0)}%   ${T("above")}: ${(100 * points[n][1]).toFixed(0)}%`), pick: (n) => change({ u: whose[n][1] }) });
} };

VIEWS.flow = { has: () => part().flow, draw(body) {
  const p = part(), n = steps(), names = Object.keys(p.flow.norms), one = (q, leaf) => over(q.lengths[state.e] ?? 0, (t) => floats(q.flow.norms[leaf])[t * q.B + state.e]);
  const series = names.map((leaf) => ({ name: `‖∂L/∂${leaf}‖`, values: one(p, leaf) }));
  body.append(caption("", key(series)));
  chart(body, { series, log: true, x: [0, n - 1], across: true, mark: state.t, height: 130, label: T("flow"), pick: pickTime, leave: rest, hover: (t) => read(`t ${t} “${label(t)}”   ${series.map((s) => `${s.name} ${say(s.values[t])}`).join("   ")}`) });
  for (const s of p.flow.slopes) {
    const v = floats(s.values)[state.e];
    if (Number.isFinite(v)) note(body, "slope", s.leaf, say3(v), T(v < -.02 ? "vanishing" : v > .02 ? "exploding" : "steady"));
  }
  if (p.flow.triangle) {
    const a = p.flow.triangle, v = floats(a), size = a.shape[1], logs = (r, t) => { const x = v[((state.e * size) + r) * size + t]; return x > 0 && r < n ? Math.log10(x) : NaN; };
    const all = over(n, (r) => over(n, (t) => logs(r, t))).flat().filter(Number.isFinite);
    if (all.length) {
      const high = Math.max(...all), low = Math.max(Math.min(...all), high - 8);
      body.append(caption(T("triangle"), scaleBar(MAPS.gate, `10^${low.toFixed(1)}`, `10^${high.toFixed(1)}`)));
      heat(body, { rows: n, columns: n, map: MAPS.gate, low, high, label: T("triangle"), row: state.t, column: state.t, height: 170, value: logs, pick: (r, t) => change({ t }), leave: rest, hover: (r, t) => read(`∂L[${r}] / ∂${p.flow.leaf}[${t}]   ${t > r ? T("later") : say(v[((state.e * size) + r) * size + t])}`) });
    }
  }
} };

VIEWS.jacobian = { has: () => part().jacobian, draw(body) {
  const p = part(), j = p.jacobian, count = j.steps.length;
  const near = over(count, (k) => k).reduce((best, k) => (Math.abs(j.steps[k] - state.t) < Math.abs(j.steps[best] - state.t) ? k : best), 0), t = j.steps[near];
  const [a, b] = boxes(body, 2);
  const size = j.real.shape[1], re = floats(j.real), im = floats(j.imag), points = over(size, (k) => [re[near * size + k], im[near * size + k]]);
  const far = Math.max(1.1, ...points.map(([x, y]) => Math.max(Math.abs(x), Math.abs(y)))) * 1.05;
  a.append(caption(T("eigenvalues", t)));
  cloud(a, { points, x: [-far, far], y: [-far, far], circle: true, square: true, height: 180, label: T("eigenvalues", t), xName: "Re λ", yName: "Im λ", leave: rest, hover: (k) => read(`λ = ${say(points[k][0])} ${sign(points[k][1])} i   |λ| = ${say(Math.hypot(...points[k]))}`) });
  const series = [{ name: T("radius"), values: Array.from(floats(j.radius)), at: j.steps }, { name: T("largest_singular"), values: Array.from(floats(j.singular)), at: j.steps, dash: true }];
  b.append(caption("", key(series)));
  chart(b, { series, x: [0, j.steps[count - 1]], across: true, mark: t, height: 150, label: T("radius"), pick: pickTime, leave: rest });
  b.append(el("p", { class: "small" }, T("lyapunov", Array.from(floats(j.lyapunov)).map((v) => say3(v)).join(", "))));
  note(body, "of_example", j.example);
} };

VIEWS.half = { has: () => part().half, draw(body) {
  const p = part(), life = floats(p.half.life), order = units(), longest = Math.max(...p.lengths), cap = longest * 1.15;
  const points = order.map((u, n) => [n, Math.min(Math.log10(Math.max(.1, p.half.censored[u] ? cap : life[u])), Math.log10(cap)), p.half.censored[u] ? INKS[1] : INKS[0], u === state.u ? 5 : 2.6]);
  const name = (u) => (p.half.censored[u] ? `>${longest}` : say3(life[u]));
  body.append(caption(T("half_axis"), key([{ name: T("seen"), ink: INKS[0] }, { name: `>${longest} ${T("censored")}`, ink: INKS[1] }])));
  cloud(body, { points, x: [-.5, p.H - .5], y: [-1.05, Math.log10(cap) + .06], height: 130, label: T("half"), xName: T("units_sorted"), yName: T("steps"), yTicks: [-1, 0, 1, 2, 3, 4].filter((v) => v <= Math.log10(cap)), yTick: (v) => String(Number((10 ** v).toPrecision(2))), hover: (n) => read(`${T("unit")} ${unitNo(order[n])}   ${T("half_short")} ${name(order[n])}   ${T("mean_keep")} ${say(floats(p.half.mean)[order[n]])}`), pick: (n) => change({ u: order[n] }) });
  body.append(el("p", {}, T("half_of", unitNo(state.u), name(state.u), say(floats(p.half.mean)[state.u]))));
  const n = steps(), left = over(n, () => new Float64Array(p.H).fill(1));
  for (let t = n - 2; t >= 0; t--) for (let u = 0; u < p.H; u++) left[t][u] = left[t + 1][u] * keepAt(t + 1, u);
  body.append(caption(T("survival"), scaleBar(MAPS.gate, 0, 1)));
  heat(body, { rows: p.H, columns: n, map: MAPS.gate, low: 0, high: 1, label: T("survival"), row: order.indexOf(state.u), column: state.t, height: 110, value: (r, t) => left[t][order[r]], pick: (r, t) => change({ t, u: order[r] }), leave: rest, hover: (r, t) => read(`${T("unit")} ${unitNo(order[r])}   ∏ ${p.keep.gate}[${t + 1} … ${n - 1}] = ${say(left[t][order[r]])}`) });
} };

VIEWS.attention = { has: () => part().attention, draw(body) {
  const p = part(), a = p.attention, e = state.e, S = p.attention.source[e].length, n = steps(), w = (t, s) => at(a.weights, t, s);
  const source = a.source[e], words = over(n, (t) => (p.kind === "class" ? p.words[p.targets[t][e]] : label(t)));
  body.append(caption(T("attention_map"), scaleBar(MAPS.gate, 0, 1)));
  heat(body, { rows: n, columns: S, map: MAPS.gate, low: 0, high: 1, label: T("attention_map"), left: 90, square: true, row: state.t, rowNames: words, value: w, pick: (t) => change({ t }), leave: rest, hover: (t, s) => read(`“${words[t]}” ← “${source[s]}”   ${say(w(t, s))}${a.parts ? `   ${T("score")} ${say(floats(a.scores)[(t * p.B + e) * a.scores.shape[2] + s])}   ${largest(t, s)}` : ""}`) });
  function largest(t, s) { const k = a.parts.shape[3], v = floats(a.parts); return over(k, (m) => [v[((t * p.B + e) * a.parts.shape[2] + s) * k + m], floats(a.units)[((t * p.B + e) * a.parts.shape[2] + s) * k + m]]).map(([x, m]) => `${m}: ${say3(x)}`).join(", "); }
  body.append(el("p", { class: "small" }, T("columns"), ": ", source.map((word, s) => el("bdi", { style: `font-weight:${w(state.t, s) > .3 ? 700 : 400};color:${w(state.t, s) > .1 ? "var(--ink)" : "var(--soft)"}` }, ` ${word}`))));
  const entropy = over(n, (t) => -over(S, (s) => (w(t, s) > 0 ? w(t, s) * Math.log2(w(t, s)) : 0)).reduce((x, y) => x + y, 0));
  const coverage = over(S, (s) => over(n, (t) => w(t, s)).reduce((x, y) => x + y, 0));
  const [x, y] = boxes(body, 2);
  x.append(caption(T("entropy")));
  chart(x, { series: [{ name: T("entropy"), values: entropy, dots: 2 }], x: [0, n - 1], across: true, low: 0, high: Math.max(1, Math.log2(S)), mark: state.t, height: 90, label: T("entropy"), pick: pickTime, leave: rest, hover: (t) => read(`“${words[t]}”   ${T("entropy")} ${say(entropy[t])}`) });
  y.append(caption(T("coverage")));
  chart(y, { series: [{ name: T("coverage"), values: coverage, dots: 2, ink: INKS[2] }], x: [0, S - 1], across: true, low: 0, height: 90, label: T("coverage"), leave: rest, hover: (s) => read(`“${source[s]}”   ${T("coverage")} ${say(coverage[s])}`) });
} };

VIEWS.whatif = { wide: true, has: () => true, draw(body) {
  const p = part();
  if (!p.live) { note(body, "not_live", T(`why.${p.why}`)); if (p.atlas) atlas(body, p); return; }
  const cell = CELLS[p.live.cell], gates = cell.names.filter((g) => g !== "a" || cell.names.length === 1);
  const add = (c) => change({ clamps: [...state.clamps.filter((o) => o.gate !== c.gate || o.unit !== c.unit), c] });
  const presets = [];
  if (p.keep && cell.names.includes(p.keep.gate)) {
    presets.push(["never_forget", { gate: p.keep.gate, unit: null, value: p.keep.inverted ? 0 : 1 }], ["forget_all", { gate: p.keep.gate, unit: null, value: p.keep.inverted ? 1 : 0 }]);
  }
  if (p.live.cell === "lstm") presets.push(["coupled", { gate: "i", unit: null, value: "1-f" }], ["shut_out", { gate: "o", unit: null, value: 1 }]);
  if (cell.names.includes("r")) presets.push(["reset_one", { gate: "r", unit: null, value: 1 }]);
  body.append(el("div", { class: "row" }, presets.map(([id, c]) => el("button", { type: "button", id: `preset-${id}`, onclick: () => add(c) }, T(id))), el("button", { type: "button", id: "whatif-clear", onclick: () => change({ clamps: [], swap: null }) }, T("clear"))));
  const form = { gate: gates.includes(memory.gate) ? memory.gate : gates[0], whom: memory.whom || "unit", value: memory.value || "0" };
  const choose = (name, options, id) => el("label", {}, T(id), el("select", { id: `whatif-${name}`, onchange: (event) => { memory[name] = event.target.value; } }, options.map(([v, text]) => el("option", { value: v, selected: v === form[name] }, text))));
  body.append(el("div", { class: "row" }, choose("gate", gates.map((g) => [g, g]), "gate"),
    choose("whom", [["unit", `${T("unit")} ${state.u}`], ["all", T("all_units")]], "of"),
    choose("value", [["0", "0"], ["1", "1"], ["mean", T("its_mean")]], "held_at"),
    el("button", { type: "button", id: "whatif-add", onclick: () => add({ gate: byId("whatif-gate").value, unit: byId("whatif-whom").value === "all" ? null : state.u, value: byId("whatif-value").value === "mean" ? "mean" : Number(byId("whatif-value").value) }) }, T("hold"))));
  if (p.live.swaps) {
    const s = p.live.swaps.labels;
    body.append(el("div", { class: "row" }, el("label", {}, T("swap_at", state.t, label(state.t)), el("select", { id: "whatif-swap", onchange: (event) => change({ swap: event.target.value === "" ? null : [state.t, Number(event.target.value)] }) }, el("option", { value: "" }, "—"), s.map((word, n) => el("option", { value: n, selected: state.swap && state.swap[0] === state.t && state.swap[1] === n }, word))))));
  }
  const active = [...state.clamps.map((c, n) => [`${c.gate}${c.unit === null ? "" : `[${c.unit}]`} := ${c.value === "mean" ? T("its_mean") : c.value}`, () => change({ clamps: state.clamps.filter((_, k) => k !== n) })])];
  if (state.swap) active.push([`“${label(state.swap[0])}” → “${p.live.swaps.labels[state.swap[1]]}” (t ${state.swap[0]})`, () => change({ swap: null })]);
  body.append(el("div", { class: "row", id: "whatif-active" }, active.map(([text, off]) => el("button", { type: "button", "aria-label": `${T("take_back")}: ${text}`, onclick: off }, `${text} ×`))));
  const e = state.e, base = plainRun(), changed = active.length ? rerun(p, e, state.clamps, state.swap) : base, n = steps();
  const total = (run) => run.losses.reduce((a, b) => a + b, 0);
  if (base.losses) body.append(el("p", { class: "sum", id: "whatif-loss" }, active.length ? T("loss_change", say(total(base)), say(total(changed)), sign(total(changed) - total(base))) : T("nothing_held", say(total(base)))));
  if (base.said && p.kind === "class") {
    const best = (run, t) => run.said[t].indexOf(Math.max(...run.said[t]));
    const differs = over(n, (t) => t).filter((t) => p.scored[t][e] && best(base, t) !== best(changed, t));
    body.append(el("p", { class: "small" }, T("predictions_differ", differs.length, over(n, (t) => t).filter((t) => p.scored[t][e]).length), differs.slice(0, 14).map((t) => el("bdi", {}, `  t ${t}: ${p.words[best(base, t)]} → ${p.words[best(changed, t)]};`))));
  }
  const leaf = p.keep ? p.keep.leaf : "h", panels = [];
  const unitOf = (run) => over(n, (t) => run.carry[leaf][t * p.H + state.u]);
  panels.push([`${leaf}[${state.u}]`, unitOf(base), unitOf(changed)]);
  if (base.losses) panels.push([T("loss_per_step"), base.losses.map((v, t) => (p.scored[t][e] ? v : NaN)), changed.losses.map((v, t) => (p.scored[t][e] ? v : NaN))]);
  else panels.push(["‖h‖", over(n, (t) => Math.hypot(...base.carry.h.subarray(t * p.H, t * p.H + p.H))), over(n, (t) => Math.hypot(...changed.carry.h.subarray(t * p.H, t * p.H + p.H)))]);
  if (base.said && p.kind === "value") panels.push([T("predicted"), base.said.map((y) => y[0]), changed.said.map((y) => y[0])]);
  const places = boxes(body, panels.length);
  for (const [name, was, is] of panels) {
    const box = places.shift(), series = [{ name: T("as_trained"), values: was, ink: "var(--soft)", dash: true }, { name: T("held"), values: is, ink: INKS[1] }];
    box.append(caption(name, key(series)));
    chart(box, { series, x: [0, n - 1], across: true, mark: state.t, height: 100, label: `${T("whatif")}: ${name}`, pick: pickTime, leave: rest, hover: (t) => read(`t ${t} “${label(t)}”   ${name}: ${say(was[t])} → ${say(is[t])}`) });
  }
  if (p.atlas) atlas(body, p);
  note(body, "not_retrained");
} };
const memory = {};
function atlas(body, p) {
  const a = p.atlas, v = floats(a.change), order = units(), most = Math.max(1e-9, ...Array.from(v).map(Math.abs));
  const names = a.gates.flatMap((g) => a.values.map((x) => `${g} := ${x === "mean" ? T("its_mean") : x}`)), of = (r, c) => v[r * p.H + order[c]];
  body.append(caption(T("atlas"), scaleBar(MAPS.signed, say3(-most), say3(most))));
  heat(body, { rows: names.length, columns: p.H, left: 90, map: MAPS.signed, low: -most, high: most, label: T("atlas"), rowNames: names, column: order.indexOf(state.u), height: 14 * names.length, value: of, pick: (r, c) => change({ u: order[c] }), leave: rest, hover: (r, c) => read(`${names[r]}   ${T("unit")} ${unitNo(order[c])}   Δ ${T("loss")} ${say(of(r, c))}`) });
}

VIEWS.equation = { wide: true, has: () => true, draw(body) {
  const p = part(), e = state.e, t = state.t, u = state.u;
  body.append(el("p", {}, T("equation_at", t, unitNo(u)), " ", el("bdi", {}, `“${label(t)}”`)));
  if (!p.live) {
    note(body, "not_live_equations");
    body.append(el("div", {}, [...Object.keys(p.gates).map((g) => gateLine(p, e, g, t, u)), ...Object.keys(p.carries).map((l) => leafLine(p, e, l, t, u))].map((line) => el("p", { class: "num" }, line))));
    return;
  }
  const forms = { i: "i_t = σ ( x_t W_i + h_t−1 U_i + b_i )", f: "f_t = σ ( x_t W_f + h_t−1 U_f + b_f )", g: "g_t = tanh ( x_t W_g + h_t−1 U_g + b_g )", o: "o_t = σ ( x_t W_o + h_t−1 U_o + b_o )", r: "r_t = σ ( x_t W_r + h_t−1 U_r + b_r )", z: "z_t = σ ( x_t W_z + h_t−1 U_z + b_z )", n: p.live.cell === "gru_cho" ? "n_t = tanh ( x_t W_n + b_n + ( r_t ⊙ h_t−1 ) U_n )" : "n_t = tanh ( x_t W_n + b_n + r_t ⊙ ( h_t−1 U_n + b_hn ) )", a: "a_t = x_t W + h_t−1 U + b",
    "lstm c": "c_t = f_t ⊙ c_t−1 + i_t ⊙ g_t", "lstm h": "h_t = o_t ⊙ tanh ( c_t )", "gru h": "h_t = z_t ⊙ h_t−1 + ( 1 − z_t ) ⊙ n_t", "rnn h": p.live.cell === "rnn_relu" ? "h_t = relu ( a_t )" : "h_t = tanh ( a_t )" };
  const grid = el("div", { class: "pair" });
  body.append(grid);
  for (const g of CELLS[p.live.cell].names) {
    const a = preActivation(p, e, g, t, u), top = a.terms.slice(0, 4).map((x) => `${x.name}·U = ${say3(x.value)}·${say3(x.weight)} = ${say3(x.product)}`.replace("·U", x.name.startsWith("x") ? "·W" : "·U"));
    const box = el("div", {}, el("div", { class: "eq" }, math(forms[g])), el("p", { class: "num" }, gateLine(p, e, g, t, u)));
    if (top.length) box.append(el("p", { class: "num small" }, `${T("largest")}: ${top.join(";  ")}`));
    box.append(el("details", {}, el("summary", { class: "small" }, T("snippet", g)), el("pre", { tabindex: 0, role: "region", "aria-label": T("snippet", g) }, snippet(p, e, g, t, u))));
    grid.append(box);
  }
  for (const leaf of [...CELLS[p.live.cell].carry].reverse()) {
    grid.append(el("div", {}, el("div", { class: "eq" }, math(forms[`${p.equations} ${leaf}`])), el("p", { class: "num" }, leafLine(p, e, leaf, t, u))));
  }
} };

VIEWS.compare = { wide: true, has: () => DATA.compare, draw(body) {
  const parts = DATA.parts, c = DATA.compare;
  body.append(table([T("cell"), "H", T("parameters"), T("loss"), T("accuracy"), T("half_median")], parts.map((p, n) => [p.name, p.H, c.parameters[n], say(c.loss[n]), c.accuracy[n] === null ? "—" : `${(100 * c.accuracy[n]).toFixed(1)}%`, p.half ? (p.half.median === null ? `>${Math.max(...p.lengths)}` : say3(p.half.median)) : T("no_keep")]), [1, 2, 3, 4, 5]));
  const [a, b] = boxes(body, 2);
  const curves = parts.map((p) => ({ name: p.name, values: Array.from(floats(p.history.losses)), at: Array.from(floats(p.history.steps)) }));
  a.append(caption(T("training_loss"), key(curves)));
  chart(a, { series: curves, log: true, x: [0, Math.max(...curves.flatMap((s) => s.at))], height: 140, label: T("training_loss") });
  if (parts.every((p) => p.flow)) {
    const flows = parts.map((p) => { const leaf = p.keep ? p.keep.leaf : Object.keys(p.flow.norms)[0]; return { name: `${p.name} ‖∂L/∂${leaf}‖`, values: over(p.lengths[state.e], (t) => floats(p.flow.norms[leaf])[t * p.B + state.e]) }; });
    b.append(caption(T("flow"), key(flows)));
    chart(b, { series: flows, log: true, x: [0, steps() - 1], across: true, mark: state.t, height: 140, label: T("flow"), pick: pickTime, leave: rest, hover: (t) => read(`t ${t} “${label(t)}”   ${flows.map((s) => `${s.name} ${say(s.values[t])}`).join("   ")}`) });
  }
  const places = boxes(body, parts.length);
  parts.forEach((p, n) => {
    const leaf = p.keep ? p.keep.leaf : Object.keys(p.carries)[0], box = places[n], most = Math.max(1e-6, ...over(p.lengths[state.e], (t) => Math.max(...over(p.H, (u) => Math.abs(at(p.carries[leaf], t, u, p))))));
    box.append(caption(`${p.name}: ${leaf}`, scaleBar(MAPS.signed, say3(-most), say3(most))));
    heat(box, { rows: p.H, columns: p.lengths[state.e], map: MAPS.signed, low: -most, high: most, height: 100, left: 12, right: 1, label: `${p.name}: ${leaf}`, column: state.t, value: (r, t) => at(p.carries[leaf], t, p.order[r], p), pick: (r, t) => change({ p: n, u: p.order[r], t }), leave: rest, hover: (r, t) => read(`${p.name}   t ${t} “${label(t, p)}”   ${leafLine(p, state.e, leaf, t, p.order[r])}`) });
  });
} };

VIEWS.replay = { has: () => part().replay, draw(body) {
  const p = part(), r = p.replay, n = r.steps.length, s = Math.max(0, Math.min(n - 1, state.snap || n - 1));
  const logged = r.steps.map((v) => Math.log10(v + 1));
  body.append(caption(`${T("snapshot_at", r.steps[s])} — ${T("loss")} ${say(r.loss[s])}`));
  chart(body, { series: [{ name: T("loss"), values: r.loss, at: logged, dots: 3 }, { name: "", values: [r.loss[s]], at: [logged[s]], dots: 5, dotsOnly: true, ink: INKS[1] }], log: true, x: [0, logged[n - 1]], height: 100, label: T("training_loss"), xTicks: logged.filter((_, k) => k % Math.ceil(n / 5) === 0), xName: (v) => String(Math.round(10 ** v - 1)) });
  body.append(el("input", { type: "range", min: 0, max: n - 1, value: s, id: "snap", "aria-label": T("replay"), style: "width:100%", oninput: (event) => change({ snap: Number(event.target.value) }) }));
  const series = Object.keys(r.histograms).map((g) => { const a = r.histograms[g], bins = a.shape[1]; return { name: g, values: Array.from(floats(a).slice(s * bins, s * bins + bins)) }; });
  if (series.length) {
    const bins = series[0].values.length;
    body.append(caption(T("histogram"), key(series)));
    chart(body, { series, x: [0, bins - 1], across: true, low: 0, height: 110, label: T("histogram"), xTicks: [0, (bins - 1) / 2, bins - 1], xName: (v) => say(v / (bins - 1)) });
  }
  const means = Object.keys(r.means).map((g) => ({ name: g, values: Array.from(floats(r.means[g])), at: logged }));
  body.append(caption(T("mean_gates"), key(means)));
  chart(body, { series: means, x: [0, logged[n - 1]], height: 90, label: T("mean_gates"), xTicks: logged.filter((_, k) => k % Math.ceil(n / 5) === 0), xName: (v) => String(Math.round(10 ** v - 1)) });
} };

// ---- the self-check: what Python found, and this page's cell against JAX ----
let checked = null; // the numbers do not change
function check() {
  if (checked) return checked;
  const found = [];
  for (const p of DATA.parts) {
    if (!p.live) continue;
    let worst = 0;
    const look = (a, b) => { const d = Math.abs(a - b); if (!(d <= worst)) worst = d; };
    for (let e = 0; e < p.B; e++) {
      const run = plainRun(p, e), n = p.lengths[e];
      for (const [from, to] of [[p.gates, run.gates], [p.carries, run.carry]]) {
        for (const name of Object.keys(to)) for (let t = 0; t < n; t++) for (let u = 0; u < p.H; u++) look(at(from[name], t, u, p, e), to[name][t * p.H + u]);
      }
      if (run.losses) run.losses.forEach((v, t) => look(v, floats(p.losses)[t * p.B + e]));
    }
    found.push({ id: "js", part: p.name, error: worst, tolerance: TOLERANCE, ok: worst <= TOLERANCE });
  }
  checked = found;
  return found;
}
function footer() {
  const found = [...DATA.checks, ...check()], good = found.every((c) => c.ok), node = byId("checks");
  node.replaceChildren(el("h2", {}, T("checks")), el("p", { id: "verdict", class: good ? "ok" : "no" }, good ? `✓ ${T("all_hold", found.length)}` : `✗ ${T("some_fail", found.filter((c) => !c.ok).length)}`),
    el("details", {}, el("summary", {}, T("each_check")), table([T("check"), T("part"), T("error"), T("allowed"), ""], found.map((c) => [T(`check.${c.id}`), c.part || "", say3(c.error), say3(c.tolerance), el("span", { class: c.ok ? "ok" : "no" }, c.ok ? "✓" : "✗")]), [2, 3])));
  for (const id of DATA.thinned) node.append(el("p", { class: "small" }, T("thinned", T(`thin.${id}`))));
  const about = DATA.about;
  node.append(el("p", { class: "small num" }, `jaxseq ${about.jaxseq} · jax ${about.jax} · ${T("seed")} ${about.seed} · ${T("hash")} ${about.hash} · ${about.command}`));
}

// ---- the page ----
function draw() {
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  document.documentElement.dataset.theme = state.theme;
  const open = new Set([...document.querySelectorAll("details[open]")].map((d, n) => d.dataset.key));
  const focused = document.activeElement && document.activeElement.id;
  tools();
  for (const [id, view] of Object.entries(VIEWS)) {
    const section = byId(`v-${id}`), has = Boolean(view.has());
    section.querySelector("h2").textContent = T(id);
    section.querySelector(".how").textContent = T(`${id}.how`);
    const body = section.querySelector(".body");
    body.replaceChildren();
    section.hidden = !has && !["ledger", "half", "timelines"].includes(id);
    if (has) view.draw(body);
    else if (!section.hidden) note(body, `${id}.none`, part().name);
    [...section.querySelectorAll("details")].forEach((d, n) => { d.dataset.key = `${id}${n}`; d.open = open.has(d.dataset.key); });
  }
  footer();
  rest();
  if (focused && byId(focused)) byId(focused).focus({ preventScroll: true });
}
function group(name, options, chosen, pick) {
  return el("fieldset", {}, el("legend", {}, name), options.map(([value, text]) => el("button", { type: "button", id: `pick-${value}`, "aria-pressed": value === chosen ? "true" : "false", onclick: () => pick(value) }, text)));
}
function tools() {
  const p = part(), box = byId("tools");
  box.replaceChildren();
  if (DATA.parts.length > 1) box.append(group(T("part"), DATA.parts.map((q, n) => [`p${n}`, TEXTS.en[`part.${q.name}`] ? T(`part.${q.name}`) : q.name]), `p${state.p}`, (v) => change({ p: Number(v.slice(1)), pins: [], clamps: [], swap: null })));
  if (p.B > 1) box.append(group(T("example"), over(p.B, (n) => [`e${n}`, String(n + 1)]), `e${state.e}`, (v) => change({ e: Number(v.slice(1)) })));
  box.append(el("label", {}, T("unit"), el("input", { type: "number", id: "unit", min: 0, max: p.H - 1, value: state.u, onchange: (event) => change({ u: Number(event.target.value) || 0 }) })));
  const pinned = state.pins.includes(state.u);
  box.append(el("button", { type: "button", id: "pin", "aria-pressed": pinned ? "true" : "false", onclick: () => change({ pins: pinned ? state.pins.filter((u) => u !== state.u) : [...state.pins, state.u].slice(-4) }) }, T("pin")));
  box.append(el("button", { type: "button", id: "lang", lang: state.lang === "zh" ? "en" : "zh-CN", onclick: () => change({ lang: state.lang === "zh" ? "en" : "zh" }) }, state.lang === "zh" ? "English" : "中文"));
  box.append(el("button", { type: "button", id: "theme", onclick: () => change({ theme: state.theme === "dark" ? "light" : "dark" }) }, T(state.theme === "dark" ? "light" : "dark")));
  const range = byId("scrub");
  range.max = steps() - 1;
  range.value = state.t;
  range.setAttribute("aria-label", T("time"));
  range.setAttribute("aria-valuetext", `t ${state.t} ${label(state.t)}`);
}
function keys(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const busy = event.target.closest("input, select, textarea, pre");
  if (busy && !(busy.id === "scrub" && event.key.startsWith("Arrow"))) return;
  const order = units(), at = order.indexOf(state.u), move = { ArrowLeft: { t: state.t - 1 }, ArrowRight: { t: state.t + 1 }, Home: { t: 0 }, End: { t: steps() - 1 },
    ArrowUp: { u: order[Math.max(0, at - 1)] }, ArrowDown: { u: order[Math.min(order.length - 1, at + 1)] } }[event.key];
  if (!move) return;
  event.preventDefault();
  change(move);
}
function begin() {
  readHash();
  byId("static").remove();
  const main = byId("main");
  main.append(el("div", { class: "bar" }, el("div", { class: "tools", id: "tools" }), el("input", { type: "range", id: "scrub", min: 0, step: 1, oninput: (event) => change({ t: Number(event.target.value) }) }), el("p", { class: "read", id: "read", role: "status" })),
    el("div", { class: "views" }, Object.entries(VIEWS).map(([id, view]) => el("section", { class: `view${view.wide ? " wide" : ""}`, id: `v-${id}`, "aria-labelledby": `h-${id}` }, el("h2", { id: `h-${id}` }), el("p", { class: "how" }), el("div", { class: "body" })))));
  document.body.append(el("footer", { id: "checks" }));
  document.addEventListener("keydown", keys);
  addEventListener("hashchange", () => { readHash(); draw(); });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  draw();
}
begin();
})();
