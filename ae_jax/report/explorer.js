"use strict";
// A walk through the codes of one model: everything it needs is in the element #spec.
// Texts of the model reach the page as textContent alone, so that none of them is markup.
(() => {
  const spec = JSON.parse(document.getElementById("spec").textContent);
  const element = (id) => document.getElementById(id);

  // ---- numbers -------------------------------------------------------------------------------

  function bytesOf(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  }

  // Half precision: one bit of sign, five of exponent, ten of fraction.
  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  function floats(packed) {
    const bytes = bytesOf(packed.halves);
    const view = new DataView(bytes.buffer);
    const values = new Float32Array(bytes.length / 2);
    for (let i = 0; i < values.length; i++) {
      values[i] = half(view.getUint16(2 * i, true)) * packed.scale;
    }
    return values;
  }

  // Values of pictures come as bytes between the lowest and the highest shown, others as halves.
  function values(packed) {
    if (!("bytes" in packed)) return floats(packed);
    const { low, high } = spec.data;
    return Float32Array.from(bytesOf(packed.bytes), (byte) => low + ((high - low) * byte) / 255);
  }

  function normal() {
    return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  }

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const shown = (value) => value.toFixed(2).replace("-", "\u2212");

  // ---- the decoder ---------------------------------------------------------------------------

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const ACTIVATIONS = {
    elu: (x) => (x > 0 ? x : Math.expm1(x)),
    gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    leaky_relu: (x) => (x >= 0 ? x : 0.01 * x),
    linear: (x) => x,
    relu: (x) => Math.max(x, 0),
    sigmoid,
    silu: (x) => x * sigmoid(x),
    softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
    tanh: Math.tanh,
  };

  function denseLayer({ inputs, outputs, kernel, bias, activation }) {
    const weights = floats(kernel);
    const offsets = floats(bias);
    const f = ACTIVATIONS[activation];
    return (x) => {
      const y = Float32Array.from(offsets);
      for (let i = 0; i < inputs; i++) {
        const value = x[i];
        if (value === 0) continue;
        const row = i * outputs;
        for (let j = 0; j < outputs; j++) y[j] += value * weights[row + j];
      }
      for (let j = 0; j < outputs; j++) y[j] = f(y[j]);
      return y;
    };
  }

  const { size, low, high, center, order } = spec.code;
  const conditions = (spec.condition ? spec.condition.choices : []).map((c) => floats(c.vector));
  const lattice = spec.decoder.lattice || null;
  const layers = (spec.decoder.layers || []).map(denseLayer);
  const latticeValues = lattice ? values(lattice.values) : null;
  const dim = spec.data.dim;

  // Which of `count` equal parts of the range of a dimension a value lies in.
  function place(value, axis, count) {
    const share = (value - low[axis]) / (high[axis] - low[axis]);
    return clamp(Math.floor(share * count), 0, count - 1);
  }

  // The mean of p(x|z) at a code, and at the condition that is chosen.
  function decode(z) {
    if (lattice) {
      const column = place(z[lattice.axes[0]], lattice.axes[0], lattice.columns);
      const row = lattice.rows > 1 ? place(z[lattice.axes[1]], lattice.axes[1], lattice.rows) : 0;
      const start = (row * lattice.columns + column) * dim;
      return latticeValues.subarray(start, start + dim);
    }
    let x = z;
    if (conditions.length) {
      x = new Float32Array(size + conditions[state.condition].length);
      x.set(z);
      x.set(conditions[state.condition], size);
    }
    return layers.reduce((input, layer) => layer(input), x);
  }

  // ---- what is shown -------------------------------------------------------------------------

  const examples = {
    count: spec.examples.count,
    codes: floats(spec.examples.codes),
    values: values(spec.examples.values),
    labels: spec.examples.labels,
    code(i) { return this.codes.slice(i * size, (i + 1) * size); },
    value(i) { return this.values.subarray(i * dim, (i + 1) * dim); },
    label(i) { return this.labels ? spec.classes[this.labels[i]].name : null; },
  };
  const first = lattice ? lattice.axes : size === 2 ? [0, 1] : [order[0], size > 1 ? order[1] : -1];
  const state = {
    z: Float32Array.from(center),
    axes: first.slice(), // across and upwards; -1 where codes have one dimension
    condition: 0,
    example: -1, // the one whose code this is
    hover: -1,
    ends: [], // of the walk: up to two examples
    hidden: new Set(), // classes
  };

  function setCode(z, example = -1) {
    if (lattice) {
      // Off the two dimensions of the lattice nothing is decoded: the code stays in their plane.
      const kept = Float32Array.from(center);
      for (const axis of lattice.axes) if (axis >= 0) kept[axis] = z[axis];
      z = kept;
    }
    state.z = Float32Array.from(z);
    state.example = example;
    refresh();
  }

  function nameOf(i) {
    const label = examples.label(i);
    return `test example ${spec.examples.numbers[i]}` + (label === null ? "" : `, label ${label}`);
  }

  // ---- pictures and charts -------------------------------------------------------------------

  const theme = () => {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    return { ink: read("--ink"), quiet: read("--quiet"), rule: read("--rule"), page: read("--page"),
      accent: read("--accent") };
  };

  function imageOf(x) {
    const [height, width, channels] = spec.data.shape;
    const image = new ImageData(width, height);
    const scale = 255 / (spec.data.high - spec.data.low);
    for (let pixel = 0; pixel < width * height; pixel++) {
      for (let c = 0; c < 3; c++) {
        const value = x[pixel * channels + (channels === 3 ? c : 0)];
        image.data[4 * pixel + c] = (value - spec.data.low) * scale;
      }
      image.data[4 * pixel + 3] = 255;
    }
    return image;
  }

  function sized(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    return context;
  }

  // One series a colour: few numbers as bars, many as a line.
  function chart(canvas, series) {
    const context = sized(canvas);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const colours = theme();
    const pad = 6;
    const y = (v) =>
      height - pad - (clamp((v - spec.data.low) / (spec.data.high - spec.data.low), 0, 1)) *
      (height - 2 * pad);
    const base = y(clamp(0, spec.data.low, spec.data.high));
    context.strokeStyle = colours.rule;
    context.beginPath();
    context.moveTo(0, base);
    context.lineTo(width, base);
    context.stroke();
    series.forEach(({ x, faint }, index) => {
      context.fillStyle = context.strokeStyle = faint ? colours.quiet : colours.accent;
      if (dim <= 16) {
        const slot = width / dim;
        const bar = (slot * 0.7) / series.length;
        for (let i = 0; i < dim; i++) {
          const left = slot * (i + 0.15) + bar * index;
          context.fillRect(left, Math.min(y(x[i]), base), bar, Math.abs(y(x[i]) - base) || 1);
        }
        return;
      }
      context.lineWidth = faint ? 1 : 2;
      context.beginPath();
      for (let i = 0; i < dim; i++) context.lineTo(pad + (i / (dim - 1)) * (width - 2 * pad), y(x[i]));
      context.stroke();
    });
  }

  function show(canvas, x) {
    if (!spec.data.picture) {
      chart(canvas, [{ x }]);
      return;
    }
    const [height, width] = spec.data.shape;
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(imageOf(x), 0, 0);
  }

  // ---- the plane of codes --------------------------------------------------------------------

  const plane = element("plane");
  const points = element("points");
  const tooltip = element("tooltip");
  const tiles = document.createElement("canvas"); // the lattice of decodings, behind the points
  let job = 0; // only the newest drawing of the background goes on

  const classOf = (i) => (examples.labels ? examples.labels[i] : 0);
  const isHidden = (i) => state.hidden.has(classOf(i));

  function across(value, axis) {
    return ((value - low[axis]) / (high[axis] - low[axis])) * points.clientWidth;
  }

  // Codes of one dimension stand in rows, one a class.
  function positionOf(z, row) {
    const [a, b] = state.axes;
    const x = across(z[a], a);
    if (b < 0) return [x, ((row + 0.5) / Math.max(spec.classes.length, 1)) * points.clientHeight];
    return [x, points.clientHeight * (1 - (z[b] - low[b]) / (high[b] - low[b]))];
  }

  function codeAt(x, y) {
    const [a, b] = state.axes;
    const z = Float32Array.from(state.z);
    z[a] = low[a] + clamp(x / points.clientWidth, 0, 1) * (high[a] - low[a]);
    if (b >= 0) z[b] = low[b] + clamp(1 - y / points.clientHeight, 0, 1) * (high[b] - low[b]);
    return z;
  }

  function background() {
    const mine = ++job;
    if (!spec.data.picture || !element("tiles").checked) {
      sized(plane);
      return;
    }
    const [height, width] = spec.data.shape;
    const [a, b] = state.axes;
    const wanted = Math.max(width, height) > 40 ? 10 : 15;
    const columns = lattice ? lattice.columns : wanted;
    const rows = b < 0 ? 1 : lattice ? lattice.rows : wanted;
    const fresh = document.createElement("canvas");
    fresh.width = columns * width;
    fresh.height = rows * height;
    const context = fresh.getContext("2d");
    let next = 0;
    const work = () => {
      if (mine !== job) return;
      const until = performance.now() + 12;
      while (next < rows * columns && performance.now() < until) {
        const [column, row] = [next % columns, Math.floor(next / columns)];
        const z = Float32Array.from(state.z);
        z[a] = low[a] + ((column + 0.5) / columns) * (high[a] - low[a]);
        if (b >= 0) z[b] = high[b] - ((row + 0.5) / rows) * (high[b] - low[b]);
        context.putImageData(imageOf(decode(z)), column * width, row * height);
        next++;
      }
      if (next < rows * columns) {
        setTimeout(work, 0);
        return;
      }
      tiles.width = fresh.width;
      tiles.height = fresh.height;
      tiles.getContext("2d").drawImage(fresh, 0, 0);
      drawTiles();
    };
    setTimeout(work, 0);
  }

  function drawTiles() {
    const context = sized(plane);
    if (!tiles.width || !element("tiles").checked || !spec.data.picture) return;
    context.imageSmoothingEnabled = true;
    context.drawImage(tiles, 0, 0, plane.clientWidth, plane.clientHeight);
  }

  function drawPoints() {
    const context = sized(points);
    const colours = theme();
    const radius = examples.count > 300 ? 3 : 4;
    if (element("dots").checked) {
      for (let i = 0; i < examples.count; i++) {
        if (isHidden(i)) continue;
        const [x, y] = positionOf(examples.code(i), classOf(i));
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fillStyle = spec.classes[classOf(i)].color;
        context.fill();
        context.lineWidth = 0.75;
        context.strokeStyle = "#ffffff";
        context.stroke();
      }
      if (examples.labels && state.axes[1] >= 0) classNames(context);
    }
    if (state.ends.length === 2) {
      const [from, to] = state.ends.map((i) => positionOf(examples.code(i), classOf(i)));
      stroke(context, () => { context.moveTo(...from); context.lineTo(...to); });
    }
    state.ends.forEach((i, end) => letter(context, positionOf(examples.code(i), classOf(i)), "AB"[end]));
    const [x, y] = positionOf(state.z, (spec.classes.length - 1) / 2);
    stroke(context, () => context.arc(x, y, 8, 0, 2 * Math.PI));
    stroke(context, () => {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 5 * dx, y + 5 * dy);
        context.lineTo(x + 12 * dx, y + 12 * dy);
      }
    });
    points.style.outlineColor = colours.accent;
  }

  // Dark within light, to be seen on any picture.
  function stroke(context, path) {
    for (const [colour, width] of [["#ffffff", 4.5], ["#d55e00", 2.25]]) {
      context.beginPath();
      path();
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    }
  }

  function letter(context, [x, y], text) {
    context.beginPath();
    context.arc(x, y, 10, 0, 2 * Math.PI);
    context.fillStyle = "#d55e00";
    context.fill();
    context.lineWidth = 1.5;
    context.strokeStyle = "#ffffff";
    context.stroke();
    written(context, text, x, y, "#ffffff", null, "bold 12px sans-serif");
  }

  function written(context, text, x, y, colour, halo, font) {
    context.font = font;
    context.textAlign = "center";
    context.textBaseline = "middle";
    if (halo) {
      context.lineWidth = 4;
      context.lineJoin = "round";
      context.strokeStyle = halo;
      context.strokeText(text, x, y);
    }
    context.fillStyle = colour;
    context.fillText(text, x, y);
  }

  // Each class by its name, where the medians of its codes are.
  function classNames(context) {
    if (spec.classes.length > 30) return;
    spec.classes.forEach((one, index) => {
      if (state.hidden.has(index)) return;
      const found = [];
      for (let i = 0; i < examples.count; i++) {
        if (classOf(i) === index) found.push(positionOf(examples.code(i), index));
      }
      if (!found.length) return;
      const median = (axis) => found.map((p) => p[axis]).sort((p, q) => p - q)[found.length >> 1];
      written(context, one.name, median(0), median(1), "#000000", "#ffffff", "bold 15px sans-serif");
    });
  }

  function nearest(x, y, within) {
    let [best, distance] = [-1, within];
    if (!element("dots").checked) return best;
    for (let i = 0; i < examples.count; i++) {
      if (isHidden(i)) continue;
      const [px, py] = positionOf(examples.code(i), classOf(i));
      const d = Math.hypot(px - x, py - y);
      if (d < distance) [best, distance] = [i, d];
    }
    return best;
  }

  function hover(i) {
    if (i === state.hover) return;
    state.hover = i;
    tooltip.hidden = i < 0;
    if (i < 0) return;
    element("tooltip-text").textContent = nameOf(i);
    show(element("tooltip-picture"), examples.value(i));
    const [x, y] = positionOf(examples.code(i), classOf(i));
    const [width, height] = [tooltip.offsetWidth, tooltip.offsetHeight];
    const left = x + 16 + width > points.clientWidth ? x - 16 - width : x + 16;
    tooltip.style.left = `${clamp(left, 0, Math.max(0, points.clientWidth - width))}px`;
    tooltip.style.top = `${clamp(y - height - 12, 0, points.clientHeight - height)}px`;
  }

  function choose(i) {
    if (state.ends[state.ends.length - 1] !== i) state.ends = [...state.ends, i].slice(-2);
    element("step").value = 0;
    setCode(examples.code(i), i);
    if (state.ends.length === 2) walk(1);
  }

  // ---- the walk between two examples ---------------------------------------------------------

  const STOPS = 9;

  function between(t) {
    const [from, to] = state.ends.map((i) => examples.code(i));
    return from.map((value, k) => (1 - t) * value + t * to[k]);
  }

  function walk(t) {
    element("step").value = Math.round(100 * t);
    const end = t === 0 ? state.ends[0] : t === 1 ? state.ends[1] : -1;
    setCode(between(t), end);
  }

  function drawWalk() {
    const ready = state.ends.length === 2;
    element("step").disabled = element("play").disabled = !ready;
    element("strip").hidden = !(ready && spec.data.picture);
    element("forget").disabled = !state.ends.length;
    element("walk-text").textContent = ready
      ? `From ${nameOf(state.ends[0])} (A) to ${nameOf(state.ends[1])} (B).`
      : state.ends.length
        ? `From ${nameOf(state.ends[0])} (A): choose a second point.`
        : "Choose two points of the plane to walk from one to the other.";
    if (!ready || !spec.data.picture) return;
    const [height, width] = spec.data.shape;
    const strip = element("strip");
    strip.width = STOPS * (width + 1) - 1;
    strip.height = height;
    const context = strip.getContext("2d");
    for (let k = 0; k < STOPS; k++) {
      context.putImageData(imageOf(decode(between(k / (STOPS - 1)))), k * (width + 1), 0);
    }
  }

  let playing = 0;
  function play() {
    if (playing) {
      stop();
      return;
    }
    element("play").textContent = "Stop";
    const begun = performance.now();
    const frame = (now) => {
      const t = ((now - begun) / 4000) % 2;
      walk(t <= 1 ? t : 2 - t);
      playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    element("play").textContent = "Play";
  }

  // ---- sliders -------------------------------------------------------------------------------

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

  // ---- drawing all of it, once a frame -------------------------------------------------------

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

  // ---- pointers, keys and buttons ------------------------------------------------------------

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
      const chosen = Math.floor((Math.random() * draws.length) / size);
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
})();
