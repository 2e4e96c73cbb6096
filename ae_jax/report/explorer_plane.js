// The plane of codes with its points, and the walk between two of them.

// ---- the plane of codes ------------------------------------------------------------------------

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

// ---- the walk between two examples -------------------------------------------------------------

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
