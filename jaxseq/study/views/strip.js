"use strict";
VIEWS.strip = {
  wide: true,
  draw(body, strip) {
    const p = part(),
      n = steps(),
      e = state.e;
    const wide = Math.max(120, body.clientWidth),
      each = (wide - LEFT - RIGHT) / n;
    const row = (name, text, ink, strong) => {
      const root = emptyChart(wide, 18, `${name}: ${over(n, text).join(" ")}`);
      root.append(svg("text", { x: LEFT - 5, y: 13, "text-anchor": "end" }, name));
      let free = LEFT - 20;
      const size = (word) => Array.from(word).reduce((w, ch) => w + (ch.codePointAt(0) > 0x2e00 ? 12 : 7), 0);
      const reserved = [
        LEFT + (state.t + 0.5) * each - size(text(state.t)) / 2,
        LEFT + (state.t + 0.5) * each + size(text(state.t)) / 2,
      ];
      over(n, (t) => {
        const word = text(t),
          middle = LEFT + (t + 0.5) * each,
          half = size(word) / 2,
          here = t === state.t;
        const from = Math.max(LEFT - 2, Math.min(wide - 2 * half, middle - half));
        if (!here && (from < free + 1.5 || (from < reserved[1] + 1.5 && from + 2 * half > reserved[0] - 1.5))) return;
        free = from + 2 * half;
        const node = svg("text", { x: from, y: 13, class: here || strong?.(t) ? "strong" : "" }, word);
        if (ink) node.style.fill = ink(t) || "";
        root.append(node);
      });
      root.addEventListener("click", (event) =>
        pickTime(
          Math.max(0, Math.min(n - 1, Math.floor((event.clientX - root.getBoundingClientRect().left - LEFT) / each))),
        ),
      );
      body.append(root);
    };
    if (p.outcome?.kind === "value") {
      const V = p.outcome.targets.shape[2];
      const series = [
        {
          name: T("expected"),
          values: over(n, (t) => (p.outcome.scored[t][e] ? targetOf(p, t, e)[0] : NaN)),
          ink: INKS[0],
          dots: 3,
        },
        { name: T("predicted"), values: over(n, (t) => at(p.outcome.predictions, t, 0)), ink: INKS[1], dash: true },
      ];
      if (strip.xs)
        over(strip.xs.shape[2], (d) =>
          series.unshift({
            name: strip.xs.shape[2] > 1 ? `${T("input")} ${d}` : T("input"),
            values: track(strip.xs, d),
            ink: d ? INKS[3] : "var(--soft)",
            thin: true,
          }),
        );
      body.append(caption("", key(series)));
      chart(body, {
        series,
        x: [0, n - 1],
        across: true,
        mark: state.t,
        height: 120,
        label: T("strip"),
        xName: (t) => "",
        pick: pickTime,
        hover: readAll(series),
        leave: rest,
      });
      if (V > 1) note(body, "first_of", V);
    }
    row(T("input"), (t) => label(t));
    if (p.outcome?.kind === "class") {
      const best = (t) => p.words[p.outcome.ids[t][e][0]];
      const shares = (k) => at(p.outcome.shares, state.t, k);
      const right = (t) => p.outcome.ids[t][e][0] === p.outcome.targets[t][e];
      row(T(p.outcome.own ? "written_by" : "expected"), (t) =>
        p.outcome.scored[t][e] ? p.words[p.outcome.targets[t][e]] : "·",
      );
      row(
        T("predicted"),
        (t) => (p.outcome.scored[t][e] ? best(t) : "·"),
        (t) => (p.outcome.scored[t][e] ? (right(t) ? "var(--good)" : "var(--bad)") : null),
        (t) => p.outcome.scored[t][e] && !right(t),
      );
      body.append(
        el(
          "p",
          { class: "small" },
          T(
            "colon",
            p.outcome.scored[state.t][e] ? T("at_step", stepNo(state.t)) : T("at_step_not_scored", stepNo(state.t)),
            "",
          ),
          over(p.outcome.ids[state.t][e].length, (k) =>
            el("bdi", {}, `${k ? ", " : ""}${p.words[p.outcome.ids[state.t][e][k]]} ${percent(shares(k), 1)}`),
          ),
        ),
      );
    }
    if (p.outcome) {
      const values = over(n, (t) => (p.outcome.scored[t][e] ? floats(p.outcome.losses)[t * p.B + e] : NaN));
      const sum = values.filter(Number.isFinite).reduce((a, b) => a + b, 0),
        count = values.filter(Number.isFinite).length;
      body.append(caption(`${T("loss_per_step")} — ${T("sum_mean", say(sum), say(sum / Math.max(1, count)))}`));
      chart(body, {
        series: [{ name: T("loss"), values, dots: 2.2 }],
        x: [0, n - 1],
        across: true,
        low: 0,
        mark: state.t,
        height: 70,
        label: T("loss_per_step"),
        pick: pickTime,
        hover: (t) => read(stepAt(t), `${T("loss")} ${known(values[t], T("not_scored"))}`),
        leave: rest,
      });
    }
  },
  rank: 1,
  says() {
    const p = part(),
      o = p.outcome;
    if (!o) return null;
    const scored = over(p.B, (e) => scoredOf(p, e).map((t) => [t, e])).flat(),
      mean = scored.reduce((sum, [t, e]) => sum + floats(o.losses)[t * p.B + e], 0) / Math.max(1, scored.length);
    if (o.kind === "value") return T("strip.says_values", scored.length, say3(mean));
    if (o.own) return T("strip.says_own", scored.length, say3(mean));
    return T(
      "strip.says",
      scored.filter(([t, e]) => o.ids[t][e][0] === o.targets[t][e]).length,
      scored.length,
      say3(mean),
    );
  },
};
