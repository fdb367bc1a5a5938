"use strict";
VIEWS.atlas = {
  wide: true,
  draw(body, a) {
    const p = part(),
      v = floats(a.change),
      order = shownUnits(),
      defined = Array.from(v).filter(Number.isFinite),
      most = Math.max(1e-9, ...defined.map(Math.abs));
    const names = a.gates.flatMap((g) => a.values.map((x) => `${said(g)} := ${x === "mean" ? T("its_mean") : x}`)),
      of = (r, c) => v[r * p.H + order[c]];
    body.append(caption(T("atlas.change"), scaleBar(MAPS.signed, say3(-most), say3(most))));
    heat(body, {
      rows: names.length,
      columns: order.length,
      left: "fit",
      map: MAPS.signed,
      low: -most,
      high: most,
      label: T("atlas"),
      rowNames: names,
      columnNames: order.map((u) => String(unitNo(u))),
      column: order.indexOf(state.u),
      height: 14 * names.length,
      value: of,
      pick: (r, c) => change({ u: order[c] }),
      leave: rest,
      hover: (r, c) => read(names[r], `${T("unit")} ${unitNo(order[c])}`, `Δ ${T("loss")} ${known(of(r, c))}`),
    });
    if (defined.length < v.length) note(body, "undefined_of", v.length - defined.length, v.length);
  },
  rank: 2,
  says(a) {
    const p = part(),
      most = largestOf(a.change),
      u = most % p.H,
      row = Math.floor(most / p.H),
      value = a.values[row % a.values.length];
    const own = Array.from(floats(p.outcome.losses)).reduce((x, y) => x + y, 0),
      change = floats(a.change)[most];
    // a network that is not used, such as one whose readout is 0, has no unit that matters
    if (!Number.isFinite(change) || say3(own) === say3(own + change)) return null;
    const gate = a.gates[Math.floor(row / a.values.length)];
    return T(
      layered(gate)[0] ? "atlas.says_layer" : "atlas.says",
      ownName(gate),
      unitNo(u),
      value === "mean" ? T("its_mean") : value,
      say3(own),
      say3(own + change),
    );
  },
};
