"use strict";
// The self-check, the tools, keys, and the frame that the views stand in.
// ---- the self-check: the checks of Python, and this page's cell against JAX ----
let checked = null; // the numbers do not change
function check() {
  if (!checked) checked = DATA.parts.filter((p) => p.live).map(proof);
  return checked;
}
// Run from its first state the cell is JAX's to within the tolerance, of numbers above 1 relative to them. A cell that
// makes much of small differences makes much of float32's rounding too: then each step is run from JAX's state before.
function proof(p) {
  let worst = 0;
  const look = (a, b) => {
    const d = Math.abs(a - b) / Math.max(1, Math.abs(a));
    if (!(d <= worst)) worst = d;
  };
  const compared = (run, e, from, n) => {
    for (const [of, got] of [
      [p.gates, run.gates],
      [p.carries, run.carry],
    ]) {
      for (const name of Object.keys(of))
        if (got[name])
          for (let t = 0; t < n; t++)
            for (let u = 0; u < p.H; u++) look(at(of[name], from + t, u, p, e), got[name][t * p.H + u]);
    }
    if (run.losses) run.losses.forEach((v, t) => look(floats(p.outcome.losses)[(from + t) * p.B + e], v));
  };
  p.lengths.forEach((n, e) => compared(plainRun(p, e), e, 0, n));
  const leaves = p.live.program.inputs.filter(([kind]) => kind === "carry").map(([, name]) => name);
  if (worst <= TOLERANCE || !leaves.every((leaf) => p.carries[leaf]))
    return { id: "js", part: p.name, error: worst, tolerance: TOLERANCE, ok: worst <= TOLERANCE };
  worst = 0;
  p.lengths.forEach((n, e) =>
    inputsOf(p, e).forEach((x, t) => {
      const start = leaves.map((leaf, k) =>
        t ? over(p.H, (u) => at(p.carries[leaf], t - 1, u, p, e)) : startOf(p, e)[k],
      );
      compared(runProgram(readyOf(p, e), [x], start), e, t, 1);
    }),
  );
  return { id: "js_steps", part: p.name, error: worst, tolerance: TOLERANCE, ok: worst <= TOLERANCE };
}
function footer() {
  const found = [...DATA.checks, ...check()],
    good = found.filter((c) => c.ok),
    node = byId("checks");
  const broken = found.filter((c) => !c.ok && c.stops !== false),
    lost = DATA.parts.reduce((n, p) => n + Object.keys(p.failed).length, undrawn.size);
  const holding = lost ? "some_lost" : check().length ? "all_hold" : "all_hold_still";
  node.replaceChildren(
    el("h2", {}, T("checks")),
    el(
      "p",
      { id: "verdict", class: broken.length || lost ? "no" : "ok" },
      broken.length ? `✗ ${T("some_fail", broken.length)}` : `${lost ? "✗" : "✓"} ${T(holding, good.length, lost)}`,
    ),
    el(
      "details",
      {},
      el("summary", {}, T("each_check")),
      table(
        [T("check"), T("part"), T("error"), T("allowed"), T("holds")],
        found.map((c) => [
          T(`check.${c.id}`),
          c.part ? partName(c.part) : "",
          say3(c.error),
          say3(c.tolerance),
          el("span", { class: c.ok ? "ok" : "no" }, T(c.ok ? "yes" : "no")),
        ]),
        [2, 3],
      ),
    ),
  );
  for (const id of absent()) node.append(el("p", { class: "small" }, T("colon", T(id), T(...missing(id)))));
  for (const [kind, of] of DATA.thinned)
    node.append(el("p", { class: "small" }, T("thinned", T(`thin.${kind}`, partName(of)))));
  const about = DATA.about;
  node.append(
    el(
      "p",
      { class: "small num" },
      [
        `jaxseq ${about.jaxseq} · jax ${about.jax} · ${T("seed")} ${about.seed}`,
        `${T("hash")} ${about.hash} · ${about.command}`,
      ].join(" · "),
    ),
  );
}

// ---- the page ----
function partName(name) {
  // "encoder, layer 2" in the page's language
  const [, whole, layer] = /^(.*?)(?:, layer (\d+))?$/s.exec(name),
    said = TEXTS.en[`part.${whole}`] ? T(`part.${whole}`) : whole;
  return layer ? T("layer_of", said, layer) : said;
}
const ORDER = DATA.order;
const has = (id) => part().views[id] !== null;
// Where a part has nothing of a view, its place says so if it is always there; else the footer does.
const absent = () => ORDER.filter((id) => !has(id) && !part().failed[id] && !VIEWS[id].always);
function layOut() {
  // two narrow views side by side; one that is left alone is wide
  let lone = null;
  for (const id of ORDER) {
    const section = byId(`v-${id}`),
      wide = Boolean(VIEWS[id].wide);
    section.hidden = absent().includes(id);
    if (section.hidden) continue;
    section.classList.toggle("wide", wide);
    if (wide && lone) lone.classList.add("wide");
    lone = wide || lone ? null : section;
  }
  if (lone) lone.classList.add("wide");
}
const stale = new Set(); // views out of sight, drawn when the scrubber rests
let resting = 0;
function draw(moved) {
  // moved: only the time or the unit is another
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  document.documentElement.dataset.theme = state.theme;
  for (const [selector, name] of [
    ["h1", "title"],
    [".about", "subtitle"],
  ])
    document.querySelector(selector).textContent =
      (state.lang === "zh" && DATA.about[`${name}_zh`]) || DATA.about[name];
  const focused = document.activeElement && document.activeElement.id;
  tools();
  if (!moved) {
    summary();
    layOut();
  }
  for (const id of ORDER) {
    const place = byId(`v-${id}`).getBoundingClientRect();
    if (moved && (place.bottom < -200 || place.top > innerHeight + 200)) stale.add(id);
    else drawView(id);
  }
  clearTimeout(resting);
  if (stale.size) resting = setTimeout(() => stale.forEach(drawView), 150);
  if (!moved) footer();
  rest();
  if (focused && byId(focused)) byId(focused).focus({ preventScroll: true });
}
function drawView(id) {
  stale.delete(id);
  const section = byId(`v-${id}`),
    body = section.querySelector(".body");
  const open = new Set([...section.querySelectorAll("details[open]")].map((d) => d.dataset.key));
  section.querySelector("h2").textContent = T(id);
  const copy = section.querySelector(".copy");
  copy.textContent = T("copy_figure");
  copy.setAttribute("aria-label", T("colon", T("copy_figure"), T(id)));
  section.querySelector(".how").textContent = T(`${id}.how`);
  body.replaceChildren();
  if (has(id)) drawInto(body, id);
  else if (part().failed[id]) note(body, "failed", part().failed[id]);
  else if (!section.hidden) note(body, ...missing(id));
  section.querySelectorAll("details").forEach((d, n) => {
    d.dataset.key = n;
    d.open = open.has(String(n));
  });
}
function missing(id) {
  // the reason why a view has nothing to show, and its substitute
  const [text, ...values] = VIEWS[id].none ? VIEWS[id].none(part()) : [`${id}.none`];
  return [text, partName(part().name), ...values];
}
const undrawn = new Map(); // views whose drawing failed, and why
function drawInto(body, id) {
  // one that fails does not stop the others
  try {
    VIEWS[id].draw(body, part().views[id]);
    undrawn.delete(id);
  } catch (error) {
    undrawn.set(id, String(error));
    body.replaceChildren();
    note(body, "failed", String(error));
  }
}
// The findings of this run, in the words of its views; the first four.
const SENTENCES = 4;
function summary() {
  const said = ORDER.filter((id) => VIEWS[id].says && has(id))
    .sort((a, b) => VIEWS[a].rank - VIEWS[b].rank)
    .map((id) => {
      try {
        return [id, VIEWS[id].says(part().views[id])];
      } catch {
        return [id, null];
      }
    })
    .filter(([, text]) => text)
    .slice(0, SENTENCES);
  const to = (id) => (event) => {
    event.preventDefault();
    byId(`v-${id}`).scrollIntoView();
  };
  byId("summary").replaceChildren(
    ...said.map(([id, text]) => el("li", {}, text, " ", el("a", { href: `#v-${id}`, onclick: to(id) }, `→ ${T(id)}`))),
  );
}
function group(name, options, chosen, pick) {
  return el(
    "fieldset",
    {},
    el("legend", {}, name),
    options.map(([value, text]) =>
      el(
        "button",
        {
          type: "button",
          id: `pick-${value}`,
          "aria-pressed": value === chosen ? "true" : "false",
          onclick: () => pick(value),
        },
        text,
      ),
    ),
  );
}
const nearest = (numbers, wanted) =>
  numbers.reduce((best, v, n) => (Math.abs(v - wanted) < Math.abs(numbers[best] - wanted) ? n : best), 0);
function sorting(box) {
  // which units heat maps show, and in which order
  const p = part(),
    all = units();
  if (p.H < 3) return;
  const names = SORTS.map((name) => [name, T(name === SORTS[0] && !p.keep ? "sort.number" : `sort.${name}`)]);
  box.append(group(T("sort"), names, state.sort, (sort) => change({ sort })));
  if (p.H <= ZOOM) return;
  const press = () => change({ zoom: !state.zoom });
  box.append(
    el("button", { type: "button", id: "zoom", "aria-pressed": String(state.zoom), onclick: press }, T("zoom")),
  );
  if (!state.zoom) return;
  const first = pageOf(all.indexOf(state.u)),
    last = Math.min(first + ZOOM, all.length);
  const turn = (id, to, sign) =>
    el(
      "button",
      {
        type: "button",
        id,
        "aria-label": T(id),
        disabled: all[to] === undefined,
        onclick: () => change({ u: all[to] }),
      },
      sign,
    );
  box.append(
    turn("page_back", first - ZOOM, "‹"),
    el("span", { class: "small" }, T("page_of", first + 1, last, all.length)),
    turn("page_on", first + ZOOM, "›"),
  );
}
function tools() {
  const p = part(),
    box = byId("tools");
  box.replaceChildren();
  if (DATA.parts.length > 1)
    box.append(
      group(
        T("part"),
        DATA.parts.map((q, n) => [`p${n}`, partName(q.name)]),
        `p${state.p}`,
        (v) => change({ p: Number(v.slice(1)), pins: [], clamps: [], swap: null }),
      ),
    );
  if (p.B > 1)
    box.append(
      group(
        T("example"),
        over(p.B, (n) => [`e${n}`, String(n + 1)]),
        `e${state.e}`,
        (v) => change({ e: Number(v.slice(1)) }),
      ),
    );
  box.append(
    el(
      "label",
      {},
      T("unit"),
      el("input", {
        type: "number",
        id: "unit",
        min: p.units[0],
        max: p.units.at(-1),
        value: unitNo(state.u),
        onchange: (event) => change({ u: nearest(p.units, Number(event.target.value) || 0) }),
      }),
    ),
  );
  sorting(box);
  const pinned = state.pins.includes(state.u);
  box.append(
    el(
      "button",
      {
        type: "button",
        id: "pin",
        "aria-pressed": pinned ? "true" : "false",
        onclick: () =>
          change({ pins: pinned ? state.pins.filter((u) => u !== state.u) : [...state.pins, state.u].slice(-4) }),
      },
      T("pin"),
    ),
  );
  box.append(
    el(
      "button",
      {
        type: "button",
        id: "lang",
        lang: state.lang === "zh" ? "en" : "zh-CN",
        onclick: () => change({ lang: state.lang === "zh" ? "en" : "zh" }),
      },
      state.lang === "zh" ? "English" : "中文",
    ),
  );
  box.append(
    el(
      "button",
      { type: "button", id: "theme", onclick: () => change({ theme: state.theme === "dark" ? "light" : "dark" }) },
      T(state.theme === "dark" ? "light" : "dark"),
    ),
  );
  const range = byId("scrub");
  range.max = steps() - 1;
  range.value = state.t;
  range.setAttribute("aria-label", T("time"));
  range.setAttribute("aria-valuetext", `t ${stepNo(state.t)} ${label(state.t)}`);
}
function keys(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const busy = event.target.closest("input, select, textarea, pre");
  if (busy && !(busy.id === "scrub" && event.key.startsWith("Arrow"))) return;
  const order = units(),
    at = order.indexOf(state.u),
    move = {
      ArrowLeft: { t: state.t - 1 },
      ArrowRight: { t: state.t + 1 },
      Home: { t: 0 },
      End: { t: steps() - 1 },
      ArrowUp: { u: order[Math.max(0, at - 1)] },
      ArrowDown: { u: order[Math.min(order.length - 1, at + 1)] },
    }[event.key];
  if (!move) return;
  event.preventDefault();
  change(move);
}
function begin() {
  readHash();
  byId("static").remove();
  byId("main").append(
    el("ol", { id: "summary" }),
    el("div", { class: "tools", id: "tools" }),
    el(
      "div",
      { class: "bar" },
      el("input", {
        type: "range",
        class: "scrub",
        id: "scrub",
        min: 0,
        step: 1,
        oninput: (event) => change({ t: Number(event.target.value) }),
      }),
      el("p", { class: "read", id: "read", role: "status" }),
    ),
    el(
      "div",
      { class: "views" },
      ORDER.map((id) =>
        el(
          "section",
          { class: "view", id: `v-${id}`, "aria-labelledby": `h-${id}` },
          el(
            "div",
            { class: "head" },
            el("h2", { id: `h-${id}` }),
            el("button", { type: "button", class: "copy", onclick: (event) => copyFigure(id, event.target) }),
          ),
          el("p", { class: "how" }),
          el("div", { class: "body" }),
        ),
      ),
    ),
  );
  document.body.append(el("footer", { id: "checks" }));
  document.addEventListener("keydown", keys);
  addEventListener("hashchange", () => {
    readHash();
    draw();
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      draw();
    }
  });
  draw();
  window.jaxseqStudy = {
    DATA,
    state,
    change,
    check,
    part,
    plainRun,
    rerun,
    snippet,
    termsAt,
    ledgerOf,
    survivalOf,
    shownUnits,
    VIEWS,
    figureOf: (id) => figureOf(byId(`v-${id}`)),
  };
}
begin();
