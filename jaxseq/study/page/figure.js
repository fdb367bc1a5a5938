"use strict";
// A view as one SVG, for papers: its captions, charts and heat maps where they are on the page, colours as they are.
function figureOf(section) {
  const body = section.querySelector(".body"),
    box = body.getBoundingClientRect();
  const root = svg("svg", {
    xmlns: "http://www.w3.org/2000/svg",
    width: Math.ceil(box.width),
    height: Math.ceil(box.height),
    viewBox: `0 0 ${Math.ceil(box.width)} ${Math.ceil(box.height)}`,
    "font-family": "system-ui, sans-serif",
  });
  root.append(
    svg("title", {}, section.querySelector("h2").textContent),
    svg("rect", { width: "100%", height: "100%", fill: "var(--paper)" }),
  );
  const placed = (node) => {
    const b = node.getBoundingClientRect();
    return { x: b.left - box.left, y: b.top - box.top, width: b.width, height: b.height };
  };
  for (const node of body.querySelectorAll("canvas, svg.chart, .scale i, .key i, .bar-of i")) {
    const at = placed(node);
    if (!at.width && !at.height) continue;
    if (node.tagName === "CANVAS") root.append(shifted(node.figure(), at));
    else if (node.tagName === "svg") root.append(shifted(copied(node), at));
    else root.append(...painted(node, at));
  }
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode())
    if (!walker.currentNode.parentElement.closest("svg, button, select, label, pre, summary, details"))
      root.append(...written(walker.currentNode, box));
  const styles = getComputedStyle(document.documentElement);
  return new XMLSerializer()
    .serializeToString(root)
    .replace(/var\((--[a-z]+)\)/g, (_, name) => styles.getPropertyValue(name).trim());
}
function shifted(node, { x, y }) {
  const group = svg("g", { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });
  group.append(node);
  return group;
}
function copied(chart) {
  // the styles of texts are written to each of them
  const group = svg("g", {}),
    copy = chart.cloneNode(true),
    now = chart.querySelectorAll("text");
  copy.querySelectorAll("text").forEach((text, n) => {
    const style = getComputedStyle(now[n]);
    text.setAttribute("style", `fill:${style.fill};font-size:${style.fontSize};font-weight:${style.fontWeight}`);
  });
  group.append(...copy.childNodes);
  return group;
}
function painted(node, { x, y, width, height }) {
  // keys, colour scales and bars, which are boxes on the page
  const style = getComputedStyle(node);
  if (node.dataset.stops)
    return node.dataset.stops
      .split(",")
      .map((fill, n, all) =>
        svg("rect", { x: x + (n * width) / all.length, y, width: width / all.length + 0.3, height, fill }),
      );
  if (style.borderTopStyle !== "none")
    return [
      svg("line", {
        x1: x,
        x2: x + width,
        y1: y + 1,
        y2: y + 1,
        stroke: style.borderTopColor,
        "stroke-width": 2,
        ...(style.borderTopStyle === "dashed" ? { "stroke-dasharray": "5 4" } : {}),
      }),
    ];
  return [svg("rect", { x, y, width, height, fill: style.backgroundColor })];
}
function written(node, box) {
  // a text for each of its lines
  const style = getComputedStyle(node.parentElement),
    lines = [],
    range = document.createRange();
  for (const { 0: word, index } of node.textContent.matchAll(/\S+/g)) {
    range.setStart(node, index);
    range.setEnd(node, index + word.length);
    const at = range.getBoundingClientRect();
    if (!at.width) continue;
    const line = lines.at(-1);
    if (line && Math.abs(line.y - at.bottom) < 3) line.words.push(word);
    else lines.push({ x: at.left, y: at.bottom, words: [word], height: at.height });
  }
  return lines.map((line) =>
    svg(
      "text",
      {
        x: (line.x - box.left).toFixed(1),
        y: (line.y - box.top - 0.24 * line.height).toFixed(1),
        style: `fill:${style.color};font-size:${style.fontSize};font-weight:${style.fontWeight}`,
      },
      line.words.join(" "),
    ),
  );
}
async function copyFigure(id, button) {
  // to the clipboard, or where there is none as a file
  const text = figureOf(byId(`v-${id}`));
  let done = "figure_copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    done = "figure_saved";
    el("a", { download: `${id}.svg`, href: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}` }).click();
  }
  button.textContent = T(done);
  setTimeout(() => {
    button.textContent = T("copy_figure");
  }, 1500);
}
