"use strict";
// Drawing: elements, numbers in base64, heat maps on canvas, charts in SVG. Texts only through textContent.
const LEFT = 64,
  RIGHT = 10;
const INKS = ["var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)"];

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(2)) if (child !== null && child !== undefined) node.append(child);
  return node;
}

function svg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// An empty chart, which readers of the screen are told by its label.
function emptyChart(wide, tall, label) {
  return svg("svg", {
    class: "chart",
    viewBox: `0 0 ${wide} ${tall}`,
    height: tall,
    role: "img",
    "aria-label": label,
  });
}

const GREEK = Object.fromEntries(
  [
    "alpha α beta β gamma γ delta δ epsilon ε zeta ζ eta η theta θ kappa κ lambda λ mu μ nu ν xi ξ rho ρ sigma σ tau τ",
    "phi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Phi Φ Psi Ψ Omega Ω",
  ].flatMap((line) => line.match(/\S+ \S+/g).map((pair) => pair.split(" "))),
);

// "f^1_t = σ ( a )": words become identifiers, x^y_z gets marks, any other character is an operator. A long
// equation is in pieces, between which a line may end.
function math(text) {
  const make = (tag, ...inside) => {
    const node = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
    node.append(...inside);
    return node;
  };
  const atom = (word) =>
    make(/^[0-9.]+$/.test(word) ? "mn" : /^\p{L}/u.test(word) ? "mi" : "mo", GREEK[word] ?? word);
  const operator = (word, around) => {
    const node = make("mo", word);
    for (const side of ["lspace", "rspace"]) node.setAttribute(side, around);
    node.setAttribute("stretchy", "false"); // brackets may open in one piece and close in another
    return node;
  };
  const marks = (text) => make("mrow", ...text.split(/(?=[−+(),])|(?<=[−+(),])/).map(atom));
  const worded = (word) => {
    const [, base, above, below] = /^([^_^]+)(?:\^([^_]+))?(?:_(.+))?$/.exec(word) || [null, word];
    if (above && below) return make("msubsup", atom(base), marks(below), marks(`(${above})`));
    if (above) return make("msup", atom(base), marks(`(${above})`));
    return below ? make("msub", atom(base), marks(below)) : atom(word);
  };
  const pieces = [[]];
  let before = "";
  for (const word of text.split(" ")) {
    const between = ["=", "+", "−", "⊙"].includes(word) && before && !"=([,".includes(before);
    before = word;
    if (between && pieces.at(-1).length > 1) pieces.push([]);
    pieces.at(-1).push(between ? operator(word, "0.25em") : "()[]".includes(word) ? operator(word, "0") : worded(word));
  }
  return el(
    "span",
    { class: "math" },
    pieces.map((piece) => [make("math", make("mrow", ...piece)), " "]),
  );
}

function floats(a) {
  if (a instanceof Float32Array) return a;
  if (!a.values) {
    const raw = atob(a.f4),
      bytes = new Uint8Array(raw.length);
    for (let n = 0; n < raw.length; n++) bytes[n] = raw.charCodeAt(n);
    a.values = new Float32Array(bytes.buffer);
  }
  return a.values;
}

function say(v, digits = 4) {
  if (v === Infinity || v === -Infinity || Number.isNaN(v)) return String(v).replace("Infinity", "∞");
  if (v === 0) return "0";
  const size = Math.abs(v);
  const text =
    size >= 1e5 || size < 1e-3
      ? v.toExponential(Math.min(2, digits - 1)).replace(/\.?0+e/, "e")
      : String(Number(v.toPrecision(digits)));
  return text.replaceAll("-", "−");
}

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
function powerOf(v) {
  // 10⁻³, for the ticks of logarithmic axes
  const n = Math.round(Math.log10(v)),
    raised = Array.from(String(Math.abs(n)), (d) => RAISED[d]).join("");
  if (Math.abs(v / 10 ** n - 1) > 1e-6) return say(v, 1);
  return n >= -2 && n <= 3 ? say(v) : `10${n < 0 ? "⁻" : ""}${raised}`;
}

function colourOf(map, share) {
  const at = Math.max(0, Math.min(map.length - 1, Math.round(share * (map.length - 1))));
  return map[at];
}

const rgb = (hex) => [1, 3, 5].map((n) => parseInt(hex.slice(n, n + 2), 16));

// A heat map: value(row, column) between low and high; values that are not finite are left empty.
// {rows, columns, value, map, low, high, label, hover(row, column), pick(row, column), row, column (marked), height,
// rowNames, columnNames, columnNumbers: those are written that have the room}
function heat(into, o) {
  const canvas = el("canvas", { role: "img", "aria-label": o.label });
  into.append(canvas);
  const wide = Math.max(120, into.clientWidth),
    pen = canvas.getContext("2d"),
    size = (text) => pen.measureText(text).width;
  pen.font = "11px system-ui, sans-serif";
  // as wide as the names need, at most a third of the whole
  const left = o.left === "fit" ? Math.min(wide / 3, 16 + Math.max(...o.rowNames.map(size))) : (o.left ?? LEFT),
    right = o.right ?? RIGHT;
  const across = (wide - left - right) / o.columns;
  const down = o.square ? Math.min(across, 22) : Math.max(1, Math.min(14, (o.height || 150) / o.rows));
  const tall = Math.max(8, down * o.rows),
    scale = window.devicePixelRatio || 1;
  const small = coloured(o),
    words = namesOf(o, { wide, left, across, down, tall }, size);
  const whole = Math.ceil(Math.max(tall, ...words.map(([, y]) => y + 7)));
  canvas.style.height = `${whole}px`;
  canvas.width = Math.round(wide * scale);
  canvas.height = Math.round(whole * scale);
  pen.scale(scale, scale);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, left, 0, across * o.columns, tall);
  const frame = o.column === undefined ? null : [left + o.column * across, 1.5, Math.max(across, 2), tall - 3];
  if (frame) {
    for (const [colour, width] of [
      ["#ffffff", 3],
      ["#000000", 1.2],
    ]) {
      // seen on every colour of the maps
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.strokeRect(...frame);
    }
  }
  const y = Math.max(4.5, Math.min(tall - 4.5, ((o.row ?? -1) + 0.5) * down)),
    pointer = o.row >= 0 ? `M${left - 7} ${y - 4}L${left - 1} ${y}L${left - 7} ${y + 4}Z` : null;
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--mark");
  if (pointer) pen.fill(new Path2D(pointer));
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--soft");
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  for (const [x, at, text, align] of words) {
    pen.textAlign = align;
    pen.fillText(text, x, at);
  }
  canvas.figure = () => {
    // the same as SVG
    const root = svg("g", {});
    root.append(
      svg("image", {
        href: small.toDataURL(),
        x: left,
        y: 0,
        width: across * o.columns,
        height: tall,
        preserveAspectRatio: "none",
        style: "image-rendering:pixelated",
      }),
    );
    if (frame)
      for (const [colour, width] of [
        ["#ffffff", 3],
        ["#000000", 1.2],
      ])
        root.append(
          svg("rect", {
            x: frame[0],
            y: frame[1],
            width: frame[2],
            height: frame[3],
            fill: "none",
            stroke: colour,
            "stroke-width": width,
          }),
        );
    if (pointer) root.append(svg("path", { d: pointer, fill: "var(--mark)" }));
    for (const [x, at, text, align] of words)
      root.append(
        svg(
          "text",
          {
            x,
            y: at + 4,
            fill: "var(--soft)",
            "font-size": 11,
            "text-anchor": { center: "middle", right: "end", left: "start" }[align],
          },
          text,
        ),
      );
    return root;
  };
  const where = (event) => {
    const box = canvas.getBoundingClientRect();
    const c = Math.floor((event.clientX - box.left - left) / across),
      r = Math.floor((event.clientY - box.top) / down);
    return c >= 0 && c < o.columns && r >= 0 && r < o.rows ? [r, c] : null;
  };
  canvas.addEventListener("pointermove", (event) => {
    const at = where(event);
    if (at && o.hover) o.hover(...at);
  });
  canvas.addEventListener("pointerleave", () => {
    if (o.leave) o.leave();
  });
  canvas.addEventListener("click", (event) => {
    const at = where(event);
    if (at && o.pick) o.pick(...at);
  });
  return canvas;
}

function coloured(o) {
  // a canvas of one pixel for each value
  const small = document.createElement("canvas"),
    image = new ImageData(o.columns, o.rows),
    colours = o.map.map(rgb);
  small.width = o.columns;
  small.height = o.rows;
  for (let r = 0; r < o.rows; r++) {
    for (let c = 0; c < o.columns; c++) {
      const v = o.value(r, c),
        at = (r * o.columns + c) * 4;
      if (!Number.isFinite(v)) continue;
      image.data.set(colourOf(colours, (v - o.low) / (o.high - o.low || 1)), at);
      image.data[at + 3] = 255;
    }
  }
  small.getContext("2d").putImageData(image, 0, 0);
  return small;
}

// The names of a heat map's rows and columns that have the room: [x, y, text, alignment].
function namesOf(o, { wide, left, across, down, tall }, size) {
  const words = [];
  let below = tall + 9;
  if (o.columnNumbers) {
    // round numbers, as below a chart
    const [first, last] = [o.columnNumbers[0], o.columnNumbers.at(-1)];
    let free = 0;
    for (const v of ticksOf(first, last, false, Math.max(2, Math.round((wide - left) / 70)))) {
      const middle = left + (v - first + 0.5) * across,
        half = size(say(v)) / 2;
      if (v !== Math.round(v) || middle - half < free + 4) continue;
      free = middle + half;
      words.push([Math.min(middle, wide - half), below, say(v), "center"]);
    }
    below += 13;
  }
  if (o.columnNames) {
    let free = 0;
    o.columnNames.forEach((name, c) => {
      const middle = left + (c + 0.5) * across,
        half = size(name) / 2;
      if (name === "" || middle - half < free + 2 || middle + half > wide) return;
      free = middle + half;
      words.push([middle, below, name, "center"]);
    });
  }
  let free = -99;
  (o.rowNames || []).forEach((name, r) => {
    const y = Math.max(6, Math.min(tall - 6, (r + 0.5) * down)); // within the map
    if (name === "" || y - free < 11) return;
    free = y;
    const room = left - 12;
    let text = String(name);
    while (text.length > 1 && size(text) > room) text = `${text.replace(/…$/, "").slice(0, -1)}…`;
    words.push([left - 9, y, text, "right"]);
  });
  return words;
}

function ticksOf(low, high, logarithmic, most = 4) {
  // round numbers, not more than fit
  if (logarithmic) {
    const a = Math.ceil(Math.log10(low) - 1e-9),
      b = Math.floor(Math.log10(high) + 1e-9),
      by = Math.max(1, Math.ceil((b - a) / 4));
    const out = [];
    for (let n = a; n <= b; n += by) out.push(10 ** n);
    if (out.length > 1) return out;
    const fine = [a - 1, a].flatMap((n) => [1, 2, 5].map((m) => m * 10 ** n)).filter((v) => v >= low && v <= high);
    return fine.length > 1 ? fine : [low, high];
  }
  for (const pieces of [most, most + 1, most + 3, most + 5]) {
    const raw = (high - low) / pieces,
      size = 10 ** Math.floor(Math.log10(raw || 1)),
      by = [1, 2, 5, 10].map((n) => n * size).find((n) => n >= raw * 0.999);
    const out = [];
    for (let n = Math.ceil(low / by - 1e-9); n * by <= high + 1e-9 * by; n++)
      out.push(Number((n * by).toPrecision(12)));
    if (out.length > 1) return out;
  }
  return [low, high];
}

// A chart. {series: [{name, values, at?, ink, dash, dots}], low?, high?, log, mark (an x), x: [from, to], height,
// label, across (true: x in steps, aligned with the heat maps), hover(n)}
function chart(into, o) {
  const wide = Math.max(120, into.clientWidth),
    tall = o.height || 110,
    bottom = o.names ? 16 : 14;
  const all = o.series.flatMap((s) => Array.from(s.values)).filter((v) => Number.isFinite(v) && (!o.log || v > 0));
  let low = o.low ?? Math.min(...all),
    high = o.high ?? Math.max(...all);
  if (!all.length) [low, high] = [o.low ?? (o.log ? 0.1 : 0), o.high ?? 1];
  if (o.log) {
    low = Math.max(low, high * 1e-12);
    if (high / low < 10) [low, high] = [low / 3, high * 3];
  } else if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  const root = emptyChart(wide, tall, o.label);
  const x = (v) =>
    LEFT +
    (o.across ? (v + 0.5) / (o.x[1] - o.x[0] + 1) : (v - o.x[0]) / (o.x[1] - o.x[0] || 1)) * (wide - LEFT - RIGHT);
  const share = (v) => (o.log ? Math.log(Math.max(v, low) / low) / Math.log(high / low) : (v - low) / (high - low));
  const y = (v) => 6 + (1 - share(v)) * (tall - bottom - 8);
  let free = 1e9;
  for (const v of ticksOf(low, high, o.log)) {
    root.append(svg("line", { x1: LEFT, x2: wide - RIGHT, y1: y(v), y2: y(v), stroke: "var(--rule)" }));
    if (free - y(v) < 11) continue;
    free = y(v);
    root.append(
      svg(
        "text",
        { x: LEFT - 5, y: Math.max(9, Math.min(y(v) + 4, tall - bottom)), "text-anchor": "end" },
        o.log ? powerOf(v) : say(v, 3),
      ),
    );
  }
  const xs =
    o.xTicks ||
    ticksOf(o.x[0], o.x[1], false, Math.max(3, Math.round((wide - LEFT - RIGHT) / 90))).filter(
      (v) => v === Math.round(v),
    );
  for (const v of xs) {
    const anchor = x(v) > wide - 24 ? "end" : "middle";
    root.append(
      svg(
        "text",
        { x: anchor === "end" ? wide - RIGHT : x(v), y: tall - 2, "text-anchor": anchor },
        o.xName ? o.xName(v) : say(v),
      ),
    );
  }
  o.series.forEach((s, n) => {
    let d = "",
      down = false;
    const ink = s.ink || INKS[n % INKS.length];
    s.values.forEach((v, k) => {
      if (!Number.isFinite(v) || (o.log && !(v > 0))) {
        down = false;
        return;
      }
      const px = x(s.at ? s.at[k] : k).toFixed(1),
        py = y(v).toFixed(1);
      if (s.dots) root.append(svg("circle", { cx: px, cy: py, r: s.dots, fill: ink }));
      d += `${down ? "L" : "M"}${px} ${py}`;
      down = true;
    });
    const style = { d, fill: "none", stroke: ink, "stroke-width": s.thin ? 1 : 1.8, "stroke-linejoin": "round" };
    if (s.dash) style["stroke-dasharray"] = "5 4";
    if (!s.dotsOnly) root.append(svg("path", style));
    if (o.mark !== undefined && !s.at && Number.isFinite(s.values[o.mark])) {
      root.append(svg("circle", { cx: x(o.mark), cy: y(s.values[o.mark]), r: 3, fill: ink }));
    }
  });
  const cut = [
    all.some((v) => v < low) && T("cut_below", o.log ? powerOf(low) : say(low, 3)),
    all.some((v) => v > high) && T("cut_above", o.log ? powerOf(high) : say(high, 3)),
    o.log && o.series.some((s) => Array.from(s.values).some((v) => v === 0)) && T("cut_zero"),
  ].filter(Boolean);
  if (cut.length) root.append(svg("text", { x: wide - RIGHT, y: 10, "text-anchor": "end" }, cut.join("; ")));
  if (o.floor !== undefined && share(o.floor) >= 0 && share(o.floor) <= 1)
    root.append(
      svg("line", {
        x1: LEFT,
        x2: wide - RIGHT,
        y1: y(o.floor),
        y2: y(o.floor),
        stroke: "var(--soft)",
        "stroke-dasharray": "1 3",
      }),
    );
  if (o.mark !== undefined)
    root.append(
      svg("line", {
        x1: x(o.mark),
        x2: x(o.mark),
        y1: 2,
        y2: tall - bottom,
        stroke: "var(--mark)",
        "stroke-dasharray": "2 3",
      }),
    );
  into.append(root);
  const step = (event) => {
    const box = root.getBoundingClientRect(),
      at = (event.clientX - box.left - LEFT) / (wide - LEFT - RIGHT);
    return Math.max(
      o.x[0],
      Math.min(o.x[1], o.across ? Math.floor(at * (o.x[1] + 1)) : Math.round(o.x[0] + at * (o.x[1] - o.x[0]))),
    );
  };
  if (o.hover) root.addEventListener("pointermove", (event) => o.hover(step(event)));
  if (o.leave) root.addEventListener("pointerleave", o.leave);
  if (o.pick) root.addEventListener("click", (event) => o.pick(step(event)));
  return root;
}

// Points in a plane. {points: [[x, y, ink?, size?, name?, hollow?]], paths: [{points, ink, width, faint}],
// x, y: [low, high], circle, diagonal, square, xName, yName, hover(n)}
function cloud(into, o) {
  const wide = Math.max(120, into.clientWidth),
    side = Math.min(wide - LEFT - RIGHT, o.height || 210);
  const tall = side + 34,
    w = o.square ? side : wide - LEFT - RIGHT;
  const root = emptyChart(wide, tall, o.label);
  const x = (v) => LEFT + ((v - o.x[0]) / (o.x[1] - o.x[0])) * w,
    y = (v) => 4 + ((o.y[1] - v) / (o.y[1] - o.y[0])) * side;
  root.append(svg("rect", { x: LEFT, y: 4, width: w, height: side, fill: "none", stroke: "var(--rule)" }));
  for (const v of ticksOf(...o.x))
    root.append(svg("text", { x: x(v), y: side + 17, "text-anchor": "middle" }, say(v, 3)));
  for (const v of o.yTicks || ticksOf(...o.y))
    root.append(svg("text", { x: LEFT - 5, y: y(v) + 4, "text-anchor": "end" }, o.yTick ? o.yTick(v) : say(v, 3)));
  root.append(svg("text", { x: LEFT + w / 2, y: tall - 3, "text-anchor": "middle" }, o.xName || ""));
  if (o.yName)
    root.append(
      svg(
        "text",
        { x: 10, y: 4 + side / 2, "text-anchor": "middle", transform: `rotate(-90 10 ${4 + side / 2})` },
        o.yName,
      ),
    );
  if (o.circle)
    root.append(
      svg("ellipse", {
        cx: x(0),
        cy: y(0),
        rx: x(1) - x(0),
        ry: y(0) - y(1),
        fill: "none",
        stroke: "var(--soft)",
        "stroke-dasharray": "3 3",
      }),
    );
  for (const path of o.paths || [])
    root.append(
      svg("path", {
        d: path.points.map(([px, py], n) => `${n ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join(""),
        fill: "none",
        stroke: path.ink,
        "stroke-width": path.width || 1.2,
        "stroke-opacity": path.faint ? 0.45 : 1,
        "stroke-linejoin": "round",
      }),
    );
  o.points.forEach(([px, py, ink, size, name, hollow], n) => {
    const dot = svg("circle", {
      cx: x(px).toFixed(1),
      cy: y(py).toFixed(1),
      r: size || 2.6,
      fill: hollow ? "var(--paper)" : ink || INKS[0],
      "fill-opacity": 0.75,
      stroke: hollow ? ink : "none",
      "stroke-width": 1.6,
    });
    if (name) dot.append(svg("title", {}, name));
    if (o.hover) dot.addEventListener("pointerenter", () => o.hover(n));
    if (o.pick) dot.addEventListener("click", () => o.pick(n));
    root.append(dot);
  });
  into.append(root);
  return root;
}

function key(series) {
  return el(
    "div",
    { class: "key" },
    series.map((s, n) =>
      el(
        "span",
        {},
        el("i", { class: s.dash ? "dash" : "", style: `border-color:${s.ink || INKS[n % INKS.length]}` }),
        s.name,
      ),
    ),
  );
}

function scaleBar(map, low, high) {
  const stops = [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1].map((s) => colourOf(map, s)).join(",");
  return el(
    "span",
    { class: "scale" },
    low,
    el("i", { style: `background:linear-gradient(to right,${stops})`, "data-stops": stops }),
    high,
  );
}

function table(head, rows, numeric = []) {
  // the first cell of a row names it
  const inside = (v) => (v instanceof Node ? v : String(v));
  const kind = (n) => (numeric.includes(n) ? "n" : null);
  const line = (r) =>
    r.map((v, n) => (n ? el("td", { class: kind(n) }, inside(v)) : el("th", { scope: "row" }, inside(v))));
  return el(
    "table",
    {},
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        head.map((v, n) => (v === "" ? el("td") : el("th", { scope: "col", class: kind(n) }, inside(v)))),
      ),
    ),
    el(
      "tbody",
      {},
      rows.map((r) => el("tr", {}, line(r))),
    ),
  );
}

const inkOf = (row) => row.ink || (row.value < 0 ? INKS[0] : INKS[1]);

// Rows of a name, a bar from a middle line and a number: {name, value, ink?, text?}; bars share one scale.
function bars(rows, label, most = Math.max(1e-12, ...rows.map((r) => Math.abs(r.value)).filter(Number.isFinite))) {
  return el(
    "div",
    {
      class: "bars",
      role: "img",
      "aria-label": `${label}: ${rows.map((r) => `${r.name} ${say(r.value, 3)}`).join(", ")}`,
    },
    rows.map((r) => {
      const share = Number.isFinite(r.value) ? Math.min(1, Math.abs(r.value) / most) * 50 : 0;
      return [
        el("span", { class: "num" }, r.name),
        el(
          "span",
          { class: "bar-of" },
          el("i", {
            style: `background:${inkOf(r)};width:${share}%;left:${r.value < 0 ? 50 - share : 50}%`,
          }),
        ),
        el("span", { class: "num n" }, r.text || (Number.isFinite(r.value) ? say(r.value, 3) : T("undefined"))),
      ];
    }),
  );
}
