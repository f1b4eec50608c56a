"use strict";
// What a trained model does with one image, and what is done to a drawing before: models.py,
// losses.py, data/fit.py and data/ink.py in JavaScript, under the same names. No page in it.
//
// An array of several dimensions is {shape, values}: the values row after row, as in PyTorch.

const MNIST_MEAN = 0.1307, MNIST_STD = 0.3081;
const product = shape => shape.reduce((a, b) => a * b, 1);

// ---- the model -------------------------------------------------------------------------------

const bytesOf = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

// The JSON of the page -> the model, its tensors as float32 again.
function readModel(payload) {
  const tensors = {};
  for (const [name, { shape, data }] of Object.entries(payload.tensors))
    tensors[name] = { shape, values: new Float32Array(bytesOf(data).buffer) };
  const [height, width] = payload.image_size;
  const { model: name, classes, settings, ground, fit, calibration } = payload;
  return { name, classes, height, width, settings, ground, fit, calibration, tensors };
}

// Images as the page keeps them, compressed by zlib -> their pixels, 0…255, one after another.
async function readImages(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// An image, H·W values of 0…1 -> the logits, and what the layers on the way made of it.
function forward(model, image) {
  const { name, height, width, settings, tensors } = model;
  const stages = [];
  const stage = (title, array) => (stages.push({ name: title, ...array }), array);
  let x = { shape: [1, height, width], values: image };
  if (name === "linear") {
    // Each pixel times its weight; the sum of all these products, and the bias, is the logit.
    const { shape: [pixels, outputs], values: weights } = tensors.weights;
    const products = new Float32Array(outputs * pixels);
    for (let o = 0; o < outputs; o++)
      for (let i = 0; i < pixels; i++) products[o * pixels + i] = image[i] * weights[i * outputs + o];
    stage("products", { shape: [outputs, height, width], values: products });
    const logits = tensors.bias.values.map((bias, o) =>
      products.subarray(o * pixels, (o + 1) * pixels).reduce((sum, one) => sum + one, bias));
    return { logits, stages };
  }
  if (name === "pixel-similarity") {
    const logits = similarities(tensors.means, image, settings.distance);
    return { logits: logits.length === 2 ? Float32Array.of(logits[0] - logits[1]) : logits, stages };
  }
  if (name === "cnn") {
    x.values = image.map(level => (level - MNIST_MEAN) / MNIST_STD);
    let layer = 0; // its number in `stages`, an nn.Sequential
    settings.channels.forEach((_, number) => {
      const first = number === 0, convolutions = first ? 1 : settings.depth;
      for (let i = 0; i < convolutions; i++) {
        const [weight, bias] = ["weight", "bias"].map(part => tensors[`stages.${layer}.${part}`]);
        x = conv2d(x, weight ?? tensors[`stages.${layer}.filters`], bias,
          first ? settings.stride : 1, settings.padding);
        layer += 1;
        if (settings.batch_norm) x = batchNorm(x, tensors, `stages.${layer++}`);
        if (i === convolutions - 1 && settings.stride === 1) x = maxPool(x, layer++);
        x = relu(x, layer++);
      }
      stage(`stage ${number + 1}`, x);
    });
  }
  x = stage("hidden", relu(linear(x, tensors, "hidden")));
  return { logits: linear(x, tensors, "out").values, stages };
}

// nn.Linear: each output is the sum of all inputs, each times a weight, and a bias.
function linear(x, tensors, name) {
  const { shape: [outputs, inputs], values: weight } = tensors[`${name}.weight`];
  const values = tensors[`${name}.bias`].values.map((bias, o) => {
    let sum = bias;
    for (let i = 0; i < inputs; i++) sum += weight[o * inputs + i] * x.values[i];
    return sum;
  });
  return { shape: [outputs], values };
}

const relu = x => ({ shape: x.shape, values: x.values.map(value => Math.max(value, 0)) });

// nn.Conv2d: a window moves over the image; each output is the sum of what is in it, weighted.
function conv2d(x, { shape: [outputs, inputs, kernel], values: weight }, bias, stride, padding) {
  const [, height, width] = x.shape, pad = padding ? Math.floor(kernel / 2) : 0;
  const [rows, columns] = [height, width].map(n => Math.floor((n + 2 * pad - kernel) / stride) + 1);
  const values = new Float32Array(outputs * rows * columns);
  for (let o = 0, at = 0; o < outputs; o++)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const top = row * stride - pad, left = column * stride - pad;
        const low = Math.max(0, -left), high = Math.min(kernel, width - left);
        let sum = bias ? bias.values[o] : 0;
        for (let c = 0; c < inputs; c++)
          for (let i = Math.max(0, -top); i < Math.min(kernel, height - top); i++) {
            const from = (c * height + top + i) * width + left;
            const weights = ((o * inputs + c) * kernel + i) * kernel;
            for (let j = low; j < high; j++) sum += x.values[from + j] * weight[weights + j];
          }
        values[at++] = sum;
      }
  return { shape: [outputs, rows, columns], values };
}

// nn.BatchNorm2d of a trained model: each channel shifted and scaled by fixed numbers.
function batchNorm(x, tensors, name) {
  const [mean, variance, weight, bias] = ["running_mean", "running_var", "weight", "bias"]
    .map(part => tensors[`${name}.${part}`].values);
  const size = x.shape[1] * x.shape[2];
  const values = x.values.map((value, i) => {
    const c = Math.floor(i / size);
    return (value - mean[c]) / Math.sqrt(variance[c] + 1e-5) * weight[c] + bias[c];
  });
  return { shape: x.shape, values };
}

// nn.MaxPool2d(2): the largest of each 2 x 2 pixels; a last odd row or column is left out.
function maxPool({ shape: [channels, height, width], values }) {
  const shape = [channels, height >> 1, width >> 1], pooled = new Float32Array(product(shape));
  for (let c = 0, at = 0; c < channels; c++)
    for (let row = 0; row < shape[1]; row++)
      for (let column = 0; column < shape[2]; column++, at++) {
        const i = (c * height + 2 * row) * width + 2 * column;
        pooled[at] = Math.max(values[i], values[i + 1], values[i + width], values[i + width + 1]);
      }
  return { shape, values: pooled };
}

// Minus the distance of the image to the mean image of each class: the nearest has the largest.
function similarities({ shape: [classes], values: means }, image, distance) {
  return Float32Array.from({ length: classes }, (_, c) => {
    let sum = 0;
    image.forEach((level, i) => {
      const difference = Math.abs(level - means[c * image.length + i]);
      sum += distance === "l1" ? difference : difference ** 2;
    });
    return -(distance === "l1" ? sum / image.length : Math.sqrt(sum / image.length));
  });
}

// Logits -> the probability of each class. One logit: sigmoid; more: softmax.
function probabilities(logits, temperature = 1) {
  // the sigmoid of x is the first of the softmax of x and 0
  const scaled = [...(logits.length === 1 ? [logits[0], 0] : logits)].map(x => x / temperature);
  const largest = Math.max(...scaled), powers = scaled.map(x => Math.exp(x - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return Float32Array.from(powers, power => power / total);
}

// What the model says: its answer, and whether it is sure of it.
function judge(model, logits) {
  const { temperature = 1, threshold = 0, quantile = 0 } = model.calibration ?? {};
  const probs = probabilities(logits, temperature);
  // one logit of exactly 0 is not above 0: the second class
  const answer = logits.length === 1 ? Number(logits[0] <= 0) : logits.indexOf(Math.max(...logits));
  return {
    class: model.classes[answer],
    probability: probs[answer],
    probabilities: probs,
    sure: probs[answer] >= threshold,
    fits: model.classes.filter((_, c) => probs[c] >= 1 - quantile),
  };
}

// ---- the preparation -------------------------------------------------------------------------

// A drawing, width·height grey levels of 0…255, to an image like the training images: its ink
// white, scaled into a box in the middle, as MNIST's digits were (data/fit.py, `prepare`).
// It is for clean strokes on one even ground; photographs need `mnistlab predict`.
function prepare(grey, width, height, model, how = "auto") {
  const picture = { shape: [height, width], values: Float32Array.from(grey, level => level / 255) };
  const ground = model.fit === "ink" ? 0 : model.ground, rim = rimLevel(picture);
  const isOwnSize = width === model.width && height === model.height;
  if (how === "always" || model.fit === "ink" || (how === "auto" && !model.fit && !isOwnSize))
    return framed(picture, [model.height, model.width], ground, rim);
  const { values } = resize(picture, [model.height, model.width], BOX);
  if (how === "never" || model.fit || rim >= 0.5 === ground >= 0.5) return { image: values, steps: [] };
  return { image: values.map(level => 1 - level), steps: ["inverted"] };
}

// The median of the pixels along the border.
function rimLevel({ shape: [height, width], values }) {
  const onRim = i => i < width || i >= width * (height - 1) || i % width === 0 || i % width === width - 1;
  const rim = values.filter((_, i) => onRim(i)).sort();
  return (rim[(rim.length - 1) >> 1] + rim[rim.length >> 1]) / 2;
}

// The ink alone, fitted into the box and centred by its mass.
function framed(picture, size, ground, rim) {
  const ink = findInk(picture, rim), onLight = ground > 0.5;
  const covered = new Float32Array(product(size)), steps = [];
  const image = () => covered.map(c => Math.round(255 * (ground + c * (Number(!onLight) - ground))) / 255);
  if (!ink) return { image: image(), steps: ["no ink found"] };
  if (ink.dark !== onLight) steps.push("inverted");
  if (ink.specks) steps.push(ink.specks === 1 ? "1 other mark left out" : `${ink.specks} other marks left out`);
  const cut = cropped(ink.coverage), box = size.map(side => Math.max(round(20 / 28 * side), 1));
  steps.push(`ink ${cut.shape[1]} x ${cut.shape[0]} framed`);
  let fine = fitted(cut, box.map(side => 4 * side)); // strokes are measured at 4 times the resolution
  const unit = 4 * Math.max(...box) / 20; // one pixel of a box of 20
  const stroke = strokeWidth(fine) / unit;
  if (stroke < 1.7 && Math.max(...box) <= 32) { // thinner than MNIST's: 2.2 pixels
    fine = cropped(thickened(fine, (2.2 - stroke) / 2 * unit));
    steps.push("thickened");
  }
  const { shape: [rows, columns], values } = fitted(fine, box);
  // the centre of mass: the mean row and column of the pixels, each weighted by its ink
  const mass = values.reduce((sum, c) => sum + c, 0);
  const centre = [i => Math.floor(i / columns), i => i % columns].map(place =>
    values.reduce((sum, c, i) => sum + c * place(i), 0) / mass);
  const [top, left] = size.map((side, axis) =>
    Math.min(Math.max(round(side / 2 - centre[axis]), 0), side - [rows, columns][axis]));
  values.forEach((c, i) => {
    covered[(top + Math.floor(i / columns)) * size[1] + left + i % columns] = c;
  });
  return { image: image(), steps };
}

// How much of each pixel is ink, 0…1; null where nothing stands out from the rim (data/ink.py).
function findInk(picture, rim) {
  const { shape: [height, width], values } = picture, smooth = blurred(picture).values;
  const dark = strongest(smooth.map(v => rim - v)) > strongest(smooth.map(v => v - rim));
  const unit = dark ? 1 / Math.max(rim, 0.25) : 1;
  const contrastOf = level => (dark ? rim - level : level - rim) * unit;
  const soft = smooth.map(contrastOf), peak = strongest(soft);
  const core = Math.max((dark ? 0.5 : 0.35) * peak, 0.06 * unit);
  const edge = Math.max((dark ? 0.3 : 0.2) * peak, 0.03 * unit);
  const pieces = connected({ shape: [height, width], values: soft }, edge, core);
  if (!pieces.length) return null;
  const { chosen, specks } = selected(pieces);
  const ink = new Float32Array(values.length);
  for (const piece of chosen) for (const i of piece.pixels) ink[i] = 1;
  const inkPicture = { shape: [height, width], values: ink };
  const [top, left, bottom, right] = boxAround(chosen);
  const longer = Math.max(bottom - top, right - left);
  if (longer < 6) return null;
  const near = largestNearby({ shape: [height, width], values: soft.map((v, i) => v * ink[i]) }, 0.35 * longer).values;
  const around = within(inkPicture, 2, Math.max).values;
  const coverage = values.map((level, i) => {
    if (!around[i]) return 0;
    const full = 0.9 * Math.max(near[i], (dark ? 0.3 : 0.2) * peak), bare = 0.12 * full;
    return Math.min(Math.max((contrastOf(level) - bare) / (full - bare), 0), 1);
  });
  return { coverage: { shape: [height, width], values: coverage }, dark, specks };
}

// The mean of as many of the largest values as the smallest digit has pixels.
function strongest(values) {
  const count = Math.min(Math.max(Math.floor(values.length / 2000), 4), 60);
  const largest = values.filter(v => v > 0.02).sort().slice(-count);
  return largest.reduce((sum, v) => sum + v, 0) / count;
}

// The connected pieces of what is above `edge`, by the eight neighbours, with something above `core`.
function connected({ shape: [height, width], values }, edge, core) {
  const seen = new Uint8Array(values.length), pieces = [];
  values.forEach((value, start) => {
    if (seen[start] || value <= edge) return;
    const piece = { pixels: [start], weight: 0, strong: false, box: [height, width, 0, 0] };
    seen[start] = 1;
    for (const i of piece.pixels) { // it grows meanwhile
      const y = Math.floor(i / width), x = i % width, [top, left, bottom, right] = piece.box;
      piece.box = [Math.min(top, y), Math.min(left, x), Math.max(bottom, y + 1), Math.max(right, x + 1)];
      piece.weight += values[i];
      piece.strong ||= values[i] > core;
      for (let v = Math.max(y - 1, 0); v < Math.min(y + 2, height); v++)
        for (let u = Math.max(x - 1, 0); u < Math.min(x + 2, width); u++)
          if (!seen[v * width + u] && values[v * width + u] > edge) {
            seen[v * width + u] = 1;
            piece.pixels.push(v * width + u);
          }
    }
    const [top, left, bottom, right] = piece.box;
    piece.atRim = top === 0 || left === 0 || bottom === height || right === width;
    if (piece.strong) pieces.push(piece);
  });
  return pieces;
}

// The pieces that are ink: the largest, and what is near it and not tiny.
function selected(pieces) {
  const rank = piece => piece.weight * (piece.atRim ? 0.1 : 1);
  const main = pieces.reduce((best, one) => rank(one) > rank(best) ? one : best);
  const candidates = pieces.filter(one => one.weight >= 0.02 * main.weight && (!one.atRim || main.atRim));
  const chosen = [];
  for (let added = [main]; added.length;) {
    chosen.push(...added);
    const [top, left, bottom, right] = boxAround(chosen);
    added = candidates.filter(one => !chosen.includes(one) && Math.hypot(
      Math.max(top - one.box[2], one.box[0] - bottom, 0),
      Math.max(left - one.box[3], one.box[1] - right, 0),
    ) <= 0.25 * Math.max(bottom - top, right - left));
  }
  return { chosen, specks: pieces.length - chosen.length };
}

const boxAround = pieces => [0, 1, 2, 3].map(side =>
  (side < 2 ? Math.min : Math.max)(...pieces.map(piece => piece.box[side])));

// For each pixel about the largest value at most `distance` away, changing smoothly.
function largestNearby({ shape: [height, width], values }, distance) {
  const step = Math.ceil(Math.max(height, width) / 64);
  const shape = [height, width].map(side => Math.ceil(side / step));
  const small = { shape, values: new Float32Array(product(shape)) };
  values.forEach((v, i) => {
    const at = Math.floor(Math.floor(i / width) / step) * shape[1] + Math.floor(i % width / step);
    small.values[at] = Math.max(small.values[at], v);
  });
  const reach = Math.max(round(distance / step), 1) >> 1;
  const largest = within(small, reach, Math.max);
  const large = resize(within(largest, reach, (...v) => v.reduce((a, b) => a + b) / v.length), shape.map(side => side * step), BILINEAR);
  return { shape: [height, width], values: Float32Array.from({ length: height * width }, (_, i) =>
    large.values[Math.floor(i / width) * shape[1] * step + i % width]) };
}

// Rows first, then columns: `pass` does the rows and turns the picture, so twice is both.
function pass({ shape: [rows, columns], values }, size, f) {
  const turned = new Float32Array(size * rows);
  for (let r = 0; r < rows; r++) {
    const row = values.subarray(r * columns, (r + 1) * columns);
    for (let c = 0; c < size; c++) turned[c * rows + r] = f(row, c);
  }
  return { shape: [size, rows], values: turned };
}
const both = (picture, f) => pass(pass(picture, picture.shape[1], f), picture.shape[0], f);
const within = (picture, reach, f) => both(picture, (row, c) => f(...row.subarray(Math.max(c - reach, 0), c + reach + 1)));
// each pixel with its neighbours, weighted 1 2 1 in either direction
const blurred = picture => both(picture, (row, c) =>
  0.5 * row[c] + 0.25 * (row[Math.max(c - 1, 0)] + row[Math.min(c + 1, row.length - 1)]));

// Pillow's ways to resize: how much an old pixel counts in a new one whose middle is x away.
const BOX = { support: 0.5, weight: x => Number(x > -0.5 && x <= 0.5) };
const BILINEAR = { support: 1, weight: x => Math.max(1 - Math.abs(x), 0) };
const BICUBIC = { support: 2, weight: distance => {
  const x = Math.abs(distance);
  return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((2.5 - 0.5 * x) * x - 4) * x + 2 : 0;
} };

function resize(picture, [height, width], { support, weight }) {
  const across = (x, size) => {
    const scale = x.shape[1] / size, wide = Math.max(scale, 1);
    const taps = Array.from({ length: size }, (_, c) => {
      const centre = (c + 0.5) * scale, from = Math.max(Math.floor(centre - support * wide + 0.5), 0);
      const to = Math.min(Math.floor(centre + support * wide + 0.5), x.shape[1]);
      const weights = Array.from({ length: to - from }, (_, i) => weight((from + i - centre + 0.5) / wide));
      const total = weights.reduce((a, b) => a + b, 0);
      return { from, weights: weights.map(w => w / total) };
    });
    return pass(x, size, (row, c) => taps[c].weights.reduce((sum, w, i) => sum + w * row[taps[c].from + i], 0));
  };
  return across(across(picture, width), height);
}

// In proportion to the largest size that fits into `box`.
function fitted(picture, box) {
  const factor = Math.min(...box.map((side, axis) => side / picture.shape[axis]));
  const size = picture.shape.map(side => Math.max(round(side * factor), 1));
  const scaled = resize(picture, size, factor < 1 ? BOX : BICUBIC);
  return { shape: size, values: scaled.values.map(c => Math.min(Math.max(c, 0), 1)) };
}

// The part in the box around all pixels that have at least half of the largest coverage.
function cropped({ shape: [height, width], values }) {
  const half = 0.5 * values.reduce((a, b) => Math.max(a, b), 0);
  let [top, left, bottom, right] = [height, width, 0, 0];
  values.forEach((c, i) => {
    if (c < half) return;
    top = Math.min(top, Math.floor(i / width)); bottom = Math.max(bottom, Math.floor(i / width) + 1);
    left = Math.min(left, i % width); right = Math.max(right, i % width + 1);
  });
  const shape = [bottom - top, right - left];
  return { shape, values: Float32Array.from({ length: product(shape) }, (_, i) =>
    values[(top + Math.floor(i / shape[1])) * width + left + i % shape[1]]) };
}

// A pixel by row and column; 0 outside.
const pixel = ({ shape: [height, width], values }, y, x) =>
  y >= 0 && y < height && x >= 0 && x < width ? values[y * width + x] : 0;

// The width of the strokes: their area over half the length of their outline.
function strokeWidth(coverage) {
  let outline = 0;
  for (let y = -1; y <= coverage.shape[0]; y++)
    for (let x = -1; x <= coverage.shape[1]; x++)
      outline += Math.hypot(
        pixel(coverage, y + 1, x) - pixel(coverage, y - 1, x),
        pixel(coverage, y, x + 1) - pixel(coverage, y, x - 1),
      ) / 2;
  return outline ? 2 * coverage.values.reduce((sum, c) => sum + c, 0) / outline : 0;
}

// Every stroke wider by `by` pixels on either side.
function thickened(coverage, by) {
  const reach = Math.ceil(by), shape = coverage.shape.map(side => side + 4 * reach);
  const values = Float32Array.from({ length: product(shape) }, (_, i) => {
    const y = Math.floor(i / shape[1]) - 2 * reach, x = i % shape[1] - 2 * reach;
    let largest = 0;
    for (let dy = -reach; dy <= reach; dy++)
      for (let dx = -reach; dx <= reach; dx++)
        largest = Math.max(largest, Math.min(by + 1 - Math.hypot(dy, dx), 1) * pixel(coverage, y - dy, x - dx));
    return largest;
  });
  return { shape, values };
}

// As Python rounds: halves to the even number.
const round = x => x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);

globalThis.mnistlab = { readModel, readImages, forward, probabilities, judge, prepare };
