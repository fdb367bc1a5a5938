"use strict";
VIEWS.equation = {
  wide: true,
  draw(body) {
    const p = part(),
      e = state.e,
      t = state.t,
      u = state.u;
    body.append(el("p", {}, T("equation_at", stepNo(t), unitNo(u)), " ", el("bdi", {}, `“${label(t)}”`)));
    if (!p.live) {
      note(body, "not_live_equations");
      if (p.lines)
        body.append(
          el(
            "div",
            { class: "pair" },
            p.lines.filter(shortEnough).map((l) => el("div", { class: "eq" }, math(`${l.shown} = ${l.form}`))),
          ),
        );
      body.append(
        el(
          "div",
          {},
          [
            ...Object.keys(p.gates).map((g) => gateLine(p, e, g, t, u)),
            ...Object.keys(p.carries).map((l) => leafLine(p, e, l, t, u)),
          ].map((line) => el("p", { class: "num" }, line)),
        ),
      );
      return;
    }
    const grid = el("div", { class: "pair" }),
      values = plainRun(p, e).steps[t];
    body.append(grid);
    for (const l of p.lines) {
      const box = el("div", {}),
        mine = values[l.value].length === p.H;
      box.append(
        shortEnough(l)
          ? el("div", { class: "eq" }, math(`${l.shown} = ${l.form}`))
          : el(
              "details",
              { class: "eq" },
              el("summary", {}, math(`${l.shown} = …`)),
              el("div", {}, math(`${l.shown} = ${l.form}`)),
            ),
      );
      grid.append(box);
      if (!mine) continue;
      box.append(el("p", { class: "num" }, lineText(p, l, values, u)));
      const top = termsAt(p, e, l.name, t, u)
        .slice(0, 4)
        .map((x) => ({
          name: x.name,
          value: x.product,
          text: `${say3(x.value)} · ${say3(x.weight)} = ${say3(x.product)}`,
        }));
      if (top.length) box.append(bars(top, T("colon", l.shown, T("largest"))));
      if (l.products.length)
        box.append(
          el(
            "details",
            {},
            el("summary", { class: "small" }, T("snippet", said(l.name.replace("'", "")))),
            el(
              "pre",
              { tabindex: 0, role: "region", "aria-label": T("snippet", said(l.name)) },
              snippet(p, e, l.name, t, u),
            ),
          ),
        );
    }
  },
};
