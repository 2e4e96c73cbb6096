// A walk through the codes of one model: everything it needs is in the element #spec.
// Texts of the model reach the page as textContent alone, so that none of them is markup.
// This file and the two others of the page are one script: explorer.py joins them in a scope.
const spec = JSON.parse(document.getElementById("spec").textContent);
const element = (id) => document.getElementById(id);

// ---- numbers -----------------------------------------------------------------------------------

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

// ---- the decoder -------------------------------------------------------------------------------

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
    const group = lattice.groups > 1 ? state.condition : 0;
    const start = ((group * lattice.rows + row) * lattice.columns + column) * dim;
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

// ---- what is shown -----------------------------------------------------------------------------

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

// ---- pictures and charts -----------------------------------------------------------------------

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
