"use strict";
VIEWS.timelines = {
  wide: true,
  draw(body) {
    const p = part(),
      count = Object.keys(p.gates).length + Object.keys(p.carries).length,
      free = boxes(body, count, count % 4 ? "pair" : "triple");
    if (!Object.keys(p.gates).length) note(body, "timelines.none", partName(p.name));
    const others = Object.entries(p.others).map(([name, shape]) => `${said(name)} (${shape.join(" × ") || 1})`);
    if (others.length) note(body, "timelines.others", p.H, others.join(T("comma")));
    for (const [g, values] of Object.entries(p.gates))
      unitsOverTime(free.shift(), gateName(g), values, p.ranges[g], readGate(g));
    for (const [leaf, values] of Object.entries(p.carries)) {
      unitsOverTime(free.shift(), leafName(leaf), values, null, (t, u) =>
        read(`t ${stepNo(t)} “${label(t)}”   ${leafLine(p, state.e, leaf, t, u)}`),
      );
    }
    const pins = [...new Set([state.u, ...state.pins])].slice(0, 5),
      main = mainGate(),
      leaf = mainLeaf();
    const lines = [
        main && [gateName(main), p.gates[main], p.ranges[main]],
        leaf && [leafName(leaf), p.carries[leaf], null],
      ].filter(Boolean),
      places = boxes(body, lines.length);
    for (const [name, a, bounds] of lines) {
      const box = places.shift(),
        series = pins.map((u) => ({ name: `${T("unit")} ${unitNo(u)}`, values: track(a, u) }));
      box.append(caption(T("colon", T("pinned"), name), key(series)));
      chart(box, {
        ...along(),
        series,
        low: bounds ? bounds[0] : undefined,
        high: bounds ? bounds[1] : undefined,
        height: 100,
        label: T("colon", T("pinned"), name),
        hover: readAll(series),
      });
    }
  },
};
