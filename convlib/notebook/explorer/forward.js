// What a network computes, from its description and its numbers (see export.py), without Python:
// all layers of an image, and one value with everything that it was made from.
//
// Images are Float32Arrays, row by row, the channels of a pixel side by side. Sums are taken in
// double precision and rounded to float32 once.

const FORMAT = "convlib network 1";
const KINDS = [
  "convolution", "dense", "maximum", "average", "normalization", "padding", "identity",
];
const ACTIVATIONS = ["relu", "sigmoid", "tanh", "softmax"];

export const product = (shape) => shape.reduce((all, size) => all * size, 1);

// Refuse a network that could not be computed, and say why.
export function checked(network, numbers) {
  if (network?.format !== FORMAT) {
    throw new Error(`the description must have the format "${FORMAT}", got "${network?.format}"`);
  }
  if (!(numbers instanceof Float32Array) || numbers.length !== network.numbers) {
    throw new Error(`the description wants ${network.numbers} numbers of float32, got ` +
      `${numbers?.length} of ${numbers?.constructor?.name}`);
  }
  let shape = network.input_shape;
  for (const layer of network.layers) {
    if (!KINDS.includes(layer.kind)) throw new Error(`${layer.name}: unknown kind "${layer.kind}"`);
    if (layer.activation && !ACTIVATIONS.includes(layer.activation.kind)) {
      throw new Error(`${layer.name}: unknown activation "${layer.activation.kind}"`);
    }
    if (product(layer.input_shape) !== product(shape)) {
      throw new Error(`${layer.name} takes ${layer.input_shape}, but gets ${shape}`);
    }
    shape = layer.output_shape;
    for (const [name, { offset, shape: size }] of Object.entries(layer.weights)) {
      if (offset + product(size) > numbers.length) {
        throw new Error(`${layer.name}: ${name} reaches beyond the numbers`);
      }
    }
  }
  return network;
}

// The part of the numbers that a layer calls by a name; undefined if there is none.
export function stored(place, numbers) {
  return place && numbers.subarray(place.offset, place.offset + product(place.shape));
}

function activated(layer, z) {
  const activation = layer.activation;
  if (!activation) return z;
  if (activation.kind === "sigmoid") return 1 / (1 + Math.exp(-z));
  if (activation.kind === "tanh") return Math.tanh(z);
  if (activation.kind === "relu") {
    const { max_value, negative_slope, threshold } = activation;
    if (z > threshold) return max_value === null ? z : Math.min(z, max_value);
    return Number.isNaN(z) ? z : negative_slope ? negative_slope * (z - threshold) : 0;
  }
  return z; // softmax needs its neighbours, see below
}

// Where in the input each place under the window of an output pixel lies; -1 in the padding.
export function places(layer, row, column) {
  const [height, width, channels] = layer.input_shape, [rows, columns] = layer.window;
  const [stepDown, stepRight] = layer.strides, [gapDown, gapRight] = layer.dilation;
  const top = row * stepDown - layer.padding[0][0];
  const left = column * stepRight - layer.padding[1][0];
  const found = new Int32Array(rows * columns);
  for (let u = 0; u < rows; u++) {
    for (let v = 0; v < columns; v++) {
      const r = top + u * gapDown, c = left + v * gapRight;
      const inside = r >= 0 && r < height && c >= 0 && c < width;
      found[u * columns + v] = inside ? (r * width + c) * channels : -1;
    }
  }
  return found;
}

// What a layer makes of its input.
export function layerForward(layer, numbers, x) {
  const [height, width, channels] = layer.output_shape;
  const y = new Float32Array(height * width * channels);
  const weight = (name) => stored(layer.weights[name], numbers);
  const inputs = layer.input_shape[2];
  if (layer.kind === "identity") {
    for (let i = 0; i < y.length; i++) y[i] = activated(layer, x[i]);
  } else if (layer.kind === "normalization") {
    const [mean, scale, shift] = ["mean", "scale", "shift"].map(weight);
    for (let i = 0; i < y.length; i++) {
      const c = i % channels;
      y[i] = activated(layer, (x[i] - mean[c]) * scale[c] + shift[c]);
    }
  } else if (layer.kind === "padding") {
    const [[top], [left]] = layer.padding, [rows, columns] = layer.input_shape;
    for (let r = 0; r < rows; r++) {
      const line = x.subarray(r * columns * channels, (r + 1) * columns * channels);
      y.set(line, ((r + top) * width + left) * channels);
    }
  } else if (layer.kind === "dense") {
    const kernel = weight("kernel"), bias = weight("bias");
    const sums = new Float64Array(channels), skips = kernel.every(Number.isFinite);
    for (let pixel = 0; pixel < height * width; pixel++) {
      if (bias) sums.set(bias);
      else sums.fill(0);
      for (let i = 0; i < inputs; i++) {
        const value = x[pixel * inputs + i];
        if (value === 0 && skips) continue;
        for (let o = 0; o < channels; o++) sums[o] += value * kernel[i * channels + o];
      }
      for (let o = 0; o < channels; o++) y[pixel * channels + o] = activated(layer, sums[o]);
    }
  } else {
    windows(layer, x, y, weight("kernel"), weight("bias"));
  }
  if (layer.activation?.kind === "softmax") softmax(y, channels);
  return y;
}

function windows(layer, x, y, kernel, bias) {
  const [height, width, channels] = layer.output_shape, inputs = layer.input_shape[2];
  const sums = new Float64Array(channels);
  const skips = kernel?.every(Number.isFinite); // as zero times infinity is not zero
  const perGroup = inputs / (layer.groups ?? 1), filters = channels / (layer.groups ?? 1);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const under = places(layer, row, column);
      const at = (row * width + column) * channels;
      if (layer.kind === "convolution") {
        if (bias) sums.set(bias);
        else sums.fill(0);
        for (let tap = 0; tap < under.length; tap++) {
          if (under[tap] < 0) continue;
          for (let i = 0; i < inputs; i++) {
            const value = x[under[tap] + i];
            if (value === 0 && skips) continue;
            const first = Math.floor(i / perGroup) * filters;
            const line = (tap * perGroup + (i % perGroup)) * channels;
            for (let o = first; o < first + filters; o++) sums[o] += value * kernel[line + o];
          }
        }
        for (let o = 0; o < channels; o++) y[at + o] = activated(layer, sums[o]);
        continue;
      }
      const inside = under.filter((place) => place >= 0);
      for (let c = 0; c < channels; c++) {
        let result = layer.kind === "maximum" ? -Infinity : 0;
        for (const place of inside) {
          const value = x[place + c];
          if (layer.kind === "average") result += value / inside.length;
          else if (value > result || Number.isNaN(value)) result = value;
        }
        y[at + c] = activated(layer, result);
      }
    }
  }
}

function softmax(y, channels) {
  for (let start = 0; start < y.length; start += channels) {
    const row = y.subarray(start, start + channels);
    const largest = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const powers = Array.from(row, (value) => Math.exp(value - largest));
    const sum = powers.reduce((a, b) => a + b, 0);
    for (let i = 0; i < channels; i++) row[i] = powers[i] / sum;
  }
}

// What the first layers make of one image, or all: one Float32Array per layer.
export function outputsOf(network, numbers, image, count = network.layers.length) {
  const size = product(network.input_shape);
  if (!(image instanceof Float32Array) || image.length !== size) {
    throw new Error(`an image of shape ${network.input_shape} has ${size} numbers of float32, ` +
      `got ${image?.length}`);
  }
  const outputs = [];
  for (const layer of network.layers.slice(0, count)) {
    outputs.push(layerForward(layer, numbers, outputs.at(-1) ?? image));
  }
  return outputs;
}

// How one value of a layer comes about, from the layer's input: an object with
//   window    [rows, columns] of the patch, seen as an image
//   inputs    the input channels that have a part in it
//   patch, kernel, products   one Float64Array per such channel (kernel and products may be null)
//   inside    for each place of the window whether it is no padding
//   bias      number or null
//   sum       what goes into the activation
//   winner    the place of the largest, for a maximum
//   count     how many values a mean is of
// image is the shape in which to see a vector that a dense layer takes.
export function explain(layer, numbers, x, row, column, channel, image = null) {
  const inputs = layer.input_shape[2], channels = layer.output_shape[2];
  const weight = (name) => stored(layer.weights[name], numbers);
  const bias = weight("bias")?.[channel] ?? null;
  const result = { bias, kernel: null, products: null, winner: null, count: null };
  if (layer.kind === "convolution" || layer.kind === "dense") {
    const isDense = layer.kind === "dense";
    const seen = isDense && image && product(image) === inputs ? image : null;
    const perGroup = seen ? seen[2] : isDense ? inputs : inputs / layer.groups;
    const group = isDense ? 0 : Math.floor(channel / (channels / layer.groups));
    const pixel = (row * layer.output_shape[1] + column) * inputs;
    const under = seen ? Int32Array.from({ length: seen[0] * seen[1] }, (_, i) => i * seen[2])
      : isDense ? Int32Array.of(pixel) : places(layer, row, column);
    const kernel = weight("kernel");
    result.window = seen ? seen.slice(0, 2) : isDense ? [1, 1] : layer.window;
    result.inside = Array.from(under, (place) => place >= 0);
    result.inputs = Array.from({ length: perGroup }, (_, i) => group * perGroup + i);
    result.patch = result.inputs.map((i) =>
      Float64Array.from(under, (place) => (place < 0 ? 0 : x[place + i])));
    result.kernel = result.inputs.map((_, i) => Float64Array.from(under, (_, tap) =>
      kernel[(tap * perGroup + i) * channels + channel]));
    result.products = result.patch.map((patch, i) =>
      patch.map((value, tap) => value * result.kernel[i][tap]));
    result.sum = result.products.flatMap((p) => [...p]).reduce((a, b) => a + b, bias ?? 0);
    return result;
  }
  result.inputs = [channel];
  if (layer.kind === "maximum" || layer.kind === "average") {
    const under = places(layer, row, column);
    const patch = Float64Array.from(under, (place) => (place < 0 ? 0 : x[place + channel]));
    result.window = layer.window;
    result.inside = Array.from(under, (place) => place >= 0);
    result.patch = [patch];
    const values = patch.filter((_, tap) => result.inside[tap]);
    result.count = values.length;
    const largest = values.reduce((a, b) => (b > a ? b : a), -Infinity);
    if (layer.kind === "maximum") {
      result.winner = patch.findIndex((value, tap) => result.inside[tap] && value === largest);
      result.sum = largest;
    } else {
      result.sum = values.reduce((a, b) => a + b, 0) / values.length;
    }
    return result;
  }
  const source = sourceOf(layer, row, column, channel);
  const value = source < 0 ? 0 : x[source];
  result.window = [1, 1];
  result.inside = [source >= 0];
  result.patch = [Float64Array.of(value)];
  result.sum = value;
  if (layer.kind === "normalization") {
    const [mean, scale, shift] = ["mean", "scale", "shift"].map((name) => weight(name)[channel]);
    Object.assign(result, { mean, scale, shift, sum: (value - mean) * scale + shift });
  }
  return result;
}

// The one input value that a value of a layer without sums comes from; -1 in the padding.
function sourceOf(layer, row, column, channel) {
  const [, width, channels] = layer.output_shape, [rows, columns] = layer.input_shape;
  if (layer.kind !== "padding") return (row * width + column) * channels + channel;
  const r = row - layer.padding[0][0], c = column - layer.padding[1][0];
  const inside = r >= 0 && r < rows && c >= 0 && c < columns;
  return inside ? (r * columns + c) * channels + channel : -1;
}

// Which values of each earlier layer one value rests on, that of the network's input first: pixels
// (one Uint8Array, by row and column) and channels (another); all pairs of them.
export function restsOn(network, index, row, column, channel) {
  const marks = (shape) => ({
    pixels: new Uint8Array(shape[0] * shape[1]), channels: new Uint8Array(shape[2]),
  });
  const found = [];
  let current = marks(network.layers[index].output_shape);
  current.pixels[row * network.layers[index].output_shape[1] + column] = 1;
  current.channels[channel] = 1;
  for (let k = index; k >= 0; k--) {
    const layer = network.layers[k], [height, width, channels] = layer.output_shape;
    const inputs = layer.input_shape[2];
    if (layer.activation?.kind === "softmax") current.channels.fill(1);
    let before = marks(layer.input_shape);
    const isWindow = layer.window !== undefined;
    for (let r = 0; r < height; r++) {
      for (let c = 0; c < width; c++) {
        if (!current.pixels[r * width + c]) continue;
        if (isWindow) {
          for (const place of places(layer, r, c)) {
            if (place >= 0) before.pixels[place / inputs] = 1;
          }
        } else if (layer.kind === "padding") {
          const place = sourceOf(layer, r, c, 0);
          if (place >= 0) before.pixels[place / inputs] = 1;
        } else if (inputs !== channels && layer.kind !== "dense") {
          continue; // flattening, below
        } else {
          before.pixels[r * width + c] = 1;
        }
      }
    }
    if (layer.kind === "dense") before.channels.fill(1);
    else if (layer.kind === "convolution") {
      const filters = channels / layer.groups, perGroup = inputs / layer.groups;
      for (let o = 0; o < channels; o++) {
        const first = Math.floor(o / filters) * perGroup;
        if (current.channels[o]) before.channels.fill(1, first, first + perGroup);
      }
    } else if (product(layer.input_shape) === channels && layer.kind === "identity") {
      current.channels.forEach((marked, flat) => {
        if (!marked) return;
        before.pixels[Math.floor(flat / inputs)] = 1;
        before.channels[flat % inputs] = 1;
      });
    } else before.channels.set(current.channels);
    found.unshift(before);
    current = before;
  }
  return found;
}
