// The explorer: a pad to draw on, all that a network makes of the drawing, and how each value comes
// about. The description and the numbers are those of export.py.
//
// All is computed in the page, at most once for each frame. What is shown of single values depends
// on a choice { layer, map, row, column }: the one under the pointer, or else the one pinned last.
import { checked, explain, layerForward, outputsOf, product, restsOn, stored } from "./forward.js";

const SHOWN_INPUTS = 8; // of the many input maps of a value, those with the largest part in it
const LARGEST_TABLE = 25; // places of a window up to which its numbers are written out
const SMALL_VECTOR = 64;
const NARROW = 1240; // pixels of width below which each layer is one row that scrolls sideways

const STYLE = `
.convlib-explorer {
  --page: var(--jp-layout-color1, var(--color-background-primary, #fff));
  --text: var(--jp-content-font-color1, var(--color-foreground-primary, #1f2328));
  --quiet: #57606a; --line: #c4cad0; --raised: #f3f5f7; --accent: #0b5394; --mark: #d83a00;
  container-type: inline-size; color: var(--text); background: var(--page);
  font: 14px/1.4 system-ui, sans-serif; text-align: left;
}
@media (prefers-color-scheme: dark) {
  body:not([data-theme="light"], [data-jp-theme-light="true"]) .convlib-explorer {
    --page: var(--jp-layout-color1, var(--color-background-primary, #14181c));
    --text: var(--jp-content-font-color1, var(--color-foreground-primary, #e4e7eb));
    --quiet: #a9b2bc; --line: #4a525b; --raised: #23282e; --accent: #79b8ff; --mark: #ff7a45;
  }
}
body:is([data-theme="dark"], [data-jp-theme-light="false"]) .convlib-explorer {
  --quiet: #a9b2bc; --line: #4a525b; --raised: #23282e; --accent: #79b8ff; --mark: #ff7a45;
}
.convlib-explorer * { box-sizing: border-box; }
.convlib-explorer .room { display: grid; gap: 16px 24px; padding: 4px; }
.convlib-explorer :is(h3, p, figure, ol, table) { margin: 0; padding: 0; }
.convlib-explorer h3 { font-size: 14px; font-weight: 600; line-height: 1.4; }
.convlib-explorer .quiet { color: var(--quiet); font-size: 13px; }
.convlib-explorer canvas { display: block; image-rendering: pixelated; }
.convlib-explorer :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.convlib-explorer .hidden {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
}
.convlib-explorer button {
  font: inherit; color: var(--text); background: var(--raised); border: 1px solid var(--line);
  border-radius: 5px; padding: 3px 9px; min-height: 28px; min-width: 28px; cursor: pointer;
}
.convlib-explorer button:hover { border-color: var(--accent); }
.convlib-explorer .entry { display: grid; gap: 10px; align-content: start; }
.convlib-explorer .pad { position: relative; width: 252px; max-width: 100%; }
.convlib-explorer .pad canvas {
  width: 100%; border: 1px solid var(--line); touch-action: none; cursor: crosshair;
}
.convlib-explorer .buttons, .convlib-explorer .examples {
  display: flex; flex-wrap: wrap; gap: 4px; width: 252px; max-width: 100%;
}
.convlib-explorer .buttons button { padding: 3px 7px; flex: 1 1 auto; }
.convlib-explorer .examples button { padding: 1px; min-height: 0; min-width: 24px; width: 47px; }
.convlib-explorer .examples canvas { width: 100%; }
.convlib-explorer .answer { font-size: 17px; font-weight: 600; }
.convlib-explorer .probabilities { list-style: none; display: grid; gap: 2px; }
.convlib-explorer .probabilities li {
  display: grid; grid-template-columns: 2.2em 1fr 4.2em; gap: 6px; align-items: center;
  font-variant-numeric: tabular-nums; line-height: 1.3;
}
.convlib-explorer .probabilities li > :first-child { text-align: right; }
.convlib-explorer .probabilities li > :last-child { text-align: right; white-space: nowrap; color: var(--quiet); }
.convlib-explorer .bar { height: 12px; background: var(--raised); }
.convlib-explorer .bar span { display: block; height: 100%; background: var(--quiet); }
.convlib-explorer .best { font-weight: 600; }
.convlib-explorer .best .bar span { background: var(--accent); }
.convlib-explorer .layers {
  display: grid; gap: 14px; align-content: start; min-width: 0; position: relative;
}
.convlib-explorer .layer { display: grid; gap: 5px; min-width: 0; }
.convlib-explorer .maps { padding: 3px; overflow-x: auto; }
.convlib-explorer .map {
  position: absolute; padding: 0; min-height: 0; min-width: 0; border: 0; border-radius: 0;
  background: none; cursor: crosshair;
}
.convlib-explorer .map[aria-pressed="true"] { box-shadow: 0 0 0 2px var(--text); }
.convlib-explorer .map[data-rests]::after, .convlib-explorer .box {
  content: ""; position: absolute; pointer-events: none; outline: 2px solid var(--mark);
  box-shadow: 0 0 0 3px #fff, inset 0 0 0 1px #fff8;
  top: calc(100% * var(--top)); left: calc(100% * var(--left));
  height: calc(100% * var(--height)); width: calc(100% * var(--width));
}
.convlib-explorer .map[data-rests]::after { outline-width: 1.5px; box-shadow: none; }
.convlib-explorer .box[hidden] { display: none; }
.convlib-explorer .framed { position: relative; width: fit-content; }
.convlib-explorer .vector { max-width: 100%; cursor: crosshair; }
.convlib-explorer h3 .quiet { font-weight: 400; }
.convlib-explorer .legend { white-space: nowrap; margin-left: 8px; }
.convlib-explorer .scale { display: inline-block; width: 60px; height: 9px; margin: 0 5px; }
.convlib-explorer .detail {
  display: grid; grid-auto-rows: max-content; gap: 12px; min-width: 0;
  border-top: 2px solid var(--line);
  padding-top: 10px; background: var(--page);
}
.convlib-explorer :is(.of-value, .terms, .of-map) {
  display: grid; gap: 8px; min-width: 0; align-content: start;
}
.convlib-explorer .of-value { min-height: 290px; } /* the rest stays where it is */
.convlib-explorer .row { display: flex; flex-wrap: wrap; gap: 6px 8px; align-items: center; }
.convlib-explorer .inputs button { font-size: 12px; padding: 0 6px; min-height: 24px; }
.convlib-explorer [aria-pressed="true"]:not(.map) {
  background: var(--accent); color: var(--page); border-color: var(--accent);
}
.convlib-explorer figcaption { font-size: 12px; color: var(--quiet); }
.convlib-explorer .enlarged { width: 140px; cursor: crosshair; border: 1px solid var(--line); }
.convlib-explorer .grid canvas { width: 84px; border: 1px solid var(--line); }
.convlib-explorer .grid table { border-collapse: collapse; }
.convlib-explorer .grid td {
  width: 31px; min-width: 31px; height: 28px; padding: 0; text-align: center;
  border: 1px solid #8a8a8a; font: 11px/1 system-ui, sans-serif;
  font-variant-numeric: tabular-nums;
}
.convlib-explorer .grid td.outside { background: none; border-style: dashed; color: var(--quiet); }
.convlib-explorer .grid td.winner { outline: 3px solid var(--mark); outline-offset: -2px; }
.convlib-explorer .equation { gap: 6px 4px; }
.convlib-explorer .sign { font-size: 16px; padding-top: 16px; }
.convlib-explorer .sum { font-variant-numeric: tabular-nums; }
.convlib-explorer .filter { max-width: 100%; }
.convlib-explorer .responses { display: flex; flex-wrap: wrap; gap: 6px; }
.convlib-explorer .responses .pair { display: flex; gap: 2px; }
.convlib-explorer .responses canvas { width: 36px; height: 36px; object-fit: contain; }
@container (min-width: 620px) {
  .convlib-explorer .room { grid-template-columns: 256px minmax(0, 1fr); }
  .convlib-explorer .entry { grid-row: 1 / span 2; }
  .convlib-explorer .layers { max-height: 640px; overflow-y: auto; }
}
@container (min-width: 1020px) {
  .convlib-explorer .room { grid-template-columns: 256px minmax(0, 1fr) 366px; }
  .convlib-explorer .entry { grid-row: auto; }
  .convlib-explorer .layers { max-height: 860px; }
  .convlib-explorer .detail {
    border-top: 0; padding: 0 4px 4px; max-height: 860px; overflow-y: auto;
  }
}
`;

// Colours: grey for images as ink on paper, dark blue to yellow for values without a sign, blue
// over white to red for values with one. A table of 256 pixels each; not-a-number is magenta.
const [INK, POSITIVE, SIGNED] = [
  ["#ffffff", "#000000"],
  ["#00204c", "#31446b", "#666970", "#958f78", "#cbba69", "#ffe945"],
  ["#0b4f8a", "#7db4d8", "#f7f7f7", "#f0a07c", "#a51d2d"],
].map((stops) => {
  const parts = stops.map((stop) => [1, 3, 5].map((i) => parseInt(stop.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const place = i / 255 * (parts.length - 1);
    const before = Math.min(Math.floor(place), parts.length - 2), share = place - before;
    const [r, g, b] = parts[before].map((value, c) =>
      Math.round(value + share * (parts[before + 1][c] - value)));
    return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  });
});
const NOT_A_NUMBER = 0xffff00ff;

function colourOf(value, { colours, low, high }) {
  if (Number.isNaN(value)) return NOT_A_NUMBER;
  const place = Math.round(255 * (value - low) / (high - low || 1));
  return colours[Math.max(0, Math.min(255, place))];
}

// The colours for values from below zero to above, alike on either side, or from zero up.
function scaleFor(values, isSigned) {
  let largest = 0;
  for (const value of values) {
    const size = Math.abs(value);
    if (size > largest && size < Infinity) largest = size;
  }
  largest ||= 1; // nothing but zeros
  return isSigned ? { colours: SIGNED, low: -largest, high: largest }
    : { colours: POSITIVE, low: 0, high: largest };
}

function paint(context, height, width, valueAt, scale) {
  const picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = colourOf(valueAt(i), scale);
  context.putImageData(picture, 0, 0);
}

// A number as text, with fewer digits after the point the larger it is; zero is written shortly.
const written = (value, digits = 3) => {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return String(value).replace("-", "−");
  const size = Math.abs(value);
  const text = size >= 1e5 ? size.toExponential(1)
    : size.toFixed(Math.max(0, digits - (size >= 10) - (size >= 100) - (size >= 1000)));
  return (value < 0 && Number(text) ? "−" : "") + text;
};
const withSign = (value) => (value > 0 ? "+" : "") + written(value, 2);
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const times = (sizes) => sizes.join("×");

function element(parent, tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  parent?.append(made);
  return made;
}

function canvas(parent, height, width, attributes = {}) {
  return element(parent, "canvas", { height, width, ...attributes });
}

// Whether a layer's values can be below zero.
function isSigned(network, index) {
  if (index < 0) return false;
  const { kind, activation } = network.layers[index];
  if (activation?.kind === "tanh") return true;
  if (activation) return activation.kind === "relu" && activation.negative_slope !== 0;
  return ["convolution", "dense", "normalization"].includes(kind) || isSigned(network, index - 1);
}

function titleOf(layer) {
  const parts = [layer.class];
  if (layer.window) parts.push(times(layer.window));
  const isWhole = String(layer.window) === String(layer.input_shape.slice(0, 2));
  const usual = layer.kind === "convolution" ? [1, 1] : layer.window; // of pooling
  if (layer.strides && !isWhole && String(layer.strides) !== String(usual)) {
    parts.push(`strides ${times(layer.strides)}`);
  }
  if (layer.dilation?.some((gap) => gap > 1)) parts.push(`dilation ${times(layer.dilation)}`);
  if (layer.activation && layer.activation.kind !== layer.class.toLowerCase()) {
    parts.push(layer.activation.kind);
  }
  const isVector = layer.output_shape[0] * layer.output_shape[1] === 1;
  return `${parts.join(", ")} → ${isVector ? layer.output_shape[2] : times(layer.output_shape)}`;
}

// How many columns the values of a vector are laid out in.
const columnsFor = (count) => Math.min(count, count <= SMALL_VECTOR ? 32 : 64);

// Where the marked pixels of a layer lie, as shares of its height and width.
function boundsOf(pixels, [height, width]) {
  let [top, left, bottom, right] = [height, width, -1, -1];
  pixels.forEach((marked, i) => {
    if (!marked) return;
    const row = Math.floor(i / width), column = i % width;
    top = Math.min(top, row);
    bottom = Math.max(bottom, row);
    left = Math.min(left, column);
    right = Math.max(right, column);
  });
  return bottom < 0 ? null : [
    top / height, left / width, (bottom + 1 - top) / height, (right + 1 - left) / width,
  ];
}

function place(box, bounds) {
  ["--top", "--left", "--height", "--width"].forEach((name, i) =>
    box.style.setProperty(name, bounds?.[i] ?? 0));
}

// Ink of a round pen between two points in pixels; what is there already stays.
export function inked(image, [height, width, channels], from, to, ink) {
  const radius = 1.1 * Math.max(height, width) / 28;
  const [down, right] = [to[0] - from[0], to[1] - from[1]];
  const length = down * down + right * right;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const [y, x] = [row + 0.5 - from[0], column + 0.5 - from[1]];
      const along = length ? Math.max(0, Math.min(1, (y * down + x * right) / length)) : 0;
      const distance = Math.hypot(y - along * down, x - along * right);
      const value = ink * Math.max(0, Math.min(1, radius + 0.5 - distance));
      const at = (row * width + column) * channels;
      for (let c = at; c < at + channels; c++) image[c] = Math.max(image[c], value);
    }
  }
}

// An image moved by whole pixels; what leaves it is lost, and paper comes in.
export function shifted(image, [height, width, channels], down, right) {
  const moved = new Float32Array(image.length);
  for (let row = Math.max(0, down); row < Math.min(height, height + down); row++) {
    for (let column = Math.max(0, right); column < Math.min(width, width + right); column++) {
      const from = ((row - down) * width + column - right) * channels;
      moved.set(image.subarray(from, from + channels), (row * width + column) * channels);
    }
  }
  return moved;
}

// By how many pixels down and right the centre of mass is off the middle.
export function offCentre(image, [height, width, channels]) {
  let [mass, rows, columns] = [0, 0, 0];
  image.forEach((value, i) => {
    const pixel = Math.floor(i / channels);
    mass += value;
    rows += value * (Math.floor(pixel / width) + 0.5);
    columns += value * (pixel % width + 0.5);
  });
  if (!(mass > 0)) return [0, 0];
  return [Math.round(height / 2 - rows / mass), Math.round(width / 2 - columns / mass)];
}

// Numbers of float32 from text in base64, as a page holds them that is read from a disk.
export function numbersFrom(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

// Build the explorer in an element of a page; the function that is returned takes it down.
export function mount(el, network, numbers) {
  checked(network, numbers);
  const shape = network.input_shape, [height, width, channels] = shape, layers = network.layers;
  const gallery = network.gallery ? stored(network.gallery.images, numbers) : null;
  const labels = network.gallery?.labels ?? [];
  const exampleAt = (i) => gallery.slice(i * product(shape), (i + 1) * product(shape));
  const ink = (gallery ?? []).reduce((a, b) => Math.max(a, b), 0) || 1;
  const paper = { colours: INK, low: 0, high: ink };

  let image = gallery ? exampleAt(0) : new Float32Array(product(shape));
  let outputs = [], scales = [], pinned = null, hovered = null, chosenInput = null;
  let isStale = { image: true, map: true, pinned: false };
  let frame = 0, saying = 0, alive = true;

  const root = element(el, "div", { class: "convlib-explorer" });
  root.onkeydown = (event) => { // a notebook has its own meaning for letters, arrows and Enter
    if (!(event.ctrlKey || event.metaKey || event.altKey)) event.stopPropagation();
  };
  element(root, "style", {}, STYLE);
  const room = element(root, "div", { class: "room" });
  const status = element(root, "p", { class: "hidden", role: "status" });

  function say(text) {
    clearTimeout(saying);
    saying = setTimeout(() => { status.textContent = text; }, 500);
  }

  function refresh(what) {
    isStale = { ...isStale, ...what };
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  }

  // The image, however many channels it has, as pixels of a canvas.
  function paintImage(context, image) {
    if (channels !== 3) {
      paint(context, height, width, (i) => image[i * channels], paper);
      return;
    }
    const picture = context.createImageData(width, height);
    picture.data.forEach((_, i) => {
      const c = i % 4;
      picture.data[i] = c === 3 ? 255 : 255 * image[Math.floor(i / 4) * 3 + c] / ink;
    });
    context.putImageData(picture, 0, 0);
  }

  // --- what goes in: the pad, its buttons, the examples ---

  const entry = element(room, "section", { class: "entry", "aria-label": "Drawing and answer" });
  const padFrame = element(entry, "div", { class: "pad" });
  const pad = canvas(padFrame, height, width, {
    role: "application", tabindex: 0, "aria-label": `Pad, ${height} by ${width} pixels. ` +
      "Draw with the mouse, a pen or a finger. Arrow keys move the drawing, Delete clears it.",
  });
  const padBox = element(padFrame, "span", { class: "box", hidden: "" });
  const padContext = pad.getContext("2d");
  const setImage = (next) => {
    image = next;
    refresh({ image: true });
  };
  const clear = () => setImage(new Float32Array(image.length));
  const move = (down, right) => setImage(shifted(image, shape, down, right));

  const buttons = element(entry, "div", { class: "buttons" });
  const actions = [
    ["Clear", "Clear", clear],
    ["Centre", "Centre", () => move(...offCentre(image, shape))],
    ["←", "Move left", () => move(0, -1)], ["→", "Move right", () => move(0, 1)],
    ["↑", "Move up", () => move(-1, 0)], ["↓", "Move down", () => move(1, 0)],
  ];
  for (const [sign, label, act] of actions) {
    element(buttons, "button", { type: "button", "aria-label": label }, sign).onclick = act;
  }
  if (gallery) {
    element(entry, "p", { class: "quiet" }, "or take one of these:");
    const row = element(entry, "div", { class: "examples" });
    labels.forEach((label, i) => {
      const button = element(row, "button", {
        type: "button", "data-example": i, "aria-label": `Put example ${label} on the pad`,
      });
      paintImage(canvas(button, height, width).getContext("2d"), exampleAt(i));
      button.onclick = () => setImage(exampleAt(i));
    });
  }

  let last = null;
  const pointOf = ({ clientX, clientY }) => {
    const box = pad.getBoundingClientRect();
    return [(clientY - box.top) / box.height * height, (clientX - box.left) / box.width * width];
  };
  pad.onpointerdown = (event) => {
    if (event.button) return;
    pad.setPointerCapture(event.pointerId);
    last = pointOf(event);
    inked(image, shape, last, last, ink);
    refresh({ image: true });
  };
  pad.onpointermove = (event) => {
    if (!last) return;
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) {
      const next = pointOf(step);
      inked(image, shape, last, next, ink);
      last = next;
    }
    refresh({ image: true });
  };
  pad.onpointerup = pad.onpointercancel = () => { last = null; };
  const DIRECTIONS = {
    ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  };
  pad.onkeydown = (event) => {
    if (event.key in DIRECTIONS) move(...DIRECTIONS[event.key]);
    else if (event.key === "Delete" || event.key === "Backspace") clear();
    else return;
    event.preventDefault();
  };

  // --- what comes out: one bar per value of the last layer ---

  const [, , classes] = layers.at(-1).output_shape;
  const isAnswer = product(layers.at(-1).output_shape) === classes && classes <= SMALL_VECTOR;
  const isProbability = layers.at(-1).activation?.kind === "softmax";
  const answer = element(entry, "p", { class: "answer" });
  const MOST = isProbability ? "Most probable" : "Largest";
  const bars = isAnswer && Array.from({ length: classes });
  if (isAnswer) {
    const list = element(entry, "ol", {
      class: "probabilities", role: "list",
      "aria-label": isProbability ? "Probability of each class" : "Value of each class",
    });
    for (let i = 0; i < classes; i++) {
      const item = element(list, "li", { "data-class": i });
      element(item, "span", {}, i);
      const bar = element(element(item, "span", { class: "bar" }), "span");
      bars[i] = { item, bar, value: element(item, "span", { class: "value" }) };
    }
  }

  function drawAnswer() {
    if (!isAnswer) return;
    const values = outputs.at(-1), best = values.indexOf(values.reduce((a, b) => Math.max(a, b)));
    const largest = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0) || 1;
    bars.forEach(({ item, bar, value }, i) => {
      const share = isProbability ? values[i] : Math.max(0, values[i]) / largest;
      bar.style.width = percent(share).replace(" ", "");
      value.textContent = isProbability ? percent(values[i]) : written(values[i]);
      item.className = i === best ? "best" : "";
    });
    const isEmpty = image.every((value) => value === 0);
    answer.dataset.class = best;
    answer.textContent = best < 0 ? "The values are not numbers"
      : isEmpty ? "Draw a digit"
      : `${MOST}: ${best} (${(isProbability ? percent : written)(values[best])})`;
    say(answer.textContent);
  }

  // --- the layers ---

  const stack = element(room, "section", { class: "layers", "aria-label": "Layers", tabindex: 0 });
  element(stack, "p", { class: "quiet" },
    "Point at a value or tap it to see how it comes about; a click holds it and shows its filter.");
  const views = layers.map((layer, index) => {
    const [rows, columns, count] = layer.output_shape;
    const section = element(stack, "section", {
      class: "layer", "data-layer": layer.name, "aria-label": `Layer ${layer.name}`,
    });
    const title = element(section, "h3", {}, layer.name);
    element(title, "span", { class: "quiet" }, ` ${titleOf(layer)} `);
    if (layer.kind === "identity" && !layer.activation && product(layer.input_shape) ===
        product(layer.output_shape) && count === layer.input_shape[2]) {
      element(section, "p", { class: "quiet" }, "hands on everything as it is, once trained");
      return null;
    }
    const drawLegend = legendOf(element(title, "span", { class: "quiet legend" }), index);
    return rows * columns === 1 ? vectorView(section, layer, index, drawLegend)
      : mapsView(section, layer, index, drawLegend);
  });

  function legendOf(parent, index) {
    const { colours } = scaleFor([], isSigned(network, index));
    const low = element(parent, "span");
    const bar = canvas(parent, 1, 64, { class: "scale", "aria-hidden": "true" });
    paint(bar.getContext("2d"), 1, 64, (i) => i, { colours, low: 0, high: 63 });
    const high = element(parent, "span");
    return (scale) => {
      low.textContent = written(scale.low, 2);
      high.textContent = written(scale.high, 2);
    };
  }

  // All maps of a layer are one canvas, as a browser is slow with hundreds of them; the buttons
  // that lie on it have no picture of their own.
  function mapsView(section, layer, index, drawLegend) {
    const [rows, columns, count] = layer.output_shape, largest = Math.max(rows, columns);
    const zoom = (largest > 8 ? 36 : largest > 4 ? 24 : 18) / largest, gap = Math.max(1, Math.round(4 / zoom));
    const grid = element(section, "div", {
      class: "maps", role: "group", "aria-label": `Maps of ${layer.name}`,
    });
    const framed = element(grid, "div", { class: "framed" });
    const sheet = canvas(framed, 1, 1, { "aria-hidden": "true" }), context = sheet.getContext("2d");
    const maps = Array.from({ length: count }, (_, map) => element(framed, "button", {
      type: "button", class: "map", "data-map": map, tabindex: map ? -1 : 0,
      "aria-pressed": "false", "aria-label": `${layer.name}, map ${map}`,
    }));
    let perRow = 0, picture = null;
    const placeOf = (map) => [
      Math.floor(map / perRow) * (rows + gap), (map % perRow) * (columns + gap),
    ];
    function arrange() {
      const room = root.clientWidth < NARROW ? Infinity : section.clientWidth - 6;
      const fit = Math.floor((room / zoom + gap) / (columns + gap));
      if (perRow === Math.max(1, Math.min(count, fit))) return false;
      perRow = Math.max(1, Math.min(count, fit));
      sheet.width = perRow * (columns + gap) - gap;
      sheet.height = Math.ceil(count / perRow) * (rows + gap) - gap;
      sheet.style.width = `${sheet.width * zoom}px`;
      picture = context.createImageData(sheet.width, sheet.height);
      maps.forEach((button, map) => {
        const [top, left] = placeOf(map);
        Object.entries({ top, left, height: rows, width: columns }).forEach(([name, value]) => {
          button.style[name] = `${value * zoom}px`;
        });
      });
      return true;
    }
    const mapOf = (event) => event.target.closest?.(".map");
    const cellOf = (event, button) => {
      const box = button.getBoundingClientRect();
      const inside = (share, size) => Math.max(0, Math.min(size - 1, Math.floor(share * size)));
      return { layer: index, map: Number(button.dataset.map),
        row: inside((event.clientY - box.top) / box.height, rows),
        column: inside((event.clientX - box.left) / box.width, columns) };
    };
    grid.onpointermove = (event) => {
      const button = event.pointerType !== "touch" && mapOf(event);
      hover(button ? cellOf(event, button) : null);
    };
    grid.onpointerleave = () => hover(null);
    grid.onclick = (event) => {
      const button = mapOf(event);
      if (!button) return;
      const isKey = event.detail === 0;
      pin(isKey ? strongest(index, Number(button.dataset.map)) : cellOf(event, button));
      if (isKey) enlarged.focus();
    };
    grid.onkeydown = (event) => {
      if (!(event.key in DIRECTIONS)) return;
      event.preventDefault();
      const current = Number(mapOf(event).dataset.map);
      const [down, right] = DIRECTIONS[event.key];
      const next = current + down * perRow + right;
      if (next < 0 || next >= count) return;
      maps[next].focus();
      pin(strongest(index, next));
    };
    return {
      arrange,
      paint() {
        if (!picture) arrange();
        const y = outputs[index], scale = scales[index], target = new Uint32Array(
          picture.data.buffer);
        for (let map = 0; map < count; map++) {
          const [top, left] = placeOf(map);
          for (let row = 0; row < rows; row++) {
            const from = row * columns * count + map, to = (top + row) * sheet.width + left;
            for (let column = 0; column < columns; column++) {
              target[to + column] = colourOf(y[from + column * count], scale);
            }
          }
        }
        context.putImageData(picture, 0, 0);
        drawLegend(scale);
      },
      mark(marks) {
        const bounds = marks && boundsOf(marks.pixels, layer.output_shape);
        place(grid, bounds);
        maps.forEach((button, map) =>
          button.toggleAttribute("data-rests", Boolean(bounds && marks.channels[map])));
      },
      pin(map) {
        maps.forEach((button, i) => {
          button.setAttribute("aria-pressed", i === map);
          button.tabIndex = i === (map ?? 0) ? 0 : -1;
        });
      },
    };
  }

  function vectorView(section, layer, index, drawLegend) {
    const count = layer.output_shape[2], columns = columnsFor(count);
    const rows = Math.ceil(count / columns), side = count <= SMALL_VECTOR ? 14 : 7;
    const framed = element(section, "div", { class: "framed" });
    const sheet = canvas(framed, rows, columns, {
      class: "vector", role: "application", tabindex: 0, style: `width: ${columns * side}px`,
      "aria-label": `${layer.name}, ${count} values. Arrow keys choose one.`,
    });
    const box = element(framed, "span", { class: "box", hidden: "" });
    const context = sheet.getContext("2d");
    const choice = (map) => ({ layer: index, map, row: 0, column: 0 });
    const valueAt = (event) => {
      const frame = sheet.getBoundingClientRect();
      const row = Math.floor((event.clientY - frame.top) / frame.height * rows);
      const column = Math.floor((event.clientX - frame.left) / frame.width * columns);
      const map = row * columns + column;
      return column >= 0 && column < columns && map >= 0 && map < count ? choice(map) : null;
    };
    sheet.onpointermove = (event) => hover(event.pointerType === "touch" ? null : valueAt(event));
    sheet.onpointerleave = () => hover(null);
    sheet.onclick = (event) => pin(valueAt(event) ?? pinned);
    sheet.onkeydown = (event) => {
      if (!(event.key in DIRECTIONS)) return;
      event.preventDefault();
      const [down, right] = DIRECTIONS[event.key];
      const current = pinned.layer === index ? pinned.map : strongest(index).map;
      const next = pinned.layer === index ? current + down * columns + right : current;
      if (next >= 0 && next < count) pin(choice(next));
    };
    return {
      arrange: () => false,
      paint() {
        const y = outputs[index], scale = scales[index];
        context.clearRect(0, 0, columns, rows);
        const picture = context.createImageData(columns, rows);
        const target = new Uint32Array(picture.data.buffer);
        y.forEach((value, i) => { target[i] = colourOf(value, scale); });
        context.putImageData(picture, 0, 0);
        drawLegend(scale);
      },
      mark(marks) {
        const marked = marks ? marks.channels.reduce((sum, one) => sum + one, 0) : 0;
        box.hidden = marked === 0;
        if (marked === 1) {
          const map = marks.channels.indexOf(1), row = Math.floor(map / columns);
          place(box, [row / rows, (map % columns) / columns, 1 / rows, 1 / columns]);
        } else if (marked) place(box, [0, 0, 1, 1]);
      },
      pin() {},
    };
  }

  // --- the choice ---

  const same = (a, b) => a === b || (a && b &&
    ["layer", "map", "row", "column"].every((name) => a[name] === b[name]));

  function hover(choice) {
    if (same(hovered, choice)) return;
    hovered = choice;
    chosenInput = null;
    refresh();
  }

  function pin(choice) {
    if (same(pinned, choice)) return;
    const isOtherMap = pinned?.layer !== choice.layer || pinned?.map !== choice.map;
    pinned = choice;
    hovered = chosenInput = null;
    refresh({ pinned: true, map: isStale.map || isOtherMap });
  }

  // The largest value of a layer, or of one of its maps.
  function strongest(index, map = null) {
    const [, columns, count] = layers[index].output_shape, y = outputs[index];
    let at = map ?? 0;
    for (let i = map ?? 0; i < y.length; i += map === null ? 1 : count) if (y[i] > y[at]) at = i;
    const pixel = Math.floor(at / count);
    return { layer: index, map: at % count, row: Math.floor(pixel / columns),
      column: pixel % columns };
  }

  // --- the detail: one value, then its map ---

  const detail = element(room, "section", {
    class: "detail", "aria-label": "How this value comes about", tabindex: 0,
  });
  const ofValue = element(detail, "div", { class: "of-value" });
  const heading = element(ofValue, "h3");
  const around = element(ofValue, "div", { class: "row" });
  const enlargedFrame = element(around, "div", { class: "framed" });
  const enlarged = canvas(enlargedFrame, 1, 1, {
    class: "enlarged", role: "application", tabindex: 0,
    "aria-label": "The map of this value, enlarged. Arrow keys choose another value.",
  });
  const enlargedBox = element(enlargedFrame, "span", { class: "box" });
  const about = element(around, "p", { class: "quiet", style: "flex: 1 1 130px" });
  const terms = element(ofValue, "div", { class: "terms" });
  const ofMap = element(detail, "div", { class: "of-map" });

  const cellOfEnlarged = (event) => {
    const { layer, map } = hovered ?? pinned, [rows, columns] = layers[layer].output_shape;
    const box = enlarged.getBoundingClientRect();
    const inside = (share, size) => Math.max(0, Math.min(size - 1, Math.floor(share * size)));
    return { layer, map, row: inside((event.clientY - box.top) / box.height, rows),
      column: inside((event.clientX - box.left) / box.width, columns) };
  };
  enlarged.onpointermove = (event) => {
    if (event.pointerType !== "touch") hover(cellOfEnlarged(event));
  };
  enlarged.onpointerleave = () => hover(null);
  enlarged.onclick = (event) => pin(cellOfEnlarged(event));
  enlarged.onkeydown = (event) => {
    if (!(event.key in DIRECTIONS)) return;
    event.preventDefault();
    const [down, right] = DIRECTIONS[event.key];
    const [rows, columns] = layers[pinned.layer].output_shape;
    const row = pinned.row + down, column = pinned.column + right;
    if (row < 0 || row >= rows || column < 0 || column >= columns) return;
    pin({ ...pinned, row, column });
  };

  // Numbers under a window: written out if they are few, as a picture otherwise.
  function grid(parent, name, [rows, columns], values, scale, options = {}) {
    const { inside = null, winner = -1, caption = name } = options;
    const figure = element(parent, "figure", { class: "grid" });
    element(figure, "figcaption", {}, caption);
    if (rows * columns > LARGEST_TABLE) {
      const picture = canvas(figure, rows, columns, {
        class: name, role: "img", "aria-label": `${name}, ${rows} by ${columns} values`,
      });
      paint(picture.getContext("2d"), rows, columns, (i) => values[i], scale);
      return;
    }
    const table = element(figure, "table", { class: name, "aria-label": name });
    for (let row = 0; row < rows; row++) {
      const line = element(table, "tr");
      for (let column = 0; column < columns; column++) {
        const i = row * columns + column;
        const cell = element(line, "td", {}, written(values[i], 2));
        if (inside && !inside[i]) cell.className = "outside";
        else {
          const pixel = colourOf(values[i], scale), [r, g, b] = [0, 8, 16].map((bits) =>
            pixel >> bits & 255);
          cell.style.background = `rgb(${r} ${g} ${b})`;
          cell.style.color = luminance([r, g, b]) > 0.179 ? "#000" : "#fff";
        }
        if (i === winner) cell.classList.add("winner");
      }
    }
  }

  function luminance(parts) {
    const [r, g, b] = parts.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  // In which shape to see the vector that a dense layer takes: that of the maps before it.
  function imageBefore(index) {
    if (layers[index].kind !== "dense") return null;
    for (let k = index; k >= 0; k--) {
      const [rows, columns] = layers[k].input_shape;
      if (rows * columns > 1) return layers[k].input_shape;
      if (k > 0 && layers[k - 1].kind !== "identity") return null;
    }
    return null;
  }

  function drawValue() {
    const choice = hovered ?? pinned, { layer: index, map, row, column } = choice;
    const layer = layers[index], [rows, columns, count] = layer.output_shape;
    const y = outputs[index], value = y[(row * columns + column) * count + map];
    const x = index ? outputs[index - 1] : image;
    const found = explain(layer, numbers, x, row, column, map, imageBefore(index));
    const isVector = rows * columns === 1;
    Object.assign(detail.dataset, { layer: layer.name, map, row, column });
    heading.textContent = isVector ? `${layer.name}, value ${map}: ${written(value)}`
      : `${layer.name}, map ${map}, row ${row}, column ${column}: ${written(value)}`;
    enlargedFrame.hidden = isVector;
    Object.assign(enlarged, { height: rows, width: columns });
    paint(enlarged.getContext("2d"), rows, columns, (i) => y[i * count + map], scales[index]);
    place(enlargedBox, [row / rows, column / columns, 1 / rows, 1 / columns]);

    const marks = index < 0 ? [] : restsOn(network, index, row, column, map);
    const own = { pixels: new Uint8Array(rows * columns), channels: new Uint8Array(count) };
    own.pixels[row * columns + column] = own.channels[map] = 1;
    [...marks.slice(1), own].forEach((one, k) => views[k]?.mark(one));
    for (let k = index + 1; k < views.length; k++) views[k]?.mark(null);
    const bounds = boundsOf(marks[0].pixels, shape);
    padBox.hidden = !bounds;
    place(padBox, bounds);
    if (bounds) {
      const [high, wide] = [Math.round(bounds[2] * height), Math.round(bounds[3] * width)];
      const size = high * wide === 1 ? "one pixel" : `${times([high, wide])} pixels`;
      about.textContent = `It rests on ${size} of the image, framed on the pad` +
        (index ? ", and on what is framed in the layers between." : ".");
    } else about.textContent = "It rests on no pixel of the image.";
    drawTerms(choice, found, value);
  }

  function drawTerms(choice, found, value) {
    const layer = layers[choice.layer], before = scalesBefore(choice.layer);
    terms.replaceChildren();
    let shown = 0;
    if (found.products && found.inputs.length > 1) {
      const sums = found.products.map((part) => part.reduce((a, b) => a + b, 0));
      const order = sums.map((_, i) => i).sort((a, b) => Math.abs(sums[b]) - Math.abs(sums[a]));
      const top = order.slice(0, SHOWN_INPUTS), rest = order.slice(SHOWN_INPUTS);
      shown = Math.max(0, found.inputs.indexOf(chosenInput ?? found.inputs[order[0]]));
      const isMaps = layer.input_shape[0] * layer.input_shape[1] > 1 || product(found.window) > 1;
      const names = isMaps ? ["map", "maps"] : ["value", "values"];
      element(terms, "p", { class: "quiet" }, `What the ${names[1]} before it add, largest first:`);
      const list = element(terms, "div", { class: "row inputs" });
      for (const i of top) {
        const button = element(list, "button", {
          type: "button", "data-input": found.inputs[i], "aria-pressed": i === shown,
        }, `${names[0]} ${found.inputs[i]}: ${withSign(sums[i])}`);
        button.onclick = () => {
          if (hovered) pinned = hovered;
          chosenInput = found.inputs[i];
          refresh();
          requestAnimationFrame(() => terms.querySelector('[aria-pressed="true"]')?.focus());
        };
      }
      if (rest.length) {
        const sum = rest.reduce((total, i) => total + sums[i], 0);
        element(list, "span", { class: "quiet" }, `${rest.length} others: ${withSign(sum)}`);
      }
    }
    const line = element(terms, "div", { class: "row equation" });
    const { window, inside } = found;
    grid(line, "patch", window, found.patch[shown], before, { inside, winner: found.winner ?? -1,
      caption: found.inputs.length > 1 && product(window) > 1
        ? `patch of map ${found.inputs[shown]}` : "patch" });
    if (found.products) {
      const all = (parts) => scaleFor(parts.flatMap((part) => [...part]), true);
      element(line, "span", { class: "sign" }, "×");
      grid(line, "kernel", window, found.kernel[shown], all(found.kernel));
      element(line, "span", { class: "sign" }, "=");
      grid(line, "products", window, found.products[shown], all(found.products), { inside });
    }
    element(terms, "p", { class: "sum" }, sentence(layer, found) + ending(layer, value));
  }

  const scalesBefore = (index) => (index ? scales[index - 1] : { ...paper, low: 0 });

  function sentence(layer, found) {
    if (found.products) {
      const count = found.products.length * product(found.window);
      const bias = found.bias ?? 0, plain = found.sum - bias;
      const sum = `${written(plain)} (${count === 1 ? "product" : `sum of ${count} products`})`;
      const size = `${bias < 0 ? "−" : "+"} ${written(Math.abs(bias))} (bias)`;
      return found.bias === null ? sum : `${sum} ${size} = ${written(found.sum)}`;
    }
    if (layer.kind === "maximum") return `${written(found.sum)} (the largest of ${found.count})`;
    if (layer.kind === "average") return `${written(found.sum)} (the mean of ${found.count})`;
    if (layer.kind === "normalization") {
      const { mean, scale, shift } = found;
      return `(${written(found.patch[0][0])} − mean ${written(mean)}) × scale ${written(scale)} ` +
        `+ shift ${written(shift)} = ${written(found.sum)}`;
    }
    if (!found.inside[0]) return "0 (outside of the image)";
    return `${written(found.sum)} (from the layer before)`;
  }

  function ending(layer, value) {
    if (!layer.activation) return "";
    const { kind } = layer.activation;
    const over = kind === "softmax" ? ` over ${layer.output_shape[2]} values` : "";
    return ` → ${kind}${over} → ${written(value)}`;
  }

  // --- one map: its filter, and what it answers to the examples ---

  function drawMap() {
    const { layer: index, map } = pinned, layer = layers[index];
    const isVector = layer.output_shape[0] * layer.output_shape[1] === 1;
    views.forEach((view, k) => view?.pin(k === index ? map : null));
    ofMap.replaceChildren();
    element(ofMap, "h3", {}, `${layer.name}, ${isVector ? "value" : "map"} ${map}`);
    drawFilter(index, map);
    if (gallery) drawResponses(index, map);
  }

  function drawFilter(index, map) {
    const layer = layers[index], kernel = stored(layer.weights.kernel, numbers);
    if (!kernel) {
      const text = layer.kind === "normalization" ? "One mean, scale and shift for the whole map."
        : "This layer has no weights.";
      element(ofMap, "p", { class: "quiet filter" }, text);
      return;
    }
    // An image of zeros makes the kernel and the bias come out as explain() lays them out.
    const { kernel: parts, window, bias } = explain(
      layer, numbers, new Float32Array(product(layer.input_shape)), 0, 0, map, imageBefore(index));
    const isVector = product(window) === 1, count = parts.length;
    const columns = isVector ? columnsFor(count) : Math.min(count, 8);
    const [rows, wide] = window, gap = isVector ? 0 : 1;
    const scale = scaleFor(parts.flatMap((part) => [...part]), true);
    const size = isVector ? `${count} weights`
      : `${count === 1 ? "a kernel" : `${count} kernels`} of ${times(window)}`;
    element(ofMap, "p", { class: "quiet" }, `Its filter: ${size}` +
      (bias === null ? "" : `, bias ${written(bias)}`) +
      `, from ${written(scale.low)} (blue) to ${written(scale.high)} (red)`);
    const high = Math.ceil(count / columns) * (rows + gap) - gap;
    const across = columns * (wide + gap) - gap;
    const pixel = Math.max(1, Math.min(12, Math.floor(300 / across)));
    const sheet = canvas(ofMap, high, across, {
      class: "filter", role: "img", "aria-label": `Filter of map ${map}: ${size}`,
      style: `width: ${across * pixel}px`,
    });
    const context = sheet.getContext("2d"), picture = context.createImageData(across, high);
    const pixels = new Uint32Array(picture.data.buffer);
    parts.forEach((part, i) => {
      const top = Math.floor(i / columns) * (rows + gap), left = (i % columns) * (wide + gap);
      part.forEach((value, tap) => {
        const row = top + Math.floor(tap / wide), column = left + (tap % wide);
        pixels[row * across + column] = colourOf(value, scale);
      });
    });
    context.putImageData(picture, 0, 0);
  }

  const answers = new Map(); // of each layer to all examples
  async function drawResponses(index, map) {
    const layer = layers[index], [rows, columns, count] = layer.output_shape;
    element(ofMap, "p", { class: "quiet" }, "Its response to the examples, and the largest value:");
    const list = element(ofMap, "div", { class: "responses" });
    if (!answers.has(index)) answers.set(index, []);
    const known = answers.get(index);
    for (let i = 0; i < labels.length; i++) {
      if (!known[i]) {
        if (i) await new Promise((resolve) => setTimeout(resolve)); // others may draw meanwhile
        if (!alive || !list.isConnected) return;
        known[i] ??= outputsOf(network, numbers, exampleAt(i), index + 1).at(-1);
      }
    }
    const values = known.map((y) => Float32Array.from({ length: rows * columns }, (_, pixel) =>
      y[pixel * count + map]));
    const scale = scaleFor(values.flatMap((part) => [...part]), isSigned(network, index));
    labels.forEach((label, i) => {
      const figure = element(list, "figure", { "data-example": i });
      const pair = element(figure, "div", { class: "pair" });
      paintImage(canvas(pair, height, width, { role: "img", "aria-label": `Example ${label}` })
        .getContext("2d"), exampleAt(i));
      paint(canvas(pair, rows, columns, { role: "img", "aria-label": `Response to ${label}` })
        .getContext("2d"), rows, columns, (pixel) => values[i][pixel], scale);
      const largest = values[i].reduce((a, b) => Math.max(a, b));
      element(figure, "figcaption", {}, `${label}: ${written(largest)}`);
    });
  }

  // --- everything, once a frame at most ---

  function draw() {
    if (!alive) return;
    const start = performance.now();
    let computed = start;
    if (isStale.image) {
      outputs = outputsOf(network, numbers, image);
      computed = performance.now();
      scales = outputs.map((y, k) => layers[k].activation?.kind === "softmax"
        ? { colours: POSITIVE, low: 0, high: 1 } : scaleFor(y, isSigned(network, k)));
      paintImage(padContext, image);
      drawAnswer();
      for (const view of views) view?.paint();
      if (!pinned) {
        const first = layers.findIndex(({ weights }) => weights.kernel);
        pinned = strongest(Math.max(0, first));
      }
    }
    drawValue();
    if (isStale.pinned) say(heading.textContent);
    if (isStale.map) drawMap();
    if (isStale.image) {
      root.dataset.computeMs = (computed - start).toFixed(1);
      root.dataset.drawMs = (performance.now() - computed).toFixed(1);
    }
    isStale = { image: false, map: false, pinned: false };
    cancelAnimationFrame(frame);
    frame = 0;
  }
  draw();
  const observer = new ResizeObserver(() => {
    for (const view of views) if (view?.arrange()) view.paint();
  });
  observer.observe(root);

  return () => {
    alive = false;
    observer.disconnect();
    cancelAnimationFrame(frame);
    clearTimeout(saying);
    root.remove();
  };
}

// Fetch what export() wrote into a folder, and build the explorer of it.
export async function load(el, url) {
  const fetched = async (name) => {
    const answer = await fetch(`${url}/${name}`);
    if (!answer.ok) throw new Error(`${url}/${name}: ${answer.status} ${answer.statusText}`);
    return answer;
  };
  const [network, numbers] = await Promise.all([
    fetched("network.json").then((answer) => answer.json()),
    fetched("network.f32").then((answer) => answer.arrayBuffer()),
  ]);
  return mount(el, network, new Float32Array(numbers));
}

// For anywidget: the same in a notebook.
function render({ model, el }) {
  const view = model.get("numbers"); // bytes that may begin anywhere in their buffer
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  return mount(el, model.get("description"), new Float32Array(bytes));
}
export default { render };
