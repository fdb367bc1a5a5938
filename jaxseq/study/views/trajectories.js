"use strict";
const STABLE = ["stable", "line attractor", "centre"],
  LENGTH = 0.08; // of half an eigenvector, as a share of the picture
VIEWS.trajectories = {
  draw(body, { points, shares, settled, why }) {
    const p = part(),
      v = floats(points),
      K = points.shape[2];
    const place = (t, e) => [v[(t * p.B + e) * K], K > 1 ? v[(t * p.B + e) * K + 1] : 0];
    const rows = over(p.B, (e) => over(p.lengths[e], (t) => place(t, e)));
    const found = settled
      ? over(settled.kinds.length, (m) => [floats(settled.at)[m * K], K > 1 ? floats(settled.at)[m * K + 1] : 0])
      : [];
    const every = rows.flat();
    const ends = [0, 1].map((axis) => every.map((at) => at[axis])).map((all) => [Math.min(...all), Math.max(...all)]),
      widest = Math.max(...ends.map(([low, high]) => high - low));
    const bounds = (axis) => {
      // a component that does not vary is drawn to the scale of the other: its digits are those of rounding
      const [low, high] = ends[axis],
        room = high - low > 1e-4 * widest ? 0.08 * (high - low) : widest / 2 || 0.5;
      return [low - room, high + room];
    };
    const x = bounds(0),
      y = bounds(1),
      inside = ([a, b]) => a >= x[0] && a <= x[1] && b >= y[0] && b <= y[1];
    const share = floats(shares),
      axis = (k) => `PC ${k + 1} (${(100 * (share[k] ?? 0)).toFixed(0)}%)`;
    const paths = rows.map((row, e) => ({
      points: row,
      ink: e === state.e ? INKS[0] : "var(--soft)",
      width: e === state.e ? 1.8 : 1,
      faint: e !== state.e,
    }));
    const shown = found.map((at, m) => m).filter((m) => inside(found[m]));
    for (const m of shown) {
      // the direction of the first eigenvector, as long as a share of the picture, and within it
      const way = [floats(settled.ways)[m * K], K > 1 ? floats(settled.ways)[m * K + 1] : 0],
        length = Math.hypot(way[0] / (x[1] - x[0]), way[1] / (y[1] - y[0])) || 1;
      const room = (sign) =>
        [x, y].map((axis, k) => {
          const by = sign * way[k];
          return by ? (axis[by > 0 ? 1 : 0] - found[m][k]) / by : Infinity;
        });
      const end = (sign) => {
        const far = Math.min(LENGTH / length, ...room(sign));
        return found[m].map((c, k) => c + sign * far * way[k]);
      };
      paths.push({ points: [end(-1), end(1)], ink: INKS[1], width: 1, faint: true });
    }
    const here = rows[state.e],
      dots = here.map(([a, b], t) => [
        a,
        b,
        t === state.t ? "var(--ink)" : INKS[0],
        t === state.t ? 5 : 2,
        `t ${stepNo(t)} ${label(t)}`,
      ]);
    const marks = shown.map((m) => [
      ...found[m],
      INKS[1],
      5,
      T(`kind.${settled.kinds[m]}`),
      !STABLE.includes(settled.kinds[m]),
    ]);
    body.append(
      caption(
        T("paths_of", state.e + 1),
        key([
          { name: T("this_example"), ink: INKS[0] },
          { name: T("other_examples"), ink: "var(--soft)" },
          ...(settled ? [{ name: T("fixed_points"), ink: INKS[1] }] : []),
        ]),
      ),
    );
    cloud(body, {
      points: [...dots, ...marks],
      paths,
      x,
      y,
      height: 300,
      label: T("trajectories"),
      xName: axis(0),
      yName: axis(1),
      leave: rest,
      pick: (n) => {
        if (n < dots.length) pickTime(n);
      },
      hover: (n) =>
        read(
          n < dots.length
            ? `t ${stepNo(n)} “${label(n)}”   PC 1 ${say3(dots[n][0])}   PC 2 ${say3(dots[n][1])}`
            : describe(shown[n - dots.length]),
        ),
    });
    noteLayers(body);
    function describe(m) {
      const kind = T(settled.fixed[m] ? `kind.${settled.kinds[m]}` : "slow_point"),
        angle = floats(settled.angles)[m];
      const turns = angle > 1e-3 ? `   ${T("turns", say3((2 * Math.PI) / angle))}` : "";
      return [
        kind,
        `|λ₁| = ${say(floats(settled.sizes)[m])}`,
        `|F(h) − h| = ${say3(Math.sqrt(2 * floats(settled.speeds)[m]))}`,
        `${T("from_starts", settled.found[m], settled.starts)}${turns}`,
      ].join("   ");
    }
    if (!settled) {
      note(body, "no_points", why);
      return;
    }
    body.append(
      table(
        [T("point"), "|λ₁|", "|F(h) − h|", T("starts")],
        over(found.length, (m) => [
          T(settled.fixed[m] ? `kind.${settled.kinds[m]}` : "slow_point"),
          say(floats(settled.sizes)[m]),
          say3(Math.sqrt(2 * floats(settled.speeds)[m])),
          `${settled.found[m]} / ${settled.starts}`,
        ]),
        [1, 2, 3],
      ),
    );
    note(
      body,
      "points_over",
      settled.held ? `“${settled.held}”` : T("mean_input"),
      settled.starts,
      settled.total,
      found.length,
      found.length - shown.length,
    );
  },
  rank: 7,
  says({ settled }) {
    if (!settled || !settled.kinds.length) return null;
    const stable = settled.kinds.filter((kind, m) => settled.fixed[m] && STABLE.includes(kind)).length;
    return T("trajectories.says", settled.held ? `“${settled.held}”` : T("mean_input"), settled.total, stable);
  },
};
