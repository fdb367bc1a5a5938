"use strict";
// The equations of one unit at one step, with their numbers, and NumPy that prints them.
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
    default: {
      if (!p.keep || p.keep.leaf !== leaf) return `${leaf}[${unitNo(u, p)}] = ${say(value)}`;
      const k = p.keep, by = keepAt(t, u, p, e), old = c(leaf, t - 1);
      return `${leaf}[${unitNo(u, p)}] = ${k.inverted ? `(1−${k.gate})` : k.gate}·${leaf} + ${T("written")} = ${say(by)} · ${say(old)} ${sign(value - by * old)} = ${say(value)}`;
    }
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
