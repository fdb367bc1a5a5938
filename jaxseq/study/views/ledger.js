"use strict";
VIEWS.ledger = {
  always: true,
  none: (p) => (p.keep ? ["ledger.many"] : withoutGate("ledger", p)),
  draw(body) {
    const p = part(),
      u = state.u,
      k = p.keep,
      t = state.t,
      line = lineOf(p, `${k.leaf}'`),
      shows = shownBy(p),
      name = ownName(k.leaf),
      by = shows && ownName(shows.gate);
    const forms = [line, shows && shows.line].filter(Boolean);
    if (forms.length)
      body.append(
        el(
          "div",
          { class: "row eqs" },
          forms.map((l) => math(`${l.shown} = ${l.form}`)),
        ),
      );
    const { kept: keptHere, written: writtenHere, now } = ledgerOf(u);
    const names = halves(line, k.leaf);
    const rows = [
      { name: `${T("kept")} ${names[0]}`, value: keptHere[t], ink: INKS[0] },
      { name: `+ ${T("written")} ${names[1]}`, value: writtenHere[t], ink: INKS[1] },
      { name: `= ${name}`, value: now[t], ink: "var(--ink)" },
    ];
    const series = [
      { name: T("kept"), values: keptHere, ink: INKS[0] },
      { name: T("written"), values: writtenHere, ink: INKS[1] },
      { name: `${name} = ${T("sum")}`, values: now, ink: "var(--ink)", thin: true },
    ];
    if (shows)
      rows.push(
        { name: `→ tanh(${name})`, value: Math.tanh(now[t]), ink: INKS[3] },
        {
          name: `× ${by} ${say3(at(p.gates[shows.gate], t, u))} = h`,
          value: at(p.carries[shows.h], t, u),
          ink: INKS[2],
        },
      );
    body.append(caption(T("equation_at", stepNo(t), unitNo(u))), bars(rows, T("ledger")));
    body.append(caption(T("over_time"), key(series)));
    chart(body, { ...along(), series, height: 120, floor: 0, label: T("ledger"), hover: readAll(series) });
    if (!shows) return;
    const second = [
      { name: `tanh(${name})`, values: now.map(Math.tanh), ink: INKS[3], dash: true },
      { name: by, values: track(p.gates[shows.gate], u), ink: "var(--soft)", thin: true },
      { name: `h = ${by}·tanh(${name})`, values: track(p.carries[shows.h], u), ink: INKS[2] },
    ];
    body.append(caption(T("shown"), key(second)));
    chart(body, {
      ...along(),
      series: second,
      low: -1,
      high: 1,
      floor: 0,
      height: 90,
      label: T("shown"),
      hover: readAll(second),
    });
  },
};
