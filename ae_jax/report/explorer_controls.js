// Sliders, buttons, pointers and keys; drawing once a frame.

// ---- sliders -----------------------------------------------------------------------------------

const MOST_SLIDERS = 12;
const sliders = new Map();

function slider(axis) {
  const row = document.createElement("label");
  row.className = "slider";
  const name = document.createElement("span");
  name.textContent = `z${axis + 1}`;
  const range = document.createElement("input");
  range.type = "range";
  range.min = low[axis];
  range.max = high[axis];
  range.step = (high[axis] - low[axis]) / 200;
  range.setAttribute("aria-label", `dimension ${axis + 1} of the code`);
  const value = document.createElement("output");
  const measure = document.createElement("small");
  measure.textContent = `${spec.code.measure} ${spec.code.importance[axis].toPrecision(2)}`;
  range.addEventListener("input", () => {
    stop();
    const z = Float32Array.from(state.z);
    z[axis] = Number(range.value);
    setCode(z);
  });
  row.append(name, range, value, measure);
  sliders.set(axis, { range, value });
  return row;
}

function buildSliders() {
  const free = lattice ? lattice.axes.filter((axis) => axis >= 0) : order;
  element("sliders").append(...free.slice(0, MOST_SLIDERS).map(slider));
  const more = free.slice(MOST_SLIDERS);
  element("more").hidden = !more.length;
  element("more-title").textContent = `the other ${more.length} dimensions`;
  // Hundreds of them are made only for those who look.
  element("more").addEventListener("toggle", () => {
    if (!element("more-sliders").children.length) {
      element("more-sliders").append(...more.map(slider));
      refresh();
    }
  });
  element("order").textContent = spec.code.order_text;
}

function buildAxes() {
  const fixed = size < 3 || lattice;
  for (const [index, id] of ["across", "upwards"].entries()) {
    const select = element(id);
    if (fixed) {
      const axis = state.axes[index];
      element(`${id}-label`).textContent = axis < 0 ? "" : `${id}: z${axis + 1}`;
      continue;
    }
    for (const axis of order) select.add(new Option(`z${axis + 1}`, axis));
    select.value = state.axes[index];
    select.addEventListener("change", () => {
      const other = 1 - index;
      if (Number(select.value) === state.axes[other]) {
        // The two change places.
        state.axes[other] = state.axes[index];
        element(other ? "upwards" : "across").value = state.axes[other];
      }
      state.axes[index] = Number(select.value);
      refresh(true);
    });
  }
}

// ---- drawing all of it, once a frame -----------------------------------------------------------

let behind = null; // the other dimensions at which the background was drawn
let waiting = false;

function refresh(all = false) {
  if (all) behind = null;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

function draw() {
  const x = decode(state.z);
  if (spec.data.picture) show(element("decoded"), x);
  else {
    const series = state.example < 0 ? [] : [{ x: examples.value(state.example), faint: true }];
    chart(element("decoded"), [{ x }, ...series]);
  }
  const original = element("original-figure");
  original.hidden = state.example < 0 || !spec.data.picture;
  if (!original.hidden) show(element("original"), examples.value(state.example));
  element("original-text").textContent = state.example < 0 ? "" : nameOf(state.example);
  element("decoded-text").textContent =
    state.example < 0 || spec.data.picture ? "decoded" : `decoded, and ${nameOf(state.example)}`;
  const listed = (lattice ? lattice.axes.filter((axis) => axis >= 0) : order).slice(0, 3);
  element("where").textContent = listed.map((i) => `z${i + 1} = ${shown(state.z[i])}`).join(", ") +
    (size > listed.length ? ", \u2026" : "");
  for (const [axis, { range, value }] of sliders) {
    range.value = state.z[axis];
    value.textContent = shown(state.z[axis]);
  }
  const others = `${state.condition}|` +
    Array.from(state.z, (v, i) => (state.axes.includes(i) ? "" : v.toFixed(3))).join(",");
  if (others !== behind) {
    behind = others;
    background();
  }
  drawPoints();
  drawWalk();
}

// ---- pointers, keys and buttons ----------------------------------------------------------------

const local = (event) => {
  const box = points.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
let pressed = null;

points.addEventListener("pointerdown", (event) => {
  stop();
  points.setPointerCapture(event.pointerId);
  const at = local(event);
  pressed = { at, moved: false, example: nearest(...at, event.pointerType === "touch" ? 18 : 10) };
  if (pressed.example < 0) setCode(codeAt(...at));
});
points.addEventListener("pointermove", (event) => {
  const at = local(event);
  if (pressed) {
    pressed.moved ||= Math.hypot(at[0] - pressed.at[0], at[1] - pressed.at[1]) > 5;
    if (pressed.moved) setCode(codeAt(...at));
  }
  hover(nearest(...at, event.pointerType === "touch" ? 18 : 10));
});
points.addEventListener("pointerup", (event) => {
  if (pressed && !pressed.moved && pressed.example >= 0) {
    choose(pressed.example);
    hover(pressed.example);
  }
  if (event.pointerType === "touch") setTimeout(() => hover(-1), 1200);
  pressed = null;
});
points.addEventListener("pointercancel", () => { pressed = null; });
points.addEventListener("pointerleave", () => { if (!pressed) hover(-1); });

points.addEventListener("keydown", (event) => {
  const [a, b] = state.axes;
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
  if (event.key in moves) {
    stop();
    const z = Float32Array.from(state.z);
    const part = event.shiftKey ? 10 : 50;
    moves[event.key].forEach((direction, index) => {
      const axis = [a, b][index];
      if (axis < 0) return;
      z[axis] = clamp(z[axis] + (direction * (high[axis] - low[axis])) / part, low[axis], high[axis]);
    });
    setCode(z);
    const [x, y] = positionOf(z, (spec.classes.length - 1) / 2);
    hover(nearest(x, y, 24));
  } else if (event.key === "Enter" || event.key === " ") {
    const [x, y] = positionOf(state.z, (spec.classes.length - 1) / 2);
    const found = nearest(x, y, Infinity);
    if (found >= 0) choose(found);
  } else if (event.key === "Escape") forget();
  else return;
  event.preventDefault();
});
points.addEventListener("blur", () => hover(-1));

function forget() {
  stop();
  state.ends = [];
  element("step").value = 0;
  refresh();
}

function drawFromPrior() {
  stop();
  const z = new Float32Array(size);
  if (spec.prior.codes) {
    const draws = floats(spec.prior.codes);
    const each = draws.length / size / spec.prior.groups;
    const first = spec.prior.groups > 1 ? state.condition * each : 0;
    const chosen = first + Math.floor(Math.random() * each);
    z.set(draws.subarray(chosen * size, (chosen + 1) * size));
  } else for (let i = 0; i < size; i++) z[i] = normal();
  setCode(z);
}

element("prior").hidden = !spec.prior;
if (spec.prior) {
  element("prior").textContent = `Draw from ${spec.prior.name}`;
  element("prior").addEventListener("click", drawFromPrior);
}
element("random").addEventListener("click", () => {
  stop();
  const i = Math.floor(Math.random() * examples.count);
  setCode(examples.code(i), i);
});
element("reset").textContent = center.some((value) => value) ? "The mean code" : "The code 0";
element("reset").addEventListener("click", () => { stop(); setCode(center); });
element("forget").addEventListener("click", forget);
element("play").addEventListener("click", play);
element("step").addEventListener("input", () => { stop(); walk(element("step").value / 100); });
element("tiles").addEventListener("change", () => { drawTiles(); refresh(true); });
element("dots").addEventListener("change", () => refresh());
element("tiles").closest("label").hidden = !spec.data.picture;

if (spec.condition) {
  element("condition-row").hidden = false;
  element("condition-name").textContent = spec.condition.name;
  spec.condition.choices.forEach((one, i) => element("condition").add(new Option(one.name, i)));
  element("condition").addEventListener("change", (event) => {
    state.condition = Number(event.target.value);
    refresh(true);
  });
}

function buildClasses() {
  if (!examples.labels) return;
  element("classes").append(
    ...spec.classes.map((one, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const dot = document.createElement("i");
      dot.style.background = one.color;
      button.append(dot, document.createTextNode(one.name));
      button.addEventListener("click", () => {
        if (!state.hidden.delete(index)) state.hidden.add(index);
        button.setAttribute("aria-pressed", String(!state.hidden.has(index)));
        refresh();
      });
      return button;
    }),
  );
}

document.body.classList.toggle("vectors", !spec.data.picture);
element("why").hidden = !lattice;
element("why").textContent = lattice ? spec.decoder.why : "";
buildClasses();
buildAxes();
buildSliders();
new ResizeObserver(() => { drawTiles(); refresh(); }).observe(points);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => refresh());
refresh();

// For scripts, and for those who look at the console.
window.explorer = { spec, decode, state, setCode, choose, examples };
