"use strict";
VIEWS.patching = {
  draw(body, a) {
    const p = part(),
      e = state.e,
      S = a.steps.length,
      n = steps(),
      other = (e + 1) % p.B,
      v = floats(a.change);
    const own = floats(a.own)[e],
      theirs = floats(a.other)[e],
      whole = theirs - own,
      columns = over(S, (s) => s).filter((s) => a.steps[s] < n);
    const of = (g, s) => v[(g * S + columns[s]) * p.B + e],
      most = Math.max(1e-9, Math.abs(whole), ...a.names.flatMap((_, g) => columns.map((_, s) => Math.abs(of(g, s)))));
    const near = columns.reduce(
      (best, s, k) => (Math.abs(a.steps[s] - state.t) < Math.abs(a.steps[columns[best]] - state.t) ? k : best),
      0,
    );
    body.append(caption(T("change_by_patch", e + 1, other + 1), scaleBar(MAPS.signed, say3(-most), say3(most))));
    const names = timeNames(),
      all = columns.length === n ? names : { columnNames: columns.map((s) => String(stepNo(a.steps[s]))) };
    heat(body, {
      rows: a.names.length,
      columns: columns.length,
      map: MAPS.signed,
      low: -most,
      high: most,
      label: T("patching"),
      left: "fit",
      rowNames: a.names.map(said),
      ...all,
      column: near,
      height: 14 * a.names.length,
      value: of,
      pick: (g, s) => change({ t: a.steps[columns[s]] }),
      leave: rest,
      hover: (g, s) =>
        read(
          `${said(a.names[g])} t ${stepNo(a.steps[columns[s]])}`,
          `Δ ${T("loss")} ${say(of(g, s))}`,
          Math.abs(whole) > 1e-6 && `= ${percent(of(g, s) / whole)}`,
        ),
    });
    note(body, "patch_losses", say(own), say(theirs), columns.length, n);
    if (Math.abs(whole) <= 1e-6) note(body, "patch_same");
  },
};
