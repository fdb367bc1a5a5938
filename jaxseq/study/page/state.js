"use strict";
// The user's choices, kept in the address; the data; the cell run here.
const DATA = JSON.parse(document.getElementById("data").textContent);
const TEXTS = JSON.parse(document.getElementById("texts").textContent);
// The layers of a stack run the same program: the first of them holds it.
for (const p of DATA.parts) if (p.live && p.live.same !== undefined) p.live = DATA.parts[p.live.same].live;
const MAPS = DATA.maps,
  TOLERANCE = 1e-5;
const byId = (id) => document.getElementById(id);

// ---- state, kept in the address ----
const SORTS = ["order", "alike"]; // units that retain longest first, or that move alike together
const ZOOM = 32,
  ROW = 12; // units of a page, and the height that the number of each needs
const state = {
  p: 0,
  e: null,
  t: null,
  u: null,
  pins: [],
  clamps: [],
  swap: null,
  lang: "en",
  theme: "light",
  snap: null,
  sort: "order",
  zoom: false,
};
function readHash() {
  const given = new URLSearchParams(location.hash.slice(1)),
    whole = (name) => Number.parseInt(given.get(name) ?? "", 10);
  if (matchMedia("(prefers-color-scheme: dark)").matches) state.theme = "dark";
  if ((navigator.language || "").startsWith("zh")) state.lang = "zh";
  for (const name of ["p", "e", "t", "u", "snap"]) if (Number.isInteger(whole(name))) state[name] = whole(name);
  if (SORTS.includes(given.get("sort"))) state.sort = given.get("sort");
  state.zoom = given.get("zoom") === "1";
  if (TEXTS[given.get("lang")]) state.lang = given.get("lang");
  if (["light", "dark"].includes(given.get("theme"))) state.theme = given.get("theme");
  state.pins = (given.get("pins") || "").split(",").filter(Boolean).map(Number).filter(Number.isInteger);
  state.clamps = (given.get("clamp") || "")
    .split(",")
    .filter(Boolean)
    .map((one) => {
      const [gate, unit, value] = one.split(":");
      return {
        gate,
        unit: unit === "*" ? null : Number(unit),
        value: [OTHER, "mean"].includes(value) ? value : Number(value),
      };
    })
    .filter((c) => c.value === OTHER || c.value === "mean" || Number.isFinite(c.value));
  const swap = (given.get("swap") || "").split(":").map(Number);
  state.swap = swap.length === 2 && swap.every(Number.isInteger) ? swap : null;
  fit();
}
// Where a page opens that is not told: on the example of which most is scored, of these with the most words that
// differ, of these the longest; at its last scored step; on the unit whose gates the loss depends on most.
const scoredOf = (p, e) => over(p.lengths[e], (t) => t).filter((t) => p.outcome && p.outcome.scored[t][e]);
function openingExample(p) {
  const differs = (e) =>
    p.outcome && p.outcome.kind === "class" ? new Set(scoredOf(p, e).map((t) => p.outcome.targets[t][e])).size : 0;
  const worth = (e) => (scoredOf(p, e).length * 1e3 + differs(e)) * 1e5 + p.lengths[e];
  return over(p.B, (e) => e).reduce((best, e) => (worth(e) > worth(best) ? e : best), 0);
}
// The places in a list of steps of those that count in an example; other examples may score more steps.
const placesScored = (listed, p = part(), e = state.e) => {
  const scored = new Set(scoredOf(p, e));
  return over(listed.length, (s) => s).filter((s) => scored.has(listed[s]));
};
const openingStep = (p, e) => scoredOf(p, e).at(-1) ?? p.lengths[e] - 1;
function openingUnit(p) {
  if (!p.views.atlas) return p.order[0];
  return largestOf(p.views.atlas.change) % p.H;
}
const largestOf = (a) =>
  floats(a).reduce(
    (best, v, n, all) =>
      Number.isFinite(v) && !(Math.abs(v) <= Math.abs(all[best]) && Number.isFinite(all[best])) ? n : best,
    0,
  ); // of those that are finite
function fit() {
  const within = (v, n) => Math.max(0, Math.min(n - 1, v));
  state.p = within(state.p, DATA.parts.length);
  const p = part();
  state.e = within(state.e ?? openingExample(p), p.B);
  state.t = within(state.t ?? openingStep(p, state.e), p.lengths[state.e]);
  state.u = within(state.u ?? openingUnit(p), p.H);
  state.pins = state.pins.filter((u) => u >= 0 && u < p.H);
  state.clamps = state.clamps.filter(
    (c) =>
      heldGates(p).includes(c.gate) &&
      (c.unit === null || (c.unit >= 0 && c.unit < p.H)) &&
      (c.value !== OTHER || c.gate === coupled(p)),
  );
  if (
    state.swap &&
    !(
      p.live &&
      p.live.labels &&
      state.swap[0] < p.lengths[state.e] &&
      state.swap[1] < p.live.labels.length &&
      Math.min(...state.swap) >= 0
    )
  )
    state.swap = null;
}
function writeHash() {
  const out = new URLSearchParams({
    p: state.p,
    e: state.e,
    t: state.t,
    u: state.u,
    lang: state.lang,
    theme: state.theme,
  });
  if (state.pins.length) out.set("pins", state.pins.join(","));
  if (state.clamps.length) out.set("clamp", state.clamps.map((c) => `${c.gate}:${c.unit ?? "*"}:${c.value}`).join(","));
  if (state.swap) out.set("swap", state.swap.join(":"));
  if (state.sort !== SORTS[0]) out.set("sort", state.sort);
  if (state.zoom) out.set("zoom", "1");
  if (state.snap !== null) out.set("snap", state.snap);
  try {
    history.replaceState(null, "", `#${out}`);
  } catch {
    /* a page in a frame without an address */
  }
}
let due = false,
  moved = true;
function change(values) {
  Object.assign(state, values);
  fit();
  moved = moved && Object.keys(values).every((name) => name === "t" || name === "u");
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    const only = moved;
    [due, moved] = [false, true];
    draw(only);
    writeHash();
  });
}

// ---- the data ----
const part = () => DATA.parts[state.p];
const steps = () => part().lengths[state.e];
const say3 = (v) => say(v, 3);
// {0} is a value; {0 step|steps} a count with its noun, the first form after 1
const T = (id, ...values) => {
  const text = (TEXTS[state.lang][id] ?? TEXTS.en[id] ?? id).replace(
    /\{(\d)(?: ([^|}]+)\|([^}]+))?\}/g,
    (whole, n, one, many) =>
      n in values ? (one ? `${values[n]} ${Number(values[n]) === 1 ? one : many}` : values[n]) : whole,
  );
  // between Chinese and Latin there is a space, whichever of the two is put in
  return state.lang === "zh"
    ? text.replace(/(\p{Script=Han})(?=[A-Za-z0-9])|([A-Za-z0-9])(?=\p{Script=Han})/gu, "$1$2 ")
    : text;
};
// [T, B, H] at step t and unit u of the example chosen
const at = (a, t, u, p = part(), e = state.e) => floats(a)[(t * a.shape[1] + e) * (a.shape[2] ?? 1) + u];
const over = (n, f) => Array.from({ length: n }, (_, k) => f(k));
const track = (a, u, p = part(), e = state.e) => over(p.lengths[e], (t) => at(a, t, u, p, e));
// A gate or a part of the carry: "0.r" of a stack is "layer 1: r", as in the terminal and in figures.
function layered(name) {
  const words = name.split("."),
    first = words.slice(0, -1).findIndex((word) => /^\d+$/.test(word));
  if (first < 0) return ["", name];
  const last = words.findIndex((word, n) => n >= first && (!/^\d+$/.test(word) || n === words.length - 1));
  return [
    words
      .slice(first, last)
      .map((word) => Number(word) + 1)
      .join("."),
    words.slice(last).join("."),
  ];
}
const ownName = (name) => layered(name)[1];
function said(name) {
  const [layer, own] = layered(name);
  return layer ? T("of_layer", layer, own) : own;
}
function gateName(g, p = part()) {
  const role = p.roles[g]; // found from numbers; its letter alone says little
  return role ? `${said(g)}  ${T(`role.${role}`)}` : said(g);
}
const gateOf = (role, p = part()) => Object.keys(p.roles).find((g) => p.roles[g] === role && heldGates(p).includes(g));
const most = (values, p = part(), e = state.e) =>
  Math.max(1e-6, ...over(p.lengths[e], (t) => Math.max(...over(p.H, (u) => Math.abs(at(values, t, u, p, e)) || 0))));
function mapOf(values, bounds, p = part()) {
  // [colours, low, high]: gates from 0 to 1, all else around 0
  if (bounds && bounds[0] === 0) return [MAPS.gate, 0, 1];
  const m = bounds ? 1 : most(values, p);
  return [MAPS.signed, -m, m];
}
const mainLeaf = (p = part()) => (p.keep && p.carries[p.keep.leaf] ? p.keep.leaf : Object.keys(p.carries)[0]);
const mainGate = (p = part()) => (p.keep ? p.keep.gate : Object.keys(p.gates)[0]);
const units = (p = part()) => p[state.sort];
// The units that heat maps show: all, or those of the page of ZOOM that the chosen one is on.
function shownUnits(p = part()) {
  const all = units(p);
  if (!state.zoom || p !== part() || all.length <= ZOOM) return all;
  const first = pageOf(all.indexOf(state.u));
  return all.slice(first, first + ZOOM);
}
const pageOf = (place) => Math.floor(place / ZOOM) * ZOOM;
const tallOf = (shown, height) => (shown.length < units().length ? Math.max(height, ROW * shown.length) : height);
const keepAt = (t, u, p = part(), e = state.e) => {
  const k = p.keep;
  const v = at(p.gates[k.gate], t, u, p, e);
  return k.inverted ? 1 - v : v;
};
function ledgerOf(u, p = part(), e = state.e) {
  // of one unit, over time
  const leaf = p.keep.leaf,
    now = track(p.carries[leaf], u, p, e);
  const kept = now.map((_, t) => keepAt(t, u, p, e) * (t ? now[t - 1] : startAt(p, e, leaf, u)));
  return { kept, written: now.map((v, t) => v - kept[t]), now };
}
function survivalOf(p = part(), e = state.e) {
  // [T][H], the share of a unit's state after each step that is left at the end
  const n = p.lengths[e],
    left = over(n, () => new Float64Array(p.H).fill(1));
  for (let t = n - 2; t >= 0; t--) for (let u = 0; u < p.H; u++) left[t][u] = left[t + 1][u] * keepAt(t + 1, u, p, e);
  return left;
}
const unitNo = (u, p = part()) => p.units[u]; // of a thinned part only some are here
const stepNo = (t, p = part()) => p.first + t; // likewise of a long sequence
// A word whose marks would turn the text around it is kept to itself.
const isolated = (word) => (/[\u0590-\u08ff\u202a-\u202e\u2066-\u2069]/.test(word) ? `\u2068${word}\u2069` : word);
const label = (t, p = part(), e = state.e) => isolated(p.inputs[e][t] ?? "");

// ---- the cell, run here ----
const slots = (shape) => shape.slice(2).reduce((a, b) => a * b, 1); // numbers of one row at one step
const rowOf = (a, e) => {
  const n = floats(a).length / a.shape[0];
  return floats(a).subarray(e * n, e * n + n);
};
function readyOf(p, e) {
  // with the source of this row, where the cell reads one
  const l = p.live,
    row = l.data.length ? e : 0;
  l.ready = l.ready || [];
  if (!l.ready[row]) {
    let k = 0;
    l.ready[row] = readied(
      l.program,
      l.program.inputs.map(([kind], n) =>
        kind === "data" ? rowOf(l.data[k++], e) : kind === "params" && l.weights[n] ? floats(l.weights[n]) : null,
      ),
    );
  }
  return l.ready[row];
}
function inputsOf(p, e, swap) {
  // [T] of an array for each leaf of the input
  const rows = over(p.lengths[e], (t) =>
    p.live.x.map((a) => {
      const n = slots(a.shape);
      return floats(a).subarray((t * a.shape[1] + e) * n, (t * a.shape[1] + e) * n + n);
    }),
  );
  if (swap) rows[swap[0]] = p.live.swaps.map((a) => rowOf(a, swap[1]));
  return rows;
}
const startOf = (p, e) => p.live.start.map((a) => rowOf(a, e));
// The gates that can be held: those that the page shows and something is computed from.
function heldGates(p) {
  if (!p.live) return [];
  const { gates, carry, out, ops } = p.live.program,
    used = new Set([...ops.flatMap((op) => op[1]), ...Object.values(carry), ...Object.values(out)]);
  return Object.keys(p.gates).filter((g) => used.has(gates[g]));
}
function dependsOn(program, n, on) {
  // whether a value is computed from another
  if (n === on) return true;
  const op = program.ops[n - program.inputs.length];
  return Boolean(op) && op[1].some((m) => dependsOn(program, m, on));
}
const OTHER = "1-keep"; // a gate that writes is held at one minus the gate that retains
function coupled(p) {
  // the gate that can be held so
  const write = gateOf("write", p);
  if (!write || !p.keep || p.keep.inverted || !heldGates(p).includes(p.keep.gate)) return null;
  const { program } = p.live;
  return dependsOn(program, program.gates[p.keep.gate], program.gates[write]) ? null : write;
}
function heldOf(p, clamps) {
  // as runProgram takes it
  const held = {},
    { gates } = p.live.program;
  for (const c of clamps)
    (held[gates[c.gate]] = held[gates[c.gate]] || []).push({
      unit: c.unit,
      value: c.value === OTHER ? { of: gates[p.keep.gate] } : c.value,
    });
  return held;
}
function meansOf(p, gate) {
  // of each unit, over all real steps of all examples, as the atlas has it
  const sums = new Float64Array(p.H),
    count = p.lengths.reduce((a, b) => a + b, 0);
  p.lengths.forEach((n, e) =>
    over(n, (t) =>
      over(p.H, (u) => {
        sums[u] += at(p.gates[gate], t, u, p, e) / count;
      }),
    ),
  );
  return sums;
}
const resolve = (clamps, p) => clamps.map((c) => (c.value === "mean" ? { ...c, value: meansOf(p, c.gate) } : c));
function rerun(p, e, clamps = [], swap = null) {
  const run = runProgram(readyOf(p, e), inputsOf(p, e, swap), startOf(p, e), heldOf(p, resolve(clamps, p)));
  if (p.live.W) run.said = readOut(Object.values(run.out)[0], p.live.W.shape[0], floats(p.live.W), floats(p.live.b));
  if (run.said && p.outcome) {
    run.losses = run.said.map((y, t) =>
      p.outcome.scored[t][e] ? lossOf(y, targetOf(p, t, e), p.outcome?.kind === "class") : 0,
    );
  }
  return run;
}
function targetOf(p, t, e) {
  if (p.outcome?.kind === "class") return p.outcome.targets[t][e];
  const V = p.outcome.targets.shape[2];
  return floats(p.outcome.targets).subarray((t * p.B + e) * V, (t * p.B + e) * V + V);
}
const kept = new Map();
function plainRun(p = part(), e = state.e) {
  const name = `${DATA.parts.indexOf(p)}:${e}`;
  if (!kept.has(name)) kept.set(name, rerun(p, e));
  return kept.get(name);
}
