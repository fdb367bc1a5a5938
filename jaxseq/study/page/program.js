"use strict";
// A cell's step as jaxseq.program wrote it down, run here, without Python: a list of operations on doubles.
// A program: {inputs: [[kind, name, shape]], ops: [[op, inputs, output, shape, gate, attributes]], carry, out, gates}.
const OPS = (() => {
  const sigmoid = (a) => 1 / (1 + Math.exp(-a));
  const toEven = (a) => {
    const low = Math.floor(a),
      by = a - low;
    return by === 0.5 ? low + Math.abs(low % 2) : Math.round(a);
  };
  // The complement of the error function: 1 less its series, whose terms are positive, or a continued fraction.
  const erfc = (a) => {
    if (a < 0) return 2 - erfc(-a);
    if (a > 27) return 0;
    const bell = Math.exp(-a * a) / Math.sqrt(Math.PI);
    if (a < 2.5) {
      let term = a,
        sum = a;
      for (let n = 1; term > 1e-17 * sum; n++) {
        term *= (2 * a * a) / (2 * n + 1);
        sum += term;
      }
      return 1 - 2 * bell * sum;
    }
    let fraction = a;
    for (let n = 60; n > 0; n--) fraction = a + n / 2 / fraction;
    return bell / fraction;
  };
  const unary = {
    neg: (a) => -a,
    exp: Math.exp,
    expm1: Math.expm1,
    log: Math.log,
    log1p: Math.log1p,
    sqrt: Math.sqrt,
    rsqrt: (a) => 1 / Math.sqrt(a),
    cbrt: Math.cbrt,
    sin: Math.sin,
    cos: Math.cos,
    tan: Math.tan,
    asin: Math.asin,
    acos: Math.acos,
    atan: Math.atan,
    sinh: Math.sinh,
    cosh: Math.cosh,
    tanh: Math.tanh,
    logistic: sigmoid,
    erfc,
    softplus: (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))),
    abs: Math.abs,
    sign: Math.sign,
    floor: Math.floor,
    ceil: Math.ceil,
    round: toEven,
    not: (a) => 1 - a,
    is_finite: (a) => +Number.isFinite(a),
    copy: (a) => a,
  };
  const binary = {
    add: (a, b) => a + b,
    sub: (a, b) => a - b,
    mul: (a, b) => a * b,
    div: (a, b) => a / b,
    pow: Math.pow,
    rem: (a, b) => a % b,
    max: Math.max,
    min: Math.min,
    atan2: Math.atan2,
    eq: (a, b) => +(a === b),
    ne: (a, b) => +(a !== b),
    lt: (a, b) => +(a < b),
    le: (a, b) => +(a <= b),
    gt: (a, b) => +(a > b),
    ge: (a, b) => +(a >= b),
    and: (a, b) => a * b,
    or: Math.max,
    xor: (a, b) => +(a !== b),
  };
  const size = (shape) => shape.reduce((n, m) => n * m, 1);
  const strides = (shape) => shape.map((_, k) => size(shape.slice(k + 1)));
  // The places of an array of this shape, in their order, each as f(index along each axis).
  function places(shape, f) {
    const index = new Array(shape.length).fill(0),
      out = new Int32Array(size(shape));
    for (let n = 0; n < out.length; n++) {
      out[n] = f(index);
      for (let k = shape.length - 1; k >= 0 && ++index[k] === shape[k]; k--) index[k] = 0;
    }
    return out;
  }
  const along = (by) => (index) => index.reduce((at, i, k) => at + i * by[k], 0);
  const picked = (from, other) => (a) => Float64Array.from(from, (at) => (at < 0 ? other : a[at]));
  function dot(a, b, has) {
    // over offsets: [batch and rows of a] x [batch and columns of b]
    const shapes = [a, b],
      by = shapes.map(strides),
      axes = (n, w) => has[w][n];
    const free = shapes.map((s, n) =>
      s.map((_, k) => k).filter((k) => !axes(n, "contract").includes(k) && !axes(n, "batch").includes(k)),
    );
    const offsets = (n, ks) =>
      places(
        ks.map((k) => shapes[n][k]),
        along(ks.map((k) => by[n][k])),
      );
    const [rowsA, rowsB] = [0, 1].map((n) => offsets(n, axes(n, "batch"))),
      [left, right] = [0, 1].map((n) => offsets(n, free[n]));
    const [innerA, innerB] = [0, 1].map((n) => offsets(n, axes(n, "contract"))),
      M = left.length,
      N = right.length,
      K = innerA.length;
    return (x, y) => {
      const out = new Float64Array(rowsA.length * M * N);
      for (let r = 0, at = 0; r < rowsA.length; r++)
        for (let m = 0; m < M; m++, at += N) {
          const from = rowsA[r] + left[m];
          for (let k = 0; k < K; k++) {
            const v = x[from + innerA[k]],
              base = rowsB[r] + innerB[k];
            if (v !== 0) for (let n = 0; n < N; n++) out[at + n] += v * y[base + right[n]];
          }
        }
      return out;
    };
  }
  const fold = {
    reduce_sum: [0, binary.add],
    reduce_prod: [1, binary.mul],
    reduce_max: [-Infinity, Math.max],
    reduce_min: [Infinity, Math.min],
  };
  function reduce(op, shape, axes) {
    const kept = shape.map((n, k) => (axes.includes(k) ? 1 : n)),
      by = strides(kept).map((s, k) => (axes.includes(k) ? 0 : s));
    const to = places(shape, along(by)),
      [first, join] = fold[op];
    return (a) => {
      const out = new Float64Array(size(kept)).fill(first);
      to.forEach((at, n) => {
        out[at] = join(out[at], a[n]);
      });
      return out;
    };
  }
  function running(join, shape, axis) {
    const step = strides(shape)[axis],
      first = places(shape, (index) => +(index[axis] === 0));
    return (a) => {
      const out = Float64Array.from(a);
      for (let n = 0; n < out.length; n++) if (!first[n]) out[n] = join(out[n - step], out[n]);
      return out;
    };
  }
  function argmax(shape, axis) {
    const step = strides(shape)[axis],
      starts = places(
        shape.map((n, k) => (k === axis ? 1 : n)),
        along(strides(shape)),
      );
    return (a) =>
      Float64Array.from(starts, (at) => {
        let best = 0;
        for (let k = 1; k < shape[axis]; k++) if (a[at + k * step] > a[at + best * step]) best = k;
        return best;
      });
  }
  function concatenate(shapes, axis) {
    const inner = shapes.map((s) => size(s.slice(axis))),
      outer = size(shapes[0].slice(0, axis)),
      row = inner.reduce((a, b) => a + b, 0);
    return (...parts) => {
      const out = new Float64Array(outer * row);
      for (let o = 0; o < outer; o++)
        parts.reduce((at, part, k) => {
          out.set(part.subarray(o * inner[k], (o + 1) * inner[k]), at);
          return at + inner[k];
        }, o * row);
      return out;
    };
  }
  function expm(n) {
    // of a 2^s-th of the matrix by its series, squared s times
    const times = dot([n, n], [n, n], { contract: [[1], [0]], batch: [[], []] });
    return (a) => {
      const norm = Math.max(
        1e-300,
        ...Array.from({ length: n }, (_, c) =>
          Array.from({ length: n }, (__, r) => Math.abs(a[r * n + c])).reduce((s, v) => s + v, 0),
        ),
      );
      const halvings = Math.max(0, Math.ceil(Math.log2(norm)) + 2),
        small = Float64Array.from(a, (v) => v / 2 ** halvings);
      let term = Float64Array.from({ length: n * n }, (_, k) => +(k % (n + 1) === 0)),
        total = term;
      for (let k = 1; k <= 20; k++) {
        term = times(term, small).map((v) => v / k);
        const more = term;
        total = total.map((v, at) => v + more[at]);
      }
      for (let k = 0; k < halvings; k++) total = times(total, total);
      return total;
    };
  }
  const flat = (value) => (Array.isArray(value) ? value.flat(Infinity) : [value]).map(Number);
  // The function of an operation, given the shapes of its inputs.
  function made(op, shapes, shape, has) {
    const count = size(shape),
      [a] = shapes;
    if (unary[op]) {
      const f = unary[op];
      return (x) => x.map(f);
    }
    if (binary[op]) {
      const f = binary[op],
        one = shapes.map((s) => (size(s) === 1 ? 0 : 1));
      return (x, y) => {
        const out = new Float64Array(count);
        for (let n = 0; n < count; n++) out[n] = f(x[n * one[0]], y[n * one[1]]);
        return out;
      };
    }
    switch (op) {
      case "constant": {
        const value = Float64Array.from(flat(has.value));
        return () => value;
      }
      case "select": {
        const one = shapes.map((s) => (size(s) === 1 ? 0 : 1));
        return (w, x, y) =>
          Float64Array.from({ length: count }, (_, n) => (w[n * one[0]] !== 0 ? x[n * one[1]] : y[n * one[2]]));
      }
      case "reshape":
        return (x) => x;
      case "transpose":
        return picked(places(shape, along(has.axes.map((k) => strides(a)[k]))));
      case "broadcast":
        return picked(
          places(
            shape,
            along(
              shape.map((_, k) => {
                const from = has.axes.indexOf(k);
                return from < 0 || a[from] === 1 ? 0 : strides(a)[from];
              }),
            ),
          ),
        );
      case "slice":
        return picked(
          places(shape, (index) => along(strides(a))(index.map((i, k) => has.start[k] + i * has.stride[k]))),
        );
      case "take":
        return picked(has.places);
      case "pad": {
        const from = places(shape, (index) => {
          const inner = index.map((i, k) => i - has.low[k]);
          return inner.every((i, k) => i >= 0 && i < a[k]) ? along(strides(a))(inner) : -1;
        });
        return (x, value) => picked(from, value[0])(x);
      }
      case "concatenate":
        return concatenate(shapes, has.axis);
      case "dot":
        return dot(a, shapes[1], has);
      case "cumsum":
        return running(binary.add, a, has.axis);
      case "cumprod":
        return running(binary.mul, a, has.axis);
      case "argmax":
        return argmax(a, has.axis);
      case "expm":
        return expm(a[0]);
      default:
        return reduce(op, a, has.axes);
    }
  }
  return { made, size };
})();

// Make a program ready to run: weights has an array for each input that is the same at every step (null where unused).
function readied(program, weights) {
  const first = program.inputs.length,
    shapes = [...program.inputs.map((i) => i[2]), ...program.ops.map((op) => op[3])];
  const moves = program.inputs.map((i) => ["carry", "x", "wx"].includes(i[0]));
  const functions = program.ops.map(([op, inputs, , shape, , has]) => {
    moves.push(inputs.some((n) => moves[n]));
    return OPS.made(
      op,
      inputs.map((n) => shapes[n]),
      shape,
      has,
    );
  });
  const fixed = [];
  program.inputs.forEach((_, n) => {
    if (!moves[n] && weights[n]) fixed[n] = Float64Array.from(weights[n]);
  });
  program.ops.forEach((op, k) => {
    if (!moves[first + k]) fixed[first + k] = functions[k](...op[1].map((n) => fixed[n]));
  });
  return { program, functions, fixed, moves, shapes, first };
}

// All values of one step by their numbers. given: an array for each input that moves; held: {number of a gate:
// [{unit (null: all), value (a number, one for each unit, or {of: number of a gate}: 1 - that gate)}]}.
function runStep(ready, given, held = {}) {
  const { program, functions, fixed, moves, first } = ready,
    again = Object.keys(held).some((n) => !moves[n]);
  const values = [];
  const put = (n, value) => {
    if (!held[n]) return value;
    const out = Float64Array.from(value);
    for (const { unit, value: at } of held[n]) {
      const other = at.of === undefined ? null : valueOf(at.of);
      for (let u = 0; u < out.length; u++)
        if (unit === null || u === unit)
          out[u] = other ? 1 - other[u] : typeof at === "number" ? at : at[u];
    }
    return out;
  };
  const valueOf = (n) => {
    if (values[n] === undefined) {
      if (n < first) values[n] = put(n, moves[n] ? Float64Array.from(given[n]) : fixed[n]);
      else if (!moves[n] && !again) values[n] = put(n, fixed[n]);
      else values[n] = put(n, functions[n - first](...program.ops[n - first][1].map(valueOf)));
    }
    return values[n];
  };
  for (let n = 0; n < first + functions.length; n++) if (n >= first || given[n] || fixed[n]) valueOf(n);
  return values;
}

// Run a program over T steps. xs: [T] of an array for each leaf of the input; start: an array for each of the carry.
// Returns {gates, carry, out: {name: [T*size]}, steps: [T] of all values}.
function runProgram(ready, xs, start, held) {
  const { program, shapes } = ready,
    T = xs.length,
    steps = [];
  const found = {},
    moving = { carry: [], x: [] };
  program.inputs.forEach(([kind], n) => {
    if (kind === "carry") moving.carry.push(n);
    else if (kind === "x" || kind === "wx") moving.x.push(n);
  });
  for (const of of ["gates", "carry", "out"])
    found[of] = Object.fromEntries(
      Object.entries(program[of]).map(([name, n]) => [name, new Float64Array(T * OPS.size(shapes[n]))]),
    );
  let old = start;
  for (let t = 0; t < T; t++) {
    const given = [];
    moving.carry.forEach((n, k) => {
      given[n] = old[k];
    });
    moving.x.forEach((n, k) => {
      given[n] = xs[t][k];
    });
    const values = runStep(ready, given, held);
    for (const of of ["gates", "carry", "out"])
      for (const [name, n] of Object.entries(program[of])) found[of][name].set(values[n], t * values[n].length);
    old = moving.carry.map((n) => values[program.carry[program.inputs[n][1]]]);
    steps.push(values);
  }
  return { ...found, steps };
}

// h [T*H] through the layer above: predictions [T][V].
function readOut(h, H, W, b) {
  const apply = OPS.made("dot", [[H], [H, b.length]], [b.length], { contract: [[0], [0]], batch: [[], []] });
  return Array.from({ length: h.length / H }, (_, t) => apply(h.subarray(t * H, t * H + H), W).map((v, n) => v + b[n]));
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

if (typeof module !== "undefined") module.exports = { readied, runStep, runProgram, readOut, lossOf };
