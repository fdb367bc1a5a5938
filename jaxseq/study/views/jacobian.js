"use strict";
// with no digit that the steps do not support
const rounded = (v, digits) => (Number.isFinite(v) ? say(Number(v.toFixed(digits)), 9) : say(v));
VIEWS.jacobian = {
  draw(body, j) {
    const count = j.steps.length;
    const near = over(count, (k) => k).reduce(
        (best, k) => (Math.abs(j.steps[k] - state.t) < Math.abs(j.steps[best] - state.t) ? k : best),
        0,
      ),
      t = j.steps[near];
    const [a, b] = boxes(body, 2, "twin");
    const size = j.real.shape[1],
      re = floats(j.real),
      im = floats(j.imag),
      points = over(size, (k) => [re[near * size + k], im[near * size + k]]);
    const far = Math.max(1.15, ...points.map(([x, y]) => Math.max(Math.abs(x), Math.abs(y)))) * 1.05;
    a.append(caption(T("eigenvalues", stepNo(t))));
    cloud(a, {
      points,
      x: [-far, far],
      y: [-far, far],
      circle: true,
      square: true,
      height: 180,
      label: T("eigenvalues", stepNo(t)),
      xName: "Re λ",
      yName: "Im λ",
      leave: rest,
      hover: (k) => read(`λ = ${say(points[k][0])} ${sign(points[k][1])} i   |λ| = ${say(Math.hypot(...points[k]))}`),
    });
    const series = [
      { name: T("radius"), values: Array.from(floats(j.radius)), at: j.steps },
      { name: T("largest_singular"), values: Array.from(floats(j.singular)), at: j.steps, dash: true },
    ];
    b.append(key(series));
    chart(b, {
      floor: 1,
      low: 0,
      series,
      x: [0, j.steps[count - 1]],
      xName: (s) => say(stepNo(s)),
      across: true,
      mark: t,
      height: 165,
      label: T("radius"),
      pick: pickTime,
      leave: rest,
    });
    noteLayers(body);
    note(
      body,
      "lyapunov",
      Array.from(floats(j.lyapunov))
        .map((v) => rounded(v, j.decimals))
        .join(", "),
    );
  },
  rank: 6,
  says(j) {
    return T("jacobian.says", say3(Math.min(...floats(j.radius))), say3(Math.max(...floats(j.radius))), j.steps.length);
  },
};
