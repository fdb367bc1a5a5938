"use strict";
VIEWS.connectivity = {
  draw(body, { steps: rowsOf, norms }) {
    const p = part(),
      n = steps(),
      S = rowsOf.length,
      v = floats(norms),
      e = state.e;
    const rows = placesScored(rowsOf),
      of = (s, t) => v[(e * S + s) * norms.shape[2] + t];
    const sums = rows.map((s) => over(n, (t) => of(s, t)).reduce((a, b) => a + b, 0)),
      share = (r, t) => (t > rowsOf[rows[r]] || !sums[r] ? NaN : of(rows[r], t) / sums[r]);
    const high = Math.max(1e-9, ...rows.flatMap((_, r) => over(n, (t) => share(r, t) || 0)));
    const expected = (t) =>
      p.outcome.kind === "class" ? `${stepNo(t)} ${isolated(p.words[p.outcome.targets[t][e]])}` : String(stepNo(t));
    body.append(caption(T("share_of_loss"), scaleBar(MAPS.size, 0, `${(100 * high).toFixed(0)}%`)));
    heat(body, {
      rows: rows.length,
      columns: n,
      map: MAPS.size,
      low: 0,
      high,
      label: T("connectivity"),
      ...timeNames(),
      rowNames: rows.map((s) => expected(rowsOf[s])),
      row: rows.findIndex((s) => rowsOf[s] === state.t),
      column: state.t,
      height: Math.max(14 * Math.min(rows.length, 3), 220),
      value: share,
      pick: (r, t) => change({ t }),
      leave: rest,
      hover: (r, t) =>
        read(
          `‖∂L[${stepNo(rowsOf[rows[r]])}] / ∂x[${stepNo(t)}]‖`,
          `“${label(t)}”`,
          t > rowsOf[rows[r]] ? T("input_later") : `${say(of(rows[r], t))} = ${percent(share(r, t), 1)}`,
        ),
    });
    note(body, "losses_shown", rows.length, scoredOf(p, e).length);
  },
  rank: 5,
  says({ steps: rowsOf, norms }) {
    const p = part(),
      e = state.e,
      last = scoredOf(p, e).at(-1),
      s = rowsOf.indexOf(last);
    if (s < 0) return null;
    const here = over(last + 1, (t) => floats(norms)[(e * rowsOf.length + s) * norms.shape[2] + t]),
      sum = here.reduce((a, b) => a + b, 0);
    if (!(sum > 0)) return null;
    const t = here.indexOf(Math.max(...here));
    return T("connectivity.says", stepNo(last), label(t), last - t, `${((100 * here[t]) / sum).toFixed(0)}%`);
  },
};
