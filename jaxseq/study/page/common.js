"use strict";
// Functions that views share: reading out, captions, boxes, heat maps of units over time.
// ---- reading out the value under the pointer ----
function read(...pieces) {
  byId("read").textContent = pieces.filter(Boolean).join("   ");
}
const stepAt = (t, p = part()) => `t ${stepNo(t, p)} “${label(t, p)}”`;
const known = (v, instead = T("undefined")) => (Number.isFinite(v) ? say(v) : instead);
function rest() {
  const p = part(),
    u = state.u,
    t = state.t,
    leaf = mainLeaf(),
    gate = mainGate();
  read(stepAt(t), gate && gateLine(p, state.e, gate, t, u), leaf && leafLine(p, state.e, leaf, t, u));
}
const readGate = (g) => (t, u) => read(stepAt(t), gateLine(part(), state.e, g, t, u));

// ---- views ----
const VIEWS = {};
const memory = {}; // the last values of forms
function caption(name, right) {
  return el("div", { class: "cap" }, el("span", {}, name), right || "");
}
function note(body, id, ...values) {
  body.append(el("p", { class: "small" }, T(id, ...values)));
}
// Of a part that is one layer of a stack: a view that is of all of them says so.
const noteLayers = (body) => {
  const { gates, carries } = part();
  if (Object.keys({ ...gates, ...carries }).some((name) => layered(name)[0])) note(body, "all_layers");
};
const pickTime = (t) => change({ t });
function boxes(body, count, kind = "pair") {
  // laid out before anything is drawn into them, so that their widths are known
  const made = over(count, () => el("div"));
  body.append(el("div", { class: kind }, made));
  return made;
}
const along = () => ({
  x: [0, steps() - 1],
  xName: (t) => say(stepNo(t)),
  across: true,
  mark: state.t,
  pick: pickTime,
  leave: rest,
}); // a chart over time
const readAll = (series) => (t) => read(stepAt(t), ...series.map((s) => `${s.name} ${known(s.values[t], "—")}`));

function unitsOverTime(box, name, values, bounds, readOff, p = part(), height = 130) {
  const [map, low, high] = mapOf(values, bounds, p),
    order = shownUnits(p),
    mine = p === part();
  box.append(caption(name, scaleBar(map, say3(low), say3(high))));
  heat(box, {
    rows: order.length,
    columns: p.lengths[state.e],
    map,
    low,
    high,
    label: T("heat_label", name, order.length, p.lengths[state.e]),
    row: mine ? order.indexOf(state.u) : -1,
    column: state.t,
    height: tallOf(order, height),
    left: 36,
    right: 1,
    rowNames: order.map((u) => unitNo(u, p)),
    ...timeNames(p),
    value: (r, t) => at(values, t, order[r], p),
    hover: (r, t) => readOff(t, order[r]),
    leave: rest,
    pick: (r, t) => change({ p: DATA.parts.indexOf(p), t, u: order[r] }),
  });
}
const timeNames = (p = part()) => ({
  columnNumbers: over(p.lengths[state.e], (t) => stepNo(t, p)),
  columnNames: over(p.lengths[state.e], (t) => label(t, p)).map((word, t) => (word === String(t) ? "" : word)),
});
const leafName = (leaf) =>
  `${said(leaf)}  ${T(TEXTS.en[`leaf.${ownName(leaf)}`] ? `leaf.${ownName(leaf)}` : "leaf.other")}`;

// Why a layer without a gate that retains has no ledger and no half-life, or the parts it retains without a gate.
function withoutGate(id, p) {
  const r = p.retained,
    steps = (v) => (v === null ? "∞" : say3(v));
  return r
    ? [`${id}.constant`, r.leaves.map(ownName).join(T("comma")), ...r.moduli.map(say3), ...r.half_lives.map(steps)]
    : [`${id}.none`];
}

const flowOf = (p, leaf) => over(p.lengths[state.e], (t) => floats(p.views.flow.norms[leaf])[t * p.B + state.e]);
