"use strict";
// The cells as their papers have them, in JavaScript: what-if runs them again, here, without Python.
// A model: {cell, H, U [H, G*H], U_n?, b_hn?}; wx [T][G*H] are its input terms, x W + b. Numbers are doubles.
const CELLS = (() => {
  const sigmoid = (a) => 1 / (1 + Math.exp(-a));
  const relu = (a) => Math.max(a, 0);
  const blend = (z, old, n) => z * old + (1 - z) * n;
  const rnn = (squash, name) => ({
    names: ["a"], kinds: [name], carry: ["h"],
    step(s, hold) {
      s.a = hold("a", (u) => s.at(0, u));
      return { h: s.map((u) => squash(s.a[u])) };
    },
  });
  const squashed = { lstm: "sigmoid sigmoid tanh sigmoid".split(" "), gru: "sigmoid sigmoid tanh".split(" ") };
  return {
    lstm: {
      names: ["i", "f", "g", "o"], kinds: squashed.lstm, carry: ["h", "c"],
      step(s, hold) {
        const f = hold("f", (u) => sigmoid(s.at(1, u)));
        const i = hold("i", (u) => sigmoid(s.at(0, u)), { f });
        const g = hold("g", (u) => Math.tanh(s.at(2, u)));
        const o = hold("o", (u) => sigmoid(s.at(3, u)));
        const c = s.map((u) => f[u] * s.old.c[u] + i[u] * g[u]);
        return { h: s.map((u) => o[u] * Math.tanh(c[u])), c };
      },
    },
    gru: {
      names: ["r", "z", "n"], kinds: squashed.gru, carry: ["h"],
      step(s, hold) {
        const r = hold("r", (u) => sigmoid(s.at(0, u)));
        const z = hold("z", (u) => sigmoid(s.at(1, u)));
        const n = hold("n", (u) => Math.tanh(s.wx(2, u) + r[u] * s.uh(2, u)));
        return { h: s.map((u) => blend(z[u], s.old.h[u], n[u])) };
      },
    },
    gru_cho: {
      names: ["r", "z", "n"], kinds: squashed.gru, carry: ["h"],
      step(s, hold) {
        const r = hold("r", (u) => sigmoid(s.at(0, u)));
        const z = hold("z", (u) => sigmoid(s.at(1, u)));
        const reset = product(s.map((u) => r[u] * s.old.h[u]), s.model.U_n, s.H);
        const n = hold("n", (u) => Math.tanh(s.wx(2, u) + reset[u]));
        return { h: s.map((u) => blend(z[u], s.old.h[u], n[u])) };
      },
    },
    rnn: rnn(Math.tanh, "none"),
    rnn_relu: rnn(relu, "none"),
  };
})();

function product(h, U, columns) { // h [H] U [H, columns]
  const out = new Float64Array(columns);
  for (let k = 0; k < h.length; k++) {
    const by = h[k];
    if (by === 0) continue;
    for (let n = 0, at = k * columns; n < columns; n++, at++) out[n] += by * U[at];
  }
  return out;
}

// Run a cell over wx. clamps: [{gate, unit (null: all), value (a number, one for each unit, or "1-f")}].
// Returns {gates: {name: [T*H]}, carry: {name: [T*H]}, uh: [T][G*H]}: as jaxseq.trace does.
function runCell(model, wx, start, clamps) {
  const { H } = model, cell = CELLS[model.cell], T = wx.length;
  const held = {};
  for (const c of clamps || []) (held[c.gate] = held[c.gate] || []).push(c);
  const empty = (names) => Object.fromEntries(names.map((n) => [n, new Float64Array(T * H)]));
  const gates = empty(cell.names), carry = empty(cell.carry), uhs = [];
  let old = {};
  for (const n of cell.carry) old[n] = start && start[n] ? Float64Array.from(start[n]) : new Float64Array(H);
  for (let t = 0; t < T; t++) {
    const uh = product(old.h, model.U, model.U.length / H);
    if (model.b_hn) for (let u = 0; u < H; u++) uh[2 * H + u] += model.b_hn[u];
    uhs.push(uh);
    const s = {
      H, model, old,
      wx: (g, u) => wx[t][g * H + u],
      uh: (g, u) => uh[g * H + u],
      at: (g, u) => wx[t][g * H + u] + uh[g * H + u],
      map(f) { const a = new Float64Array(H); for (let u = 0; u < H; u++) a[u] = f(u); return a; },
    };
    const hold = (name, of, others) => {
      const a = s.map(of);
      for (const c of held[name] || []) {
        for (let u = 0; u < H; u++) {
          if (c.unit !== null && c.unit !== u) continue;
          a[u] = c.value === "1-f" ? 1 - others.f[u] : typeof c.value === "number" ? c.value : c.value[u];
        }
      }
      gates[name].set(a, t * H);
      return a;
    };
    old = cell.step(s, hold);
    for (const n of cell.carry) carry[n].set(old[n], t * H);
  }
  return { gates, carry, uh: uhs };
}

// h [T*H] through the layer above: predictions [T][V].
function readOut(h, H, W, b) {
  const V = b.length, T = h.length / H, out = [];
  for (let t = 0; t < T; t++) {
    const y = product(h.subarray(t * H, t * H + H), W, V);
    for (let v = 0; v < V; v++) y[v] += b[v];
    out.push(y);
  }
  return out;
}

function softmax(y) {
  const top = Math.max(...y), e = Array.from(y, (v) => Math.exp(v - top)), sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

// The loss of one step: cross entropy in nats of logits, or the mean squared error of values.
function lossOf(y, target, words) {
  if (words) {
    const top = Math.max(...y);
    return top + Math.log(Array.from(y, (v) => Math.exp(v - top)).reduce((a, b) => a + b, 0)) - y[target];
  }
  let sum = 0;
  for (let v = 0; v < y.length; v++) sum += (y[v] - target[v]) ** 2;
  return sum / y.length;
}

if (typeof module !== "undefined") module.exports = { CELLS, product, runCell, readOut, softmax, lossOf };
