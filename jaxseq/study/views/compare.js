"use strict";
VIEWS.compare = {
  wide: true,
  draw(body) {
    const parts = DATA.parts.filter((p) => p.views.compare),
      c = parts.map((p) => p.views.compare),
      e = state.e;
    const across = (name, of) => [name, ...parts.map(of)];
    body.append(
      table(
        [T("cell"), ...parts.map((p) => partName(p.name))],
        [
          across(T("accuracy"), (p, n) => (c[n].accuracy === null ? "—" : `${(100 * c[n].accuracy).toFixed(1)}%`)),
          across(T("loss"), (p, n) => say3(c[n].loss)),
          across(T("left_of_gradient"), (p) => (p.views.flow?.triangle ? say(relative(p)[0], 2) : "—")),
          across(T("half_outlast"), ({ views: { half } }) =>
            half ? T("half_outlast_of", half.outlast, half.of, half.lag) : T("no_keep"),
          ),
          across(T("units_parameters"), (p, n) => `${p.H} / ${c[n].parameters}`),
        ],
        parts.map((_, n) => n + 1),
      ),
    );
    const [a, b] = boxes(body, 2);
    const curves = parts.map((p, n) => ({
      name: partName(p.name),
      values: Array.from(floats(c[n].losses)),
      at: Array.from(floats(c[n].steps)),
    }));
    a.append(caption(T("training_loss"), key(curves)));
    chart(a, {
      series: curves,
      log: true,
      x: [0, Math.max(...curves.flatMap((s) => s.at))],
      height: 150,
      label: T("training_loss"),
    });
    function relative(p) {
      // the part of the gradient of the last loss that is left at each step before
      const f = p.views.flow,
        S = f.steps.length,
        norm = (s, t) => floats(f.triangle)[(e * S + s) * f.triangle.shape[2] + t];
      const row = (s) => over(p.lengths[e], (t) => norm(s, t)),
        g = over(S, row).findLast((one) => one.some((v) => v > 0)) || row(S - 1);
      const end = g.findLast((v) => v > 0) || 1;
      return g.map((v) => v / end);
    }
    if (parts.every((p) => p.views.flow?.triangle)) {
      const flows = parts.map((p) => ({
        name: `${partName(p.name)} ∂L/∂${ownName(p.views.flow.leaf)}`,
        values: relative(p),
      }));
      b.append(caption(T("relative_flow"), key(flows)));
      chart(b, {
        ...along(),
        series: flows,
        log: true,
        height: 150,
        floor: 1,
        label: T("relative_flow"),
        hover: readAll(flows),
      });
    }
    const gates = boxes(body, parts.length, "triple"),
      states = boxes(body, parts.length, "triple");
    parts.forEach((p, n) => {
      if (p.keep)
        unitsOverTime(
          gates[n],
          T("colon", partName(p.name), gateName(p.keep.gate, p)),
          p.gates[p.keep.gate],
          p.ranges[p.keep.gate],
          (t, u) =>
            read(`${partName(p.name)}   t ${stepNo(t, p)} “${label(t, p)}”   ${gateLine(p, e, p.keep.gate, t, u)}`),
          p,
          90,
        );
      else {
        gates[n].className = "top";
        gates[n].append(caption(partName(p.name)), el("p", { class: "small" }, T("no_keep")));
      }
      const leaf = mainLeaf(p);
      if (!leaf) return; // more than one number for each unit
      unitsOverTime(
        states[n],
        T("colon", partName(p.name), leafName(leaf)),
        p.carries[leaf],
        null,
        (t, u) => read(`${partName(p.name)}   t ${stepNo(t, p)} “${label(t, p)}”   ${leafLine(p, e, leaf, t, u)}`),
        p,
        90,
      );
    });
  },
};
