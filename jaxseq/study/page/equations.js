"use strict";
// The equations of one unit at one step, with their numbers, and NumPy that prints them: from the part's lines, which
// Python read off the cell's program.
const sign = (v) => (v < 0 ? `− ${say(-v)}` : `+ ${say(v)}`);
const LONG = 64,
  WIDE = 90; // letters of a line's numbers, and of an equation, that fit
const lineOf = (p, name) => (p.lines || []).find((l) => l.name === name);
const shortEnough = (l) => l.form.replaceAll(" ", "").length <= WIDE;
const weighs = (p) => p.live.weights.reduce((n, a) => n + (a ? floats(a).length : 0), 0);
const numberOf = (values, n, u) => (values[n].length === 1 ? values[n][0] : values[n][u]);
// Where a gate lets through the squashed state, as an LSTM's o does: {gate, h, line}.
function shownBy(p) {
  const { show } = p;
  if (!show || !show.gate || show.squash !== "tanh" || !p.gates[show.gate]) return null;
  const h = `${show.leaf.slice(0, -ownName(show.leaf).length)}h`;
  return p.carries[h] ? { gate: show.gate, h, line: lineOf(p, `${h}'`) } : null;
}
// A leaf or a gate as equations write it: "h_t−1", in a stack "h^1_t−1".
function inSymbols(name, time) {
  const [layer, own] = layered(name),
    [base, ...marks] = own.split("_");
  return `${base}${layer ? `^${layer}` : ""}_${[...marks, time].join(",")}`;
}
// The same in a line of plain text, without the step.
const bare = (words) =>
  words
    .replace(/[,_]t(−1)?(?=$|[ )])/g, "")
    .replace(/\^([\d.]+)/g, "⁽$1⁾")
    .replace(/⁽[\d.]+⁾/g, (digits) => digits.replace(/\d/g, (d) => RAISED[d]))
    .replaceAll(" ", "")
    .replaceAll("⊙", "·");
function halves(line, leaf) {
  // the kept and the written part of a state, in words
  const words = line ? line.form.split(" + ") : [],
    whole = (w) => w.split("(").length === w.split(")").length;
  if (words.length < 2 || !words.every(whole)) return ["", ""];
  const old = inSymbols(leaf, "t−1"),
    has = (w) => w.split(" ").includes(old);
  return [bare(words.filter(has).join(" + ")), bare(words.filter((w) => !has(w)).join(" + "))];
}
function filled(text, values, u) {
  // numbers where the braces are
  return text
    .replace(/(\S+ )?\{(\d+)\}/g, (_, before = "", n) => {
      const v = numberOf(values, Number(n), u);
      if (v >= 0 || before === "") return `${before}${v < 0 ? `−${say(-v)}` : say(v)}`;
      return before === "+ " ? `− ${say(-v)}` : before === "( " ? `${before}−${say(-v)}` : `${before}(−${say(-v)})`;
    })
    .replaceAll("⊙", "·")
    .replace(/(\(|\[) /g, "$1")
    .replace(/ (\)|\])/g, "$1")
    .replace(/(\p{L}) \(/gu, "$1(");
}
// A line's name, without the mark of a state unless a gate has the same name, as an LRU's re and im.
function nameOf(p, name) {
  const own = name.replace("'", "");
  return said(own !== name && p.gates[own] ? name : own);
}
function lineText(p, line, values, u) {
  const name = `${nameOf(p, line.name)}[${unitNo(u, p)}]`,
    v = say(numberOf(values, line.value, u)),
    numbers = filled(line.numbers, values, u);
  return numbers.length > LONG || numbers === v ? `${name} = ${v}` : `${name} = ${numbers} = ${v}`;
}
function gateLine(p, e, gate, t, u) {
  const line = p.live && lineOf(p, gate),
    values = line && plainRun(p, e).steps[t];
  if (!line || values[line.value].length !== p.H)
    return `${said(gate)}[${unitNo(u, p)}] = ${say(at(p.gates[gate], t, u, p, e))}`;
  return lineText(p, line, values, u);
}
function leafLine(p, e, leaf, t, u) {
  const line = p.live && lineOf(p, `${leaf}'`),
    values = line && plainRun(p, e).steps[t];
  if (line && values[line.value].length === p.H) return lineText(p, line, values, u);
  const c = (s) => (s < 0 ? startAt(p, e, leaf, u) : at(p.carries[leaf], s, u, p, e)),
    value = c(t),
    k = p.keep;
  if (!k || k.leaf !== leaf) return `${said(leaf)}[${unitNo(u, p)}] = ${say(value)}`;
  const by = keepAt(t, u, p, e),
    old = c(t - 1);
  const name = ownName(leaf),
    numbers = `${say(by)} · ${say(old)} ${sign(value - by * old)}`;
  return `${said(leaf)}[${unitNo(u, p)}] = ${keepName(p)}·${name} + ${T("written")} = ${numbers} = ${say(value)}`;
}
const keepName = (p) => (p.keep.inverted ? `(1−${ownName(p.keep.gate)})` : ownName(p.keep.gate));
const startAt = (p, e, leaf, u) => (p.start && p.start[leaf] ? floats(p.start[leaf])[e * p.H + u] : 0);
// The two factors of each product in a line that is a vector times a matrix: {n, left [K], column [K], names}.
function productsAt(p, e, name, t, u) {
  const { program } = p.live,
    values = plainRun(p, e).steps[t],
    { shapes } = readyOf(p, e);
  return lineOf(p, name)
    .products.map(([n, ...names]) => ({
      n,
      names,
      of: program.ops[n - program.inputs.length][1],
      op: program.ops[n - program.inputs.length],
    }))
    .filter(
      ({ of: [a, b], op }) =>
        shapes[a].length === 1 && shapes[b].length === 2 && op[5].contract[1][0] === 0 && shapes[b][1] > u,
    )
    .map(({ n, names, of: [a, b] }) => ({
      n,
      names,
      left: Array.from(values[a]),
      column: over(shapes[b][0], (k) => values[b][k * shapes[b][1] + u]),
    }));
}
function termsAt(p, e, name, t, u) {
  // the products of a line, the largest first
  return productsAt(p, e, name, t, u)
    .flatMap(({ names: [vector, matrix], left, column }) =>
      left.map((value, k) => ({
        name: `${bare(vector)}[${k}]·${bare(matrix)}`,
        value,
        weight: column[k],
        product: value * column[k],
      })),
    )
    .filter((term) => term.product !== 0)
    .sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
}
const HELPERS = {
  sigmoid: "sigmoid = lambda a: (1 + np.tanh(a / 2)) / 2",
  softplus: "softplus = lambda a: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))",
  rsqrt: "rsqrt = lambda a: 1 / np.sqrt(a)",
};
function snippet(p, e, name, t, u) {
  // NumPy that prints the line's number
  const line = lineOf(p, name),
    values = plainRun(p, e).steps[t],
    exact = (v) => String(Number(v.toPrecision(9))),
    list = (a) => `np.array([${a.map(exact).join(", ")}])`;
  const products = productsAt(p, e, name, t, u),
    known = new Set(products.map(({ n }) => n));
  const code = line.code.replace(/\{(\d+)\}/g, (_, n) =>
    known.has(Number(n)) ? `v${n}` : `(${exact(numberOf(values, Number(n), u))})`,
  );
  const helpers = Object.entries(HELPERS)
    .filter(([word]) => code.includes(`${word}(`))
    .map(([, text]) => text);
  return [
    "import numpy as np",
    ...helpers,
    ...products.map(({ n, names, left, column }) => `v${n} = ${list(left)} @ ${list(column)}  # ${names.join(" ")}`),
    `print(${code})`,
  ].join("\n");
}
