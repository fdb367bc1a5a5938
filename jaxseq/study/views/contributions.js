"use strict";
// The summands of the state at step t: the value that each step before wrote, times the gates since.
function partsOf(t, u, p = part(), e = state.e) {
  // [t + 2], the start's first
  const { written } = ledgerOf(u, p, e),
    made = new Float64Array(t + 2);
  let left = 1;
  for (let s = t; s >= 0; s--) {
    made[s + 1] = left * written[s];
    left *= keepAt(s, u, p, e);
  }
  made[0] = left * startAt(p, e, p.keep.leaf, u);
  return made;
}
VIEWS.contributions = {
  wide: true,
  partsOf,
  none: (p) => [p.keep ? "ledger.many" : "contributions.none"],
  draw(body, data) {
    const p = part(),
      leaf = p.keep.leaf,
      t = state.t,
      n = steps(),
      u = state.u,
      e = state.e,
      order = shownUnits();
    const parts = over(p.H, (k) => partsOf(t, k)),
      most = Math.max(1e-9, ...parts.flatMap((made) => Array.from(made, Math.abs)));
    const adds = (k, s) =>
      T("adds", say(parts[k][s + 1]), `${ownName(leaf)}[${stepNo(t)}]`, say(at(p.carries[leaf], t, k)));
    const [a, b] = boxes(body, 2);
    a.append(caption(T("summands", ownName(leaf), stepNo(t)), scaleBar(MAPS.signed, say3(-most), say3(most))));
    heat(a, {
      rows: order.length,
      columns: n,
      map: MAPS.signed,
      low: -most,
      high: most,
      label: T("summands", ownName(leaf), stepNo(t)),
      left: 36,
      right: 1,
      rowNames: order.map((k) => unitNo(k)),
      ...timeNames(),
      row: order.indexOf(u),
      column: t,
      height: tallOf(order, 150),
      value: (r, s) => (s > t ? NaN : parts[order[r]][s + 1]),
      pick: (r, s) => change({ t: s, u: order[r] }),
      leave: rest,
      hover: (r, s) =>
        read(
          ...(s > t
            ? [T("not_yet", stepNo(s), stepNo(t))]
            : [`${T("unit")} ${unitNo(order[r])}`, `“${label(s)}” (t ${stepNo(s)})`, adds(order[r], s)]),
        ),
    });
    const mine = Array.from(parts[u]),
      rows = mine
        .map((value, s) => ({ name: s ? `t ${stepNo(s - 1)} “${label(s - 1)}”` : T("start_of_state"), value }))
        .filter((row) => row.value !== 0);
    const top = [...rows].sort((x, y) => Math.abs(y.value) - Math.abs(x.value)).slice(0, 6),
      rest_ = mine.reduce((x, y) => x + y, 0) - top.reduce((x, row) => x + row.value, 0);
    b.append(
      caption(T("unit_at_step", unitNo(u), stepNo(t))),
      bars(
        [
          ...top,
          { name: T("all_others"), value: rest_, ink: "var(--soft)" },
          { name: `= ${ownName(leaf)}`, value: at(p.carries[leaf], t, u), ink: "var(--ink)" },
        ],
        T("contributions"),
      ),
    );
    const s = data.steps.indexOf(t);
    if (!data.said) return;
    const S = data.steps.length,
      shown = placesScored(data.steps),
      of = (k, c) => floats(data.said)[(e * S + k) * data.said.shape[2] + c];
    const high = Math.max(1e-9, ...shown.flatMap((k) => over(data.steps[k] + 1, (c) => Math.abs(of(k, c)))));
    const said = (k) =>
      p.outcome.kind === "class"
        ? `${stepNo(data.steps[k])} ${isolated(p.words[p.outcome.ids[data.steps[k]][e][0]])}`
        : String(stepNo(data.steps[k]));
    note(body, "adds_how");
    body.append(caption(T("adds_to_prediction"), scaleBar(MAPS.signed, say3(-high), say3(high))));
    heat(body, {
      rows: shown.length,
      columns: n,
      map: MAPS.signed,
      low: -high,
      high,
      label: T("adds_to_prediction"),
      rowNames: shown.map(said),
      ...timeNames(),
      row: shown.indexOf(s),
      column: t,
      height: Math.max(14 * Math.min(3, shown.length), 160),
      value: (r, c) => (c > data.steps[shown[r]] ? NaN : of(shown[r], c)),
      pick: (r, c) => change({ t: data.steps[shown[r]] }),
      leave: rest,
      hover: (r, c) =>
        read(
          `“${label(c)}” (t ${stepNo(c)}) → ${said(shown[r])}`,
          c > data.steps[shown[r]] ? "—" : sign(of(shown[r], c)),
        ),
    });
  },
};
