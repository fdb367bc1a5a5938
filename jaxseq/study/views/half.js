"use strict";
VIEWS.half = {
  always: true,
  none: (p) => withoutGate("half", p),
  draw(body, h) {
    const p = part(),
      life = floats(h.life),
      order = p.order,
      rows = shownUnits(),
      longest = h.longest,
      mean = (u) => say(floats(h.mean)[u]),
      cap = longest * 1.3,
      n = steps();
    const high = (u) => Math.log10(Math.max(0.1, h.censored[u] ? cap : life[u])),
      name = (u) => (h.censored[u] ? `>${longest}` : say3(life[u]));
    const points = order.map((u, k) => [k, high(u), h.censored[u] ? INKS[1] : INKS[0], u === state.u ? 5 : 2.6]);
    const [a, b] = boxes(body, 2, "stack");
    a.append(
      caption(
        T("half_axis"),
        key([
          { name: T("seen"), ink: INKS[0] },
          { name: `>${longest}`, ink: INKS[1] },
        ]),
      ),
    );
    cloud(a, {
      points,
      x: [-0.5, p.H - 0.5],
      y: [-1.05, Math.log10(cap) + 0.06],
      height: 150,
      label: T("half"),
      xName: T("units_sorted"),
      yName: T("steps"),
      yTicks: [-1, 0, 1, 2, 3, 4].filter((v) => v <= Math.log10(cap)),
      yTick: (v) => `${v === -1 && order.some((k) => !h.censored[k] && life[k] < 0.1) ? "≤ " : ""}${powerOf(10 ** v)}`,
      leave: rest,
      hover: (k) =>
        read(
          `${T("unit")} ${unitNo(order[k])}`,
          `${T("half_short")} ${name(order[k])}`,
          `${T("mean_keep")} ${mean(order[k])}`,
          `= ln ½ / ln ${mean(order[k])}`,
        ),
      pick: (k) => change({ u: order[k] }),
    });
    const left = survivalOf();
    b.append(caption(T("survival"), scaleBar(MAPS.gate, 0, 1)));
    heat(b, {
      rows: rows.length,
      columns: n,
      map: MAPS.gate,
      low: 0,
      high: 1,
      label: T("survival"),
      left: 36,
      right: 1,
      rowNames: rows.map((k) => unitNo(k)),
      ...timeNames(),
      row: rows.indexOf(state.u),
      column: state.t,
      height: tallOf(rows, 150),
      value: (r, t) => left[t][rows[r]],
      pick: (r, t) => change({ t, u: rows[r] }),
      leave: rest,
      hover: (r, t) =>
        read(
          `${T("unit")} ${unitNo(rows[r])}`,
          `∏ ${keepName(p)}[${stepNo(t + 1)} … ${stepNo(n - 1)}] = ${say(left[t][rows[r]])}`,
        ),
    });
    note(body, "half_pooled", p.pooled.sequences, p.pooled.steps, h.longest, h.outlast, h.of, h.lag);
    note(body, "half_of", unitNo(state.u), name(state.u), say(floats(h.mean)[state.u]));
  },
  rank: 4,
  says(h) {
    const first = part().order[0],
      life = floats(h.life)[first];
    if (h.outlast) return T("half.says", h.outlast, h.of, h.lag);
    return Number.isFinite(life)
      ? T("half.says_seen", unitNo(first), h.censored[first] ? `>${h.longest}` : say3(life), h.lag)
      : null;
  },
};
