"use strict";
VIEWS.replay = {
  wide: true,
  draw(body, r) {
    const p = part(),
      n = r.steps.length,
      s = Math.max(0, Math.min(n - 1, state.snap ?? n - 1)),
      loss = r.loss && Array.from(floats(r.loss));
    const to = (k) => {
      if (k !== s) change({ snap: k });
    };
    const shown = {
      x: [0, n - 1],
      across: true,
      mark: s,
      pick: to,
      leave: rest,
      xTicks: over(n, (k) => n - 1 - k).filter((k) => (n - 1 - k) % Math.ceil(n / 6) === 0),
      xName: (k) => String(r.steps[k] ?? ""),
    };
    body.append(caption(`${T("snapshot_at", r.steps[s])}${loss ? `: ${T("loss")} ${say(loss[s])}` : ""}`));
    if (loss)
      chart(body, {
        ...shown,
        series: [{ name: T("loss"), values: loss, dots: 3 }],
        log: true,
        height: 100,
        label: T("training_loss"),
        hover: (k) => read(`${T("snapshot_at", r.steps[k])}   ${T("loss")} ${say(loss[k])}`),
      });
    body.append(
      el("input", {
        type: "range",
        class: "scrub",
        min: 0,
        max: n - 1,
        value: s,
        id: "snap",
        "aria-label": T("replay"),
        "aria-valuetext": T("snapshot_at", r.steps[s]),
        oninput: (event) => to(Number(event.target.value)),
      }),
    );
    const names = Object.keys(r.histograms),
      places = boxes(body, names.length + 1, "triple");
    if (!names.length) {
      note(body, "saturation.none", partName(p.name));
      return;
    }
    for (const g of names) {
      const a = r.histograms[g],
        bins = a.shape[1],
        v = floats(a),
        box = places.shift(),
        high = Math.max(...v);
      box.append(caption(gateName(g), scaleBar(MAPS.size, 0, `${(100 * high).toFixed(0)}%`)));
      heat(box, {
        rows: bins,
        columns: n,
        map: MAPS.size,
        low: 0,
        high,
        left: 28,
        right: 1,
        height: 110,
        label: T("replay_of", gateName(g)),
        rowNames: over(bins, (k) => (k === 0 ? "1" : k === bins - 1 ? "0" : "")),
        columnNames: over(n, (k) => String(r.steps[k])),
        column: s,
        value: (k, m) => v[m * bins + bins - 1 - k],
        pick: (k, m) => to(m),
        leave: rest,
        hover: (k, m) =>
          read(
            T("snapshot_at", r.steps[m]),
            `${said(g)} ${say3((bins - 1 - k) / bins)} – ${say3((bins - k) / bins)}`,
            percent(v[m * bins + bins - 1 - k], 1),
          ),
      });
    }
    const means = names.map((g) => ({ name: said(g), values: Array.from(floats(r.means[g])) }));
    places[0].append(caption(T("mean_gates"), key(means)));
    chart(places[0], {
      ...shown,
      series: means,
      low: 0,
      high: 1,
      height: 124,
      label: T("mean_gates"),
      xTicks: shown.xTicks.filter((k, m) => m % 2 === 0),
      hover: (k) =>
        read(`${T("snapshot_at", r.steps[k])}   ${means.map((m) => `${m.name} ${say3(m.values[k])}`).join("   ")}`),
    });
  },
};
