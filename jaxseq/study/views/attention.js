"use strict";
VIEWS.attention = {
  draw(body, a) {
    const p = part(),
      e = state.e,
      S = a.source[e].length,
      n = steps(),
      w = (t, s) => at(a.weights, t, s);
    const source = a.source[e].map(isolated),
      words = over(n, (t) => (p.outcome?.kind === "class" ? isolated(p.words[p.outcome.targets[t][e]]) : label(t)));
    body.append(caption(T("attention_map"), scaleBar(MAPS.size, 0, 1)));
    heat(body, {
      rows: n,
      columns: S,
      map: MAPS.size,
      low: 0,
      high: 1,
      label: T("attention_map"),
      left: 90,
      square: true,
      columnNames: source,
      row: state.t,
      rowNames: words,
      value: w,
      pick: (t) => change({ t }),
      leave: rest,
      hover: (t, s) => read(`“${words[t]}” ← “${source[s]}”`, say(w(t, s)), ...(a.parts ? taken(t, s) : [])),
    });
    function taken(t, s) {
      // a score, and its largest parts
      const [, , S, K] = a.parts.shape,
        place = (t * p.B + e) * S + s,
        terms = over(K, (k) => `[${floats(a.units)[place * K + k]}] ${say3(floats(a.parts)[place * K + k])}`);
      return [`${T("score")} ${say(floats(a.scores)[place])}`, `${T("largest")} ${terms.join(", ")}`];
    }
    const looked = (share) =>
      `font-weight:${share > 0.3 ? 700 : 400};color:${share > 0.1 ? "var(--ink)" : "var(--soft)"}`;
    body.append(
      el(
        "p",
        { class: "small" },
        T("source_at", stepNo(state.t)),
        " ",
        source.map((word, s) =>
          el(
            "bdi",
            {
              style: looked(w(state.t, s)),
            },
            ` ${word}`,
          ),
        ),
      ),
    );
    const entropy = over(n, (t) => floats(a.entropy)[t * p.B + e]),
      coverage = over(S, (s) => floats(a.coverage)[e * a.coverage.shape[1] + s]);
    const [x, y] = boxes(body, 2, "twin");
    x.append(caption(T("entropy")));
    chart(x, {
      series: [{ name: T("entropy"), values: entropy, dots: 2 }],
      x: [0, n - 1],
      across: true,
      low: 0,
      high: Math.log(Math.max(2, S)),
      mark: state.t,
      height: 90,
      label: T("entropy"),
      pick: pickTime,
      leave: rest,
      hover: (t) => read(`“${words[t]}”   ${T("entropy")} ${say(entropy[t])}`),
    });
    y.append(caption(T("coverage")));
    chart(y, {
      series: [{ name: T("coverage"), values: coverage, dots: 2, ink: INKS[2] }],
      x: [0, S - 1],
      across: true,
      low: 0,
      height: 90,
      label: T("coverage"),
      leave: rest,
      hover: (s) => read(`“${source[s]}”   ${T("coverage")} ${say(coverage[s])}`),
    });
  },
  rank: 3,
  says(a) {
    const p = part(),
      rows = over(p.B, (e) =>
        over(p.lengths[e], (t) => Math.max(...over(a.source[e].length, (s) => at(a.weights, t, s, p, e)))),
      ).flat();
    return T("attention.says", `${((100 * rows.reduce((x, y) => x + y, 0)) / rows.length).toFixed(0)}%`, rows.length);
  },
};
