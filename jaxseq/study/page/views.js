"use strict";
// The views, each drawn anew from the state.
// ---- reading out what the pointer is on ----
function read(text) { byId("read").textContent = text; }
function rest() {
  const p = part(), u = state.u, t = state.t, leaf = mainLeaf(), gate = mainGate();
  read([`t ${t} “${label(t)}”`, gate && gateLine(p, state.e, gate, t, u), leaf && leafLine(p, state.e, leaf, t, u)].filter(Boolean).join("   "));
}
const readGate = (g) => (t, u) => read(`t ${t} “${label(t)}”   ${gateLine(part(), state.e, g, t, u)}`);

// ---- views ----
const VIEWS = {};
const memory = {}; // what forms were left at
function caption(name, right) { return el("div", { class: "cap" }, el("span", {}, name), right || ""); }
function note(body, id, ...values) { body.append(el("p", { class: "small" }, T(id, ...values))); }
const pickTime = (t) => change({ t });
function boxes(body, count, kind = "pair") { // laid out before anything is drawn into them, so that their widths are known
  const made = over(count, () => el("div"));
  body.append(el("div", { class: kind }, made));
  return made;
}
const along = () => ({ x: [0, steps() - 1], across: true, mark: state.t, pick: pickTime, leave: rest }); // a chart over time
const readAll = (series) => (t) => read(`t ${t} “${label(t)}”   ${series.map((s) => `${s.name} ${Number.isFinite(s.values[t]) ? say(s.values[t]) : "—"}`).join("   ")}`);

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
      if (!here && (from < free + 1.5 || (from < reserved[1] + 1.5 && from + 2 * half > reserved[0] - 1.5))) return;
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
    const series = [{ name: T("expected"), values: over(n, (t) => (p.scored[t][e] ? targetOf(p, t, e)[0] : NaN)), ink: INKS[0], dots: 3 }, { name: T("predicted"), values: over(n, (t) => at(p.predictions, t, 0)), ink: INKS[1], dash: true }];
    if (p.xs && p.xs.shape[2] <= 3) over(p.xs.shape[2], (d) => series.unshift({ name: p.xs.shape[2] > 1 ? `${T("input")} ${d}` : T("input"), values: track(p.xs, d), ink: d ? INKS[3] : "var(--soft)", thin: true }));
    body.append(caption("", key(series)));
    chart(body, { series, x: [0, n - 1], across: true, mark: state.t, height: 120, label: T("strip"), xName: (t) => "", pick: pickTime, hover: readAll(series), leave: rest });
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

function unitsOverTime(box, name, values, bounds, readOff, p = part(), height = 130) {
  const [map, low, high] = mapOf(values, bounds, p), order = p.order, mine = p === part();
  box.append(caption(name, scaleBar(map, say3(low), say3(high))));
  heat(box, { rows: p.H, columns: p.lengths[state.e], map, low, high, label: T("heat_label", name, p.H, p.lengths[state.e]), row: mine ? order.indexOf(state.u) : -1, column: state.t, height, left: 12, right: 1,
    value: (r, t) => at(values, t, order[r], p), hover: (r, t) => readOff(t, order[r]), leave: rest, pick: (r, t) => change({ p: DATA.parts.indexOf(p), t, u: order[r] }) });
}
const leafName = (leaf) => `${leaf}  ${T(TEXTS.en[`leaf.${leaf}`] ? `leaf.${leaf}` : "leaf.other")}`;

VIEWS.timelines = { wide: true, has: () => Object.keys(part().gates).length, draw(body) {
  const p = part(), count = Object.keys(p.gates).length + Object.keys(p.carries).length, free = boxes(body, count, count % 4 ? "pair" : "triple");
  for (const [g, values] of Object.entries(p.gates)) unitsOverTime(free.shift(), gateName(g), values, p.ranges[g], readGate(g));
  for (const [leaf, values] of Object.entries(p.carries)) {
    unitsOverTime(free.shift(), leafName(leaf), values, null, (t, u) => read(`t ${t} “${label(t)}”   ${leafLine(p, state.e, leaf, t, u)}`));
  }
  const pins = [...new Set([state.u, ...state.pins])].slice(0, 5), main = mainGate(), leaf = mainLeaf();
  const lines = [main && [gateName(main), p.gates[main], p.ranges[main]], leaf && [leafName(leaf), p.carries[leaf], null]].filter(Boolean), places = boxes(body, lines.length);
  for (const [name, a, bounds] of lines) {
    const box = places.shift(), series = pins.map((u) => ({ name: `${T("unit")} ${unitNo(u)}`, values: track(a, u) }));
    box.append(caption(`${T("pinned")}: ${name}`, key(series)));
    chart(box, { ...along(), series, low: bounds ? bounds[0] : undefined, high: bounds ? bounds[1] : undefined, height: 100, label: `${T("pinned")}: ${name}`, hover: readAll(series) });
  }
} };

VIEWS.ledger = { has: () => part().keep && part().carries[part().keep.leaf], draw(body) {
  const p = part(), u = state.u, k = p.keep, t = state.t, line = lineOf(p, `${k.leaf}'`), shows = shownBy(p);
  const forms = [line, shows && shows.line].filter(Boolean);
  if (forms.length) body.append(el("div", { class: "row eqs" }, forms.map((l) => math(`${l.shown} = ${l.form}`))));
  const { kept: keptHere, written: writtenHere, now } = ledgerOf(u);
  const names = halves(line, k.leaf);
  const rows = [{ name: `${T("kept")} ${names[0]}`, value: keptHere[t], ink: INKS[0] }, { name: `+ ${T("written")} ${names[1]}`, value: writtenHere[t], ink: INKS[1] }, { name: `= ${k.leaf}`, value: now[t], ink: "var(--ink)" }];
  const series = [{ name: T("kept"), values: keptHere, ink: INKS[0] }, { name: T("written"), values: writtenHere, ink: INKS[1] }, { name: `${k.leaf} = ${T("sum")}`, values: now, ink: "var(--ink)", thin: true }];
  if (shows) rows.push({ name: `→ tanh(${k.leaf})`, value: Math.tanh(now[t]), ink: INKS[3] }, { name: `× ${shows.gate} ${say3(at(p.gates[shows.gate], t, u))} = h`, value: at(p.carries.h, t, u), ink: INKS[2] });
  body.append(caption(`${T("at_step", t)}, ${T("unit")} ${unitNo(u)}`), bars(rows, T("ledger")));
  body.append(caption(T("over_time"), key(series)));
  chart(body, { ...along(), series, height: 120, floor: 0, label: T("ledger"), hover: readAll(series) });
  if (!shows) return;
  const second = [{ name: `tanh(${k.leaf})`, values: now.map(Math.tanh), ink: INKS[3], dash: true }, { name: shows.gate, values: track(p.gates[shows.gate], u), ink: "var(--soft)", thin: true }, { name: `h = ${shows.gate}·tanh(${k.leaf})`, values: track(p.carries.h, u), ink: INKS[2] }];
  body.append(caption(T("shown"), key(second)));
  chart(body, { ...along(), series: second, low: -1, high: 1, floor: 0, height: 90, label: T("shown"), hover: readAll(second) });
} };

VIEWS.saturation = { has: () => part().saturation && Object.keys(part().saturation).length, draw(body) {
  const p = part(), names = Object.keys(p.saturation), series = names.map((g, n) => ({ name: g, ink: INKS[n % 5], values: Array.from(floats(p.saturation[g].histogram)) }));
  const bins = series[0].values.length, [a, b] = boxes(body, 2, "twin");
  a.append(caption(T("histogram"), key(series)));
  chart(a, { series, x: [0, bins - 1], across: true, low: 0, height: 160, label: T("histogram"), xTicks: [0, (bins - 1) / 2, bins - 1], xName: (v) => say(v / (bins - 1)), hover: (n) => read(`${say3(n / bins)} – ${say3((n + 1) / bins)}   ${series.map((s) => `${s.name} ${(100 * s.values[n]).toFixed(1)}%`).join("   ")}`), leave: rest });
  b.append(caption(T("closed_open")));
  const points = [], whose = [];
  names.forEach((g, n) => over(p.H, (u) => { points.push([floats(p.saturation[g].closed)[u], floats(p.saturation[g].open)[u], INKS[n % 5], u === state.u ? 5 : 2.6]); whose.push([g, u]); }));
  cloud(b, { points, x: [-.03, 1.03], y: [-.03, 1.03], height: 140, label: T("closed_open"), xName: T("below"), yName: T("above"), hover: (n) => read(`${whose[n][0]}[${whose[n][1]}]   ${T("below")}: ${(100 * points[n][0]).toFixed(0)}%   ${T("above")}: ${(100 * points[n][1]).toFixed(0)}%`), pick: (n) => change({ u: whose[n][1] }) });
} };

const rounded = (v, digits) => (Number.isFinite(v) ? say(Number(v.toFixed(digits)), 9) : say(v)); // no digit that the steps do not support
const factor = (v) => (v === null ? "0" : say(Math.exp(v), 3)); // of nats; JSON has no -Infinity
const flowOf = (p, leaf) => over(p.lengths[state.e], (t) => floats(p.flow.norms[leaf])[t * p.B + state.e]);
VIEWS.flow = { has: () => part().flow, draw(body) {
  const p = part(), n = steps(), f = p.flow, names = Object.keys(f.norms);
  const series = names.map((leaf) => ({ name: `‖∂L/∂${leaf}‖`, values: flowOf(p, leaf) }));
  body.append(caption(T("norm_of_gradient"), key(series)));
  chart(body, { ...along(), series, log: true, height: 130, label: T("flow"), hover: readAll(series) });
  for (const [leaf, rows] of Object.entries(f.lags)) {
    const v = rows[state.e];
    if (v.word === "undefined") note(body, "slope.none", leaf);
    else note(body, "slope", leaf, factor(v.slope), factor(v.lowest), factor(v.highest), v.losses, v.span, T(v.word));
  }
  if (p.jacobian && state.e === 0) note(body, "slope.most", factor(floats(p.jacobian.lyapunov)[0]));
  if (!f.triangle) return;
  const a = f.triangle, v = floats(a), S = f.steps.length, rows = over(S, (s) => s).filter((s) => f.steps[s] < n);
  const norm = (s, t) => v[(state.e * S + s) * a.shape[2] + t], logs = (r, t) => { const x = norm(rows[r], t); return t <= f.steps[rows[r]] && x > 0 ? Math.log10(x) : NaN; };
  const all = over(rows.length, (r) => over(n, (t) => logs(r, t))).flat().filter(Number.isFinite);
  if (!all.length) return;
  const high = Math.max(...all), low = Math.max(Math.min(...all), high - 8);
  body.append(caption(T("triangle", f.leaf), scaleBar(MAPS.size, `${Math.min(...all) < low ? "≤ " : ""}${say(10 ** low, 2)}`, say(10 ** high, 2))));
  heat(body, { rows: rows.length, columns: n, map: MAPS.size, low, high, label: T("triangle", f.leaf), row: rows.findIndex((s) => f.steps[s] === state.t), rowNames: rows.map((s) => `L ${f.steps[s]}`), column: state.t, height: Math.max(14 * Math.min(rows.length, 3), 160), value: logs, pick: (r, t) => change({ t }), leave: rest,
    hover: (r, t) => read(`‖∂L[${f.steps[rows[r]]}] / ∂${f.leaf}[${t}]‖   ${t > f.steps[rows[r]] ? T("later") : say(norm(rows[r], t))}`) });
} };

VIEWS.jacobian = { has: () => part().jacobian, draw(body) {
  const p = part(), j = p.jacobian, count = j.steps.length;
  const near = over(count, (k) => k).reduce((best, k) => (Math.abs(j.steps[k] - state.t) < Math.abs(j.steps[best] - state.t) ? k : best), 0), t = j.steps[near];
  const [a, b] = boxes(body, 2, "twin");
  const size = j.real.shape[1], re = floats(j.real), im = floats(j.imag), points = over(size, (k) => [re[near * size + k], im[near * size + k]]);
  const far = Math.max(1.15, ...points.map(([x, y]) => Math.max(Math.abs(x), Math.abs(y)))) * 1.05;
  a.append(caption(T("eigenvalues", t)));
  cloud(a, { points, x: [-far, far], y: [-far, far], circle: true, square: true, height: 180, label: T("eigenvalues", t), xName: "Re λ", yName: "Im λ", leave: rest, hover: (k) => read(`λ = ${say(points[k][0])} ${sign(points[k][1])} i   |λ| = ${say(Math.hypot(...points[k]))}`) });
  const series = [{ name: T("radius"), values: Array.from(floats(j.radius)), at: j.steps }, { name: T("largest_singular"), values: Array.from(floats(j.singular)), at: j.steps, dash: true }];
  b.append(key(series));
  chart(b, { floor: 1, low: 0, series, x: [0, j.steps[count - 1]], across: true, mark: t, height: 165, label: T("radius"), pick: pickTime, leave: rest });
  note(body, "lyapunov", Array.from(floats(j.lyapunov)).map((v) => rounded(v, j.decimals)).join(", "));
} };

VIEWS.half = { has: () => part().half, draw(body) {
  const p = part(), h = p.half, life = floats(h.life), order = units(), longest = h.longest, cap = longest * 1.3, n = steps();
  const high = (u) => Math.log10(Math.max(.1, h.censored[u] ? cap : life[u])), name = (u) => (h.censored[u] ? `>${longest}` : say3(life[u]));
  const points = order.map((u, k) => [k, high(u), h.censored[u] ? INKS[1] : INKS[0], u === state.u ? 5 : 2.6]);
  const [a, b] = boxes(body, 2, "stack");
  a.append(caption(T("half_axis"), key([{ name: T("seen"), ink: INKS[0] }, { name: `>${longest}`, ink: INKS[1] }])));
  cloud(a, { points, x: [-.5, p.H - .5], y: [-1.05, Math.log10(cap) + .06], height: 150, label: T("half"), xName: T("units_sorted"), yName: T("steps"), yTicks: [-1, 0, 1, 2, 3, 4].filter((v) => v <= Math.log10(cap)), yTick: (v) => `${v === -1 && life.some((x, u) => !h.censored[u] && x < .1) ? "≤ " : ""}${powerOf(10 ** v)}`, leave: rest,
    hover: (k) => read(`${T("unit")} ${unitNo(order[k])}   ${T("half_short")} ${name(order[k])}   ${T("mean_keep")} ${say(floats(h.mean)[order[k]])}   = ln ½ / ln ${say(floats(h.mean)[order[k]])}`), pick: (k) => change({ u: order[k] }) });
  const left = survivalOf();
  b.append(caption(T("survival"), scaleBar(MAPS.gate, 0, 1)));
  heat(b, { rows: p.H, columns: n, map: MAPS.gate, low: 0, high: 1, label: T("survival"), row: order.indexOf(state.u), column: state.t, height: 150,  value: (r, t) => left[t][order[r]], pick: (r, t) => change({ t, u: order[r] }), leave: rest, hover: (r, t) => read(`${T("unit")} ${unitNo(order[r])}   ∏ ${p.keep.inverted ? `(1−${p.keep.gate})` : p.keep.gate}[${t + 1} … ${n - 1}] = ${say(left[t][order[r]])}`) });
  note(body, "half_pooled", h.sequences, h.steps, h.longest, h.outlast, h.of, h.lag);
  note(body, "half_of", unitNo(state.u), name(state.u), say(floats(h.mean)[state.u]));
} };

VIEWS.attention = { has: () => part().attention, draw(body) {
  const p = part(), a = p.attention, e = state.e, S = p.attention.source[e].length, n = steps(), w = (t, s) => at(a.weights, t, s);
  const source = a.source[e].map(isolated), words = over(n, (t) => (p.kind === "class" ? isolated(p.words[p.targets[t][e]]) : label(t)));
  body.append(caption(T("attention_map"), scaleBar(MAPS.size, 0, 1)));
  heat(body, { rows: n, columns: S, map: MAPS.size, low: 0, high: 1, label: T("attention_map"), left: 90, square: true, columnNames: source, row: state.t, rowNames: words, value: w, pick: (t) => change({ t }), leave: rest, hover: (t, s) => read(`“${words[t]}” ← “${source[s]}”   ${say(w(t, s))}${a.parts ? `   ${T("score")} ${say(floats(a.scores)[(t * p.B + e) * a.scores.shape[2] + s])}   ${T("largest")} ${largest(t, s)}` : ""}`) });
  function largest(t, s) { const k = a.parts.shape[3], v = floats(a.parts); return over(k, (m) => [v[((t * p.B + e) * a.parts.shape[2] + s) * k + m], floats(a.units)[((t * p.B + e) * a.parts.shape[2] + s) * k + m]]).map(([x, m]) => `[${m}] ${say3(x)}`).join(", "); }
  body.append(el("p", { class: "small" }, T("source_at", state.t), " ", source.map((word, s) => el("bdi", { style: `font-weight:${w(state.t, s) > .3 ? 700 : 400};color:${w(state.t, s) > .1 ? "var(--ink)" : "var(--soft)"}` }, ` ${word}`))));
  const entropy = over(n, (t) => floats(a.entropy)[t * p.B + e]), coverage = over(S, (s) => floats(a.coverage)[e * a.coverage.shape[1] + s]);
  const [x, y] = boxes(body, 2, "twin");
  x.append(caption(T("entropy")));
  chart(x, { series: [{ name: T("entropy"), values: entropy, dots: 2 }], x: [0, n - 1], across: true, low: 0, high: Math.log(Math.max(2, S)), mark: state.t, height: 90, label: T("entropy"), pick: pickTime, leave: rest, hover: (t) => read(`“${words[t]}”   ${T("entropy")} ${say(entropy[t])}`) });
  y.append(caption(T("coverage")));
  chart(y, { series: [{ name: T("coverage"), values: coverage, dots: 2, ink: INKS[2] }], x: [0, S - 1], across: true, low: 0, height: 90, label: T("coverage"), leave: rest, hover: (s) => read(`“${source[s]}”   ${T("coverage")} ${say(coverage[s])}`) });
} };

const total = (run) => run.losses.reduce((a, b) => a + b, 0);
const QUICK = 3e7; // multiplications of a run below which all presets are tried at once
VIEWS.whatif = { wide: true, has: () => true, draw(body) {
  const p = part();
  const gates = heldGates(p);
  if (!gates.length) { note(body, "not_live", p.live ? T("why.gates") : T(`why.${p.why}`, p.why_text)); if (p.atlas) atlas(body, p); return; }
  const add = (c) => change({ clamps: [...state.clamps.filter((o) => o.gate !== c.gate || o.unit !== c.unit), c] });
  const presets = [];
  if (p.keep && gates.includes(p.keep.gate)) {
    presets.push(["never_forget", { gate: p.keep.gate, unit: null, value: p.keep.inverted ? 0 : 1 }], ["forget_all", { gate: p.keep.gate, unit: null, value: p.keep.inverted ? 1 : 0 }]);
  }
  if (coupled(p)) presets.push(["coupled", { gate: "i", unit: null, value: "1-f" }]);
  if (shownBy(p)) presets.push(["shut_out", { gate: shownBy(p).gate, unit: null, value: 1 }]);
  if (gates.includes("r")) presets.push(["reset_one", { gate: "r", unit: null, value: 1 }]);
  body.append(el("div", { class: "row" }, presets.map(([id, c]) => el("button", { type: "button", id: `preset-${id}`, onclick: () => add(c) }, T(id))), el("button", { type: "button", id: "whatif-clear", onclick: () => change({ clamps: [], swap: null }) }, T("clear"))));
  const presetRuns = () => presets.map(([id, c]) => ({ name: T(id), value: total(rerun(p, state.e, [c])) - total(plainRun()) }));
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
  if (base.losses) body.append(el("p", { class: "sum", id: "whatif-loss" }, active.length ? Number.isFinite(total(changed)) ? T("loss_change", say(total(base)), say(total(changed)), sign(total(changed) - total(base))) : T("loss_undefined", say(total(base))) : T("nothing_held", say(total(base)))));
  if (base.losses && presets.length && n * weighs(p) < QUICK) body.append(caption(T("preset_effects")), bars(presetRuns(), T("preset_effects")));
  if (base.said && p.kind === "class") {
    const best = (run, t) => run.said[t].indexOf(Math.max(...run.said[t]));
    const differs = over(n, (t) => t).filter((t) => p.scored[t][e] && best(base, t) !== best(changed, t));
    body.append(el("p", { class: "small" }, T("predictions_differ", differs.length, over(n, (t) => t).filter((t) => p.scored[t][e]).length), differs.slice(0, 14).map((t) => el("bdi", {}, `  t ${t}: ${p.words[best(base, t)]} → ${p.words[best(changed, t)]};`))));
  }
  const leaf = mainLeaf(p), panels = [];
  const unitOf = (run) => over(n, (t) => run.carry[leaf][t * p.H + state.u]);
  panels.push([`${leaf}[${state.u}]`, unitOf(base), unitOf(changed)]);
  if (base.losses) panels.push([T("loss_per_step"), base.losses.map((v, t) => (p.scored[t][e] ? v : NaN)), changed.losses.map((v, t) => (p.scored[t][e] ? v : NaN))]);
  else panels.push([`‖${leaf}‖`, ...[base, changed].map((run) => over(n, (t) => Math.hypot(...run.carry[leaf].subarray(t * p.H, t * p.H + p.H))))]);
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
function atlas(body, p) {
  const a = p.atlas, v = floats(a.change), order = units(), defined = Array.from(v).filter(Number.isFinite);
  const most = Math.max(1e-9, ...defined.map(Math.abs)), lost = v.length - defined.length;
  const names = a.gates.flatMap((g) => a.values.map((x) => `${g} := ${x === "mean" ? T("its_mean") : x}`)), of = (r, c) => v[r * p.H + order[c]];
  body.append(caption(T("atlas"), scaleBar(MAPS.signed, say3(-most), say3(most))));
  heat(body, { rows: names.length, columns: p.H, left: 92, map: MAPS.signed, low: -most, high: most, label: T("atlas"), rowNames: names, column: order.indexOf(state.u), height: 14 * names.length, value: of, pick: (r, c) => change({ u: order[c] }), leave: rest, hover: (r, c) => read(`${names[r]}   ${T("unit")} ${unitNo(order[c])}   Δ ${T("loss")} ${Number.isFinite(of(r, c)) ? say(of(r, c)) : T("undefined")}`) });
  if (lost) note(body, "undefined_of", lost, v.length);
}

VIEWS.equation = { wide: true, has: () => true, draw(body) {
  const p = part(), e = state.e, t = state.t, u = state.u;
  body.append(el("p", {}, T("equation_at", t, unitNo(u)), " ", el("bdi", {}, `“${label(t)}”`)));
  if (!p.live) {
    note(body, "not_live_equations");
    if (p.lines) body.append(el("div", { class: "pair" }, p.lines.filter(shortEnough).map((l) => el("div", { class: "eq" }, math(`${l.shown} = ${l.form}`)))));
    body.append(el("div", {}, [...Object.keys(p.gates).map((g) => gateLine(p, e, g, t, u)), ...Object.keys(p.carries).map((l) => leafLine(p, e, l, t, u))].map((line) => el("p", { class: "num" }, line))));
    return;
  }
  const grid = el("div", { class: "pair" }), values = plainRun(p, e).steps[t];
  body.append(grid);
  for (const l of p.lines) {
    const box = el("div", {}), mine = values[l.value].length === p.H;
    box.append(el("div", { class: "eq" }, shortEnough(l) ? math(`${l.shown} = ${l.form}`) : math(`${l.shown} = …`)));
    grid.append(box);
    if (!mine) continue;
    box.append(el("p", { class: "num" }, lineText(p, l, values, u)));
    const top = termsAt(p, e, l.name, t, u).slice(0, 4).map((x) => ({ name: x.name, value: x.product, text: `${say3(x.value)} · ${say3(x.weight)} = ${say3(x.product)}` }));
    if (top.length) box.append(bars(top, `${l.shown}: ${T("largest")}`));
    if (l.products.length) box.append(el("details", {}, el("summary", { class: "small" }, T("snippet", l.name.replace("'", ""))), el("pre", { tabindex: 0, role: "region", "aria-label": T("snippet", l.name) }, snippet(p, e, l.name, t, u))));
  }
} };

VIEWS.compare = { wide: true, has: () => DATA.compare, draw(body) {
  const parts = DATA.parts, c = DATA.compare, e = state.e;
  const across = (name, of) => [name, ...parts.map(of)];
  body.append(table([T("cell"), ...parts.map((p) => p.name)], [
    across(T("accuracy"), (p, n) => (c.accuracy[n] === null ? "—" : `${(100 * c.accuracy[n]).toFixed(1)}%`)), across(T("loss"), (p, n) => say3(c.loss[n])),
    across(T("left_of_gradient"), (p) => (p.flow && p.flow.triangle ? say(relative(p)[0], 2) : "—")),
    across(T("half_outlast"), (p) => (p.half ? T("half_outlast_of", p.half.outlast, p.half.of, p.half.lag) : T("no_keep"))),
    across(T("units_parameters"), (p, n) => `${p.H} / ${c.parameters[n]}`)], parts.map((_, n) => n + 1)));
  const [a, b] = boxes(body, 2);
  const curves = parts.map((p) => ({ name: p.name, values: Array.from(floats(p.history.losses)), at: Array.from(floats(p.history.steps)) }));
  a.append(caption(T("training_loss"), key(curves)));
  chart(a, { series: curves, log: true, x: [0, Math.max(...curves.flatMap((s) => s.at))], height: 150, label: T("training_loss") });
  function relative(p) { // what is left of the gradient of the last loss, at each step before
    const f = p.flow, S = f.steps.length, norm = (s, t) => floats(f.triangle)[(e * S + s) * f.triangle.shape[2] + t];
    const row = (s) => over(p.lengths[e], (t) => norm(s, t)), last = over(S, row).findLast((g) => g.some((v) => v > 0));
    const g = last || row(S - 1), end = g.findLast((v) => v > 0) || 1;
    return g.map((v) => v / end);
  }
  if (parts.every((p) => p.flow && p.flow.triangle)) {
    const flows = parts.map((p) => ({ name: `${p.name} ∂L/∂${p.flow.leaf}`, values: relative(p) }));
    b.append(caption(T("relative_flow"), key(flows)));
    chart(b, { ...along(), series: flows, log: true, height: 150, floor: 1, label: T("relative_flow"), hover: readAll(flows) });
  }
  const gates = boxes(body, parts.length, "triple"), states = boxes(body, parts.length, "triple");
  parts.forEach((p, n) => {
    if (p.keep) unitsOverTime(gates[n], `${p.name}: ${gateName(p.keep.gate, p)}`, p.gates[p.keep.gate], p.ranges[p.keep.gate], (t, u) => read(`${p.name}   t ${t} “${label(t, p)}”   ${gateLine(p, e, p.keep.gate, t, u)}`), p, 90);
    else gates[n].append(caption(p.name), el("p", { class: "small" }, T("no_keep")));
    const leaf = mainLeaf(p);
    unitsOverTime(states[n], `${p.name}: ${leafName(leaf)}`, p.carries[leaf], null, (t, u) => read(`${p.name}   t ${t} “${label(t, p)}”   ${leafLine(p, e, leaf, t, u)}`), p, 90);
  });
} };

VIEWS.replay = { wide: true, has: () => part().replay, draw(body) {
  const p = part(), r = p.replay, n = r.steps.length, s = Math.max(0, Math.min(n - 1, state.snap ?? n - 1)), loss = Array.from(floats(r.loss));
  const to = (k) => { if (k !== s) change({ snap: k }); };
  const shown = { x: [0, n - 1], across: true, mark: s, pick: to, leave: rest, xTicks: over(n, (k) => n - 1 - k).filter((k) => (n - 1 - k) % Math.ceil(n / 6) === 0), xName: (k) => String(r.steps[k] ?? "") };
  body.append(caption(`${T("snapshot_at", r.steps[s])}: ${T("loss")} ${say(loss[s])}`));
  chart(body, { ...shown, series: [{ name: T("loss"), values: loss, dots: 3 }], log: true, height: 100, label: T("training_loss"), hover: (k) => read(`${T("snapshot_at", r.steps[k])}   ${T("loss")} ${say(loss[k])}`) });
  body.append(el("input", { type: "range", class: "scrub", min: 0, max: n - 1, value: s, id: "snap", "aria-label": T("replay"), "aria-valuetext": T("snapshot_at", r.steps[s]), oninput: (event) => to(Number(event.target.value)) }));
  const names = Object.keys(r.histograms), places = boxes(body, names.length + 1, "triple");
  if (!names.length) { note(body, "timelines.none", p.name); return; }
  for (const g of names) {
    const a = r.histograms[g], bins = a.shape[1], v = floats(a), box = places.shift(), high = Math.max(...v);
    box.append(caption(gateName(g), scaleBar(MAPS.size, 0, `${(100 * high).toFixed(0)}%`)));
    heat(box, { rows: bins, columns: n, map: MAPS.size, low: 0, high, left: 28, right: 1, height: 110, label: T("replay_of", gateName(g)), rowNames: over(bins, (k) => (k === 0 ? "1" : k === bins - 1 ? "0" : "")), column: s, value: (k, m) => v[m * bins + bins - 1 - k], pick: (k, m) => to(m), leave: rest,
      hover: (k, m) => read(`${T("snapshot_at", r.steps[m])}   ${g} ${say3((bins - 1 - k) / bins)} – ${say3((bins - k) / bins)}: ${(100 * v[m * bins + bins - 1 - k]).toFixed(1)}%`) });
  }
  const means = names.map((g) => ({ name: g, values: Array.from(floats(r.means[g])) }));
  places[0].append(caption(T("mean_gates"), key(means)));
  chart(places[0], { ...shown, series: means, low: 0, high: 1, height: 124, label: T("mean_gates"), xTicks: shown.xTicks.filter((k, m) => m % 2 === 0), hover: (k) => read(`${T("snapshot_at", r.steps[k])}   ${means.map((m) => `${m.name} ${say3(m.values[k])}`).join("   ")}`) });
} };
