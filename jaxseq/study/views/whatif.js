"use strict";
const total = (run) => run.losses.reduce((a, b) => a + b, 0);
const QUICK = 3e7; // multiplications of a run below which all presets are tried at once
VIEWS.whatif = {
  wide: true,
  draw(body) {
    const p = part();
    const gates = heldGates(p);
    if (!gates.length) {
      note(body, "not_live", p.live ? T("why.gates") : T(`why.${p.why}`, p.why_text));
      return;
    }
    const add = (c) => change({ clamps: [...state.clamps.filter((o) => o.gate !== c.gate || o.unit !== c.unit), c] });
    const presets = [];
    if (p.keep && gates.includes(p.keep.gate)) {
      presets.push(
        ["never_forget", { gate: p.keep.gate, unit: null, value: p.keep.inverted ? 0 : 1 }],
        ["forget_all", { gate: p.keep.gate, unit: null, value: p.keep.inverted ? 1 : 0 }],
      );
    }
    const write = coupled(p);
    if (write)
      presets.push(["coupled", { gate: write, unit: null, value: OTHER }, ownName(write), ownName(p.keep.gate)]);
    for (const [id, role] of [
      ["shut_out", "show"],
      ["reset_one", "reset"],
    ])
      // a query, say, shows as an output gate does, and is not open at 1
      if (gateOf(role) && !p.signed.includes(gateOf(role)))
        presets.push([id, { gate: gateOf(role), unit: null, value: 1 }]);
    body.append(
      el(
        "div",
        { class: "row" },
        presets.map(([id, c, ...names]) =>
          el("button", { type: "button", id: `preset-${id}`, onclick: () => add(c) }, T(id, ...names)),
        ),
        el(
          "button",
          { type: "button", id: "whatif-clear", onclick: () => change({ clamps: [], swap: null }) },
          T("clear"),
        ),
      ),
    );
    const presetRuns = () =>
      presets.map(([id, c, ...names]) => ({
        name: T(id, ...names),
        value: total(rerun(p, state.e, [c])) - total(plainRun()),
      }));
    const form = {
      gate: gates.includes(memory.gate) ? memory.gate : gates[0],
      whom: memory.whom || "unit",
      value: memory.value || "0",
    };
    const choose = (name, options, id) =>
      el(
        "label",
        {},
        T(id),
        el(
          "select",
          {
            id: `whatif-${name}`,
            onchange: (event) => {
              memory[name] = event.target.value;
            },
          },
          options.map(([v, text]) => el("option", { value: v, selected: v === form[name] }, text)),
        ),
      );
    body.append(
      el(
        "div",
        { class: "row" },
        choose(
          "gate",
          gates.map((g) => [g, gateName(g)]),
          "gate",
        ),
        choose(
          "whom",
          [
            ["unit", `${T("unit")} ${unitNo(state.u)}`],
            ["all", T("all_units")],
          ],
          "of",
        ),
        choose(
          "value",
          [
            ["0", "0"],
            ["1", "1"],
            ["mean", T("its_mean")],
          ],
          "held_at",
        ),
        el(
          "button",
          {
            type: "button",
            id: "whatif-add",
            onclick: () =>
              add({
                gate: byId("whatif-gate").value,
                unit: byId("whatif-whom").value === "all" ? null : state.u,
                value: byId("whatif-value").value === "mean" ? "mean" : Number(byId("whatif-value").value),
              }),
          },
          T("hold"),
        ),
      ),
    );
    if (p.live.labels) {
      const s = p.live.labels;
      body.append(
        el(
          "div",
          { class: "row" },
          el(
            "label",
            {},
            T("swap_at", stepNo(state.t), label(state.t)),
            el(
              "select",
              {
                id: "whatif-swap",
                onchange: (event) =>
                  change({ swap: event.target.value === "" ? null : [state.t, Number(event.target.value)] }),
              },
              el("option", { value: "" }, "—"),
              s.map((word, n) =>
                el(
                  "option",
                  { value: n, selected: state.swap && state.swap[0] === state.t && state.swap[1] === n },
                  word,
                ),
              ),
            ),
          ),
        ),
      );
    }
    const heldAt = (v) => (v === "mean" ? T("its_mean") : v === OTHER ? `1 − ${ownName(p.keep.gate)}` : v);
    const active = [
      ...state.clamps.map((c, n) => [
        `${said(c.gate)}${c.unit === null ? "" : `[${unitNo(c.unit)}]`} := ${heldAt(c.value)}`,
        () => change({ clamps: state.clamps.filter((_, k) => k !== n) }),
      ]),
    ];
    if (state.swap)
      active.push([
        `“${label(state.swap[0])}” → “${p.live.labels[state.swap[1]]}” (t ${stepNo(state.swap[0])})`,
        () => change({ swap: null }),
      ]);
    body.append(
      el(
        "div",
        { class: "row", id: "whatif-active" },
        active.map(([text, off]) =>
          el("button", { type: "button", "aria-label": T("colon", T("take_back"), text), onclick: off }, `${text} ×`),
        ),
      ),
    );
    const e = state.e,
      base = plainRun(),
      changed = active.length ? rerun(p, e, state.clamps, state.swap) : base,
      n = steps();
    if (base.losses)
      body.append(
        el(
          "p",
          { class: "sum", id: "whatif-loss" },
          !active.length
            ? T("nothing_held", say(total(base)))
            : Number.isFinite(total(changed))
              ? T("loss_change", say(total(base)), say(total(changed)), sign(total(changed) - total(base)))
              : T("loss_undefined", say(total(base))),
        ),
      );
    if (base.losses && presets.length && n * weighs(p) < QUICK)
      body.append(caption(T("preset_effects")), bars(presetRuns(), T("preset_effects")));
    if (base.said && p.outcome?.kind === "class") {
      const best = (run, t) => run.said[t].indexOf(Math.max(...run.said[t]));
      const differs = over(n, (t) => t).filter((t) => p.outcome.scored[t][e] && best(base, t) !== best(changed, t));
      body.append(
        el(
          "p",
          { class: "small" },
          T("predictions_differ", differs.length, over(n, (t) => t).filter((t) => p.outcome.scored[t][e]).length),
          differs
            .slice(0, 14)
            .map((t) => el("bdi", {}, `  t ${stepNo(t)}: ${p.words[best(base, t)]} → ${p.words[best(changed, t)]};`)),
        ),
      );
    }
    // the state of the unit; a gate where the state is more than one number for each unit
    const [kind, name] = mainLeaf(p) ? ["carry", mainLeaf(p)] : ["gates", mainGate(p)],
      panels = [];
    const unitOf = (run) => over(n, (t) => run[kind][name][t * p.H + state.u]);
    panels.push([`${said(name)}[${unitNo(state.u)}]`, unitOf(base), unitOf(changed)]);
    if (base.losses)
      panels.push([
        T("loss_per_step"),
        base.losses.map((v, t) => (p.outcome.scored[t][e] ? v : NaN)),
        changed.losses.map((v, t) => (p.outcome.scored[t][e] ? v : NaN)),
      ]);
    else
      panels.push([
        `‖${ownName(name)}‖`,
        ...[base, changed].map((run) =>
          over(n, (t) => Math.hypot(...run[kind][name].subarray(t * p.H, t * p.H + p.H))),
        ),
      ]);
    if (base.said && p.outcome?.kind === "value")
      panels.push([T("predicted"), base.said.map((y) => y[0]), changed.said.map((y) => y[0])]);
    const places = boxes(body, panels.length);
    for (const [name, was, is] of panels) {
      const box = places.shift(),
        series = [
          { name: T("as_trained"), values: was, ink: "var(--soft)", dash: true },
          { name: T("held"), values: is, ink: INKS[1] },
        ];
      box.append(caption(name, key(series)));
      chart(box, {
        series,
        x: [0, n - 1],
        across: true,
        mark: state.t,
        height: 100,
        label: T("colon", T("whatif"), name),
        pick: pickTime,
        leave: rest,
        hover: (t) => read(`t ${stepNo(t)} “${label(t)}”   ${name}: ${say(was[t])} → ${say(is[t])}`),
      });
    }
    note(body, "not_retrained");
  },
};
