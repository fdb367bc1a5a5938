"use strict";
const BEFORE = 8,
  AFTER = 2,
  MOST = 5;
VIEWS.contexts = {
  draw(body) {
    const p = part(),
      u = state.u,
      leaf = mainLeaf(),
      every = [];
    over(p.B, (e) => over(p.lengths[e], (t) => every.push({ e, t, value: at(p.carries[leaf], t, u, p, e) })));
    every.sort((a, b) => b.value - a.value);
    const line = ({ e, t, value }) => [
      el("button", { type: "button", class: "plain", onclick: () => change({ e, t }) }, say(value, 3)),
      el(
        "span",
        {},
        over(BEFORE + 1 + AFTER, (k) => t - BEFORE + k)
          .filter((s) => s >= 0 && s < p.lengths[e])
          .map((s) => el(s === t ? "b" : "span", {}, el("bdi", {}, label(s, p, e)), " ")),
      ),
      `${e + 1}, ${stepNo(t)}`,
    ];
    const [a, b] = boxes(body, 2, "twin"),
      head = [`${ownName(leaf)}[${unitNo(u)}]`, T("context"), T("where")];
    a.append(caption(T("highest")), table(head, every.slice(0, MOST).map(line)));
    b.append(caption(T("lowest")), table(head, every.slice(-MOST).reverse().map(line)));
    note(body, "contexts_over", every.length, p.B);
  },
};
