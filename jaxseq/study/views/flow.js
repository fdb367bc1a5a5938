"use strict";
const factor = (v) => (v === null ? "0" : say3(Math.exp(v))); // of nats; JSON has no -Infinity
// The largest exponent as a factor, with no digit that the steps do not support.
const allowed = (j) => say(Math.exp(floats(j.lyapunov)[0]), j.decimals + 1);
VIEWS.flow = {
  draw(body, f) {
    const p = part(),
      n = steps(),
      names = Object.keys(f.norms);
    const series = names.map((leaf) => ({ name: `‖∂L/∂${ownName(leaf)}‖`, values: flowOf(p, leaf) }));
    body.append(caption(T("norm_of_gradient"), key(series)));
    chart(body, { ...along(), series, log: true, height: 130, label: T("flow"), hover: readAll(series) });
    for (const [leaf, rows] of Object.entries(f.lags)) {
      const v = rows[state.e];
      if (v.word === "undefined") note(body, "slope.none", ownName(leaf));
      else
        note(
          body,
          "slope",
          ownName(leaf),
          factor(v.slope),
          factor(v.lowest),
          factor(v.highest),
          v.losses,
          v.span,
          T(v.word),
        );
    }
    if (p.views.jacobian && state.e === 0) note(body, "slope.most", allowed(p.views.jacobian));
    if (!f.triangle) return;
    const a = f.triangle,
      v = floats(a),
      S = f.steps.length,
      rows = placesScored(f.steps);
    const norm = (s, t) => v[(state.e * S + s) * a.shape[2] + t],
      logs = (r, t) => {
        const x = norm(rows[r], t);
        return t <= f.steps[rows[r]] && x > 0 ? Math.log10(x) : NaN;
      };
    const all = over(rows.length, (r) => over(n, (t) => logs(r, t)))
      .flat()
      .filter(Number.isFinite);
    if (!all.length) return;
    const high = Math.max(...all),
      low = Math.max(Math.min(...all), high - 8);
    body.append(
      caption(
        T("triangle", ownName(f.leaf)),
        scaleBar(MAPS.size, `${Math.min(...all) < low ? "≤ " : ""}${say(10 ** low, 2)}`, say(10 ** high, 2)),
      ),
    );
    heat(body, {
      rows: rows.length,
      columns: n,
      map: MAPS.size,
      low,
      high,
      label: T("triangle", ownName(f.leaf)),
      row: rows.findIndex((s) => f.steps[s] === state.t),
      rowNames: rows.map((s) => `L ${stepNo(f.steps[s])}`),
      ...timeNames(),
      column: state.t,
      height: Math.max(14 * Math.min(rows.length, 3), 160),
      value: logs,
      pick: (r, t) => change({ t }),
      leave: rest,
      hover: (r, t) =>
        read(
          `‖∂L[${stepNo(f.steps[rows[r]])}] / ∂${ownName(f.leaf)}[${stepNo(t)}]‖`,
          t > f.steps[rows[r]] ? T("later") : say(norm(rows[r], t)),
        ),
    });
  },
  rank: 3,
  says(f) {
    const v = f.lags[f.leaf][state.e];
    return v.word === "undefined" ? null : T("flow.says", ownName(f.leaf), factor(v.slope), v.span, T(v.word));
  },
};
