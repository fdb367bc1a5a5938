"use strict";
VIEWS.saturation = {
  draw(body, { gates }) {
    const p = part(),
      names = Object.keys(gates),
      series = names.map((g, n) => ({
        name: said(g),
        ink: INKS[n % 5],
        values: Array.from(floats(gates[g].histogram)),
      }));
    const bins = series[0].values.length,
      [a, b] = boxes(body, 2, "twin");
    a.append(caption(T("histogram"), key(series)));
    chart(a, {
      series,
      x: [0, bins - 1],
      across: true,
      low: 0,
      height: 160,
      label: T("histogram"),
      xTicks: [0, (bins - 1) / 2, bins - 1],
      xName: (v) => say(v / (bins - 1)),
      hover: (n) =>
        read(
          `${say3(n / bins)} – ${say3((n + 1) / bins)}`,
          ...series.map((s) => `${s.name} ${percent(s.values[n], 1)}`),
        ),
      leave: rest,
    });
    b.append(caption(T("closed_open")));
    const points = [],
      whose = [];
    names.forEach((g, n) =>
      over(p.H, (u) => {
        points.push([floats(gates[g].closed)[u], floats(gates[g].open)[u], INKS[n % 5], u === state.u ? 5 : 2.6]);
        whose.push([said(g), u]);
      }),
    );
    cloud(b, {
      points,
      x: [-0.03, 1.03],
      y: [-0.03, 1.03],
      height: 140,
      label: T("closed_open"),
      xName: T("below"),
      yName: T("above"),
      hover: (n) =>
        read(
          `${whose[n][0]}[${unitNo(whose[n][1])}]`,
          `${T("below")} ${percent(points[n][0])}`,
          `${T("above")} ${percent(points[n][1])}`,
        ),
      pick: (n) => change({ u: whose[n][1] }),
    });
  },
  rank: 8,
  says({ gates }) {
    const mean = (a) => Array.from(floats(a)).reduce((x, y) => x + y, 0) / a.shape[0],
      name = Object.keys(gates).reduce((best, g) => (mean(gates[g].open) > mean(gates[best].open) ? g : best));
    return T(
      "saturation.says",
      ownName(name),
      `${(100 * mean(gates[name].open)).toFixed(0)}%`,
      `${(100 * mean(gates[name].closed)).toFixed(0)}%`,
    );
  },
};
