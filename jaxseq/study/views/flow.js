"use strict";
VIEWS.flow = { draw(body, f) {
  const p = part(), n = steps(), names = Object.keys(f.norms);
  const series = names.map((leaf) => ({ name: `‖∂L/∂${leaf}‖`, values: flowOf(p, leaf) }));
  body.append(caption(T("norm_of_gradient"), key(series)));
  chart(body, { ...along(), series, log: true, height: 130, label: T("flow"), hover: readAll(series) });
  for (const [leaf, values] of Object.entries(f.slopes)) {
    const v = floats(values)[state.e];
    if (Number.isFinite(v)) note(body, "slope", leaf, say(10 ** v, 3), T(v < -.02 ? "vanishing" : v > .02 ? "exploding" : "steady"));
  }
  if (!f.triangle) return;
  const a = f.triangle, v = floats(a), S = f.steps.length, rows = over(S, (s) => s).filter((s) => f.steps[s] < n);
  const norm = (s, t) => v[(state.e * S + s) * a.shape[2] + t], logs = (r, t) => { const x = norm(rows[r], t); return t <= f.steps[rows[r]] && x > 0 ? Math.log10(x) : NaN; };
  const all = over(rows.length, (r) => over(n, (t) => logs(r, t))).flat().filter(Number.isFinite);
  if (!all.length) return;
  const high = Math.max(...all), low = Math.max(Math.min(...all), high - 8);
  body.append(caption(T("triangle", f.leaf), scaleBar(MAPS.size, `${Math.min(...all) < low ? "≤ " : ""}${say(10 ** low, 2)}`, say(10 ** high, 2))));
  heat(body, { rows: rows.length, columns: n, map: MAPS.size, low, high, label: T("triangle", f.leaf), row: rows.findIndex((s) => f.steps[s] === state.t), rowNames: rows.map((s) => `L ${stepNo(f.steps[s])}`), ...timeNames(), column: state.t, height: Math.max(14 * Math.min(rows.length, 3), 160), value: logs, pick: (r, t) => change({ t }), leave: rest,
    hover: (r, t) => read(`‖∂L[${f.steps[rows[r]]}] / ∂${f.leaf}[${t}]‖   ${t > f.steps[rows[r]] ? T("later") : say(norm(rows[r], t))}`) });
} };
