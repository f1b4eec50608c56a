// What a trained model does with an image, and what is done to a drawing before that: models.py,
// losses.py, data/fit.py and data/ink.py in plain JavaScript, under the same names. Arrays are
// {shape: [channels, height, width], values}, the values row after row, as in PyTorch.

const MNIST_MEAN = 0.1307, MNIST_STD = 0.3081;
const sum = numbers => numbers.reduce((a, b) => a + b, 0);
const largest = numbers => numbers.reduce((a, b) => Math.max(a, b), 0);
const clip = (x, low, high) => Math.min(Math.max(x, low), high);
const round = x => x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x); // as Python, 2.5 to 2

// An array of what `f` says of each channel, row and column.
function filled([channels, height, width], f) {
  const values = new Float32Array(channels * height * width);
  for (let c = 0, at = 0; c < channels; c++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) values[at++] = f(c, y, x);
  return { shape: [channels, height, width], values };
}
// One value; outside of the picture 0.
const pixel = ({ shape: [, height, width], values }, c, y, x) =>
  y >= 0 && y < height && x >= 0 && x < width ? values[(c * height + y) * width + x] : 0;
const part = (picture, [top, left, bottom, right]) =>
  filled([picture.shape[0], bottom - top, right - left], (c, y, x) => pixel(picture, c, top + y, left + x));

// ---- the model
const bytesOf = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

// The JSON in the page -> the model, with its tensors in float32 as they were trained.
function readModel(payload) {
  const [height, width] = payload.image_size, tensors = {};
  for (const [name, { shape, data }] of Object.entries(payload.tensors))
    tensors[name] = { shape, values: new Float32Array(bytesOf(data).buffer) };
  return { ...payload, name: payload.model, height, width, tensors };
}
// Images as the page keeps them, compressed -> their pixels, 0…255, one image after another.
async function readImages(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
// An image, H·W levels of 0…1 -> the logits, and what comes out of the layers on the way.
function forward(model, image) {
  const stages = [], x = { shape: [1, model.height, model.width], values: image };
  const show = (name, array) => { stages.push({ name, ...array }); return array; };
  return { logits: MODELS[model.name](x, model, show), stages };
}
const MODELS = {
  // One weight for each pixel: the logit is the sum of weight times pixel, and of a bias.
  linear(x, { tensors: { weights, bias } }, show) {
    const [pixels, outputs] = weights.shape, [, height, width] = x.shape;
    const products = show("products", filled([outputs, height, width], (o, row, column) =>
      x.values[row * width + column] * weights.values[(row * width + column) * outputs + o]));
    return bias.values.map((b, o) => b + sum(products.values.subarray(o * pixels, (o + 1) * pixels)));
  },
  // Pixels -> hidden -> ReLU -> logits.
  "two-layer"(x, { tensors }, show) {
    return linear(show("hidden", relu(linear(x, tensors, "hidden"))), tensors, "out").values;
  },
  // Stages of convolutions, then as above. `layer` counts as Python does in its `stages`.
  cnn(x, model, show) {
    const { tensors, settings: { channels, depth, stride, padding, batch_norm } } = model;
    let layer = 0;
    x = { ...x, values: x.values.map(level => (level - MNIST_MEAN) / MNIST_STD) };
    for (let stage = 0; stage < channels.length; stage++) {
      for (let i = 0; i < (stage ? depth : 1); i++) {
        x = conv2d(x, tensors, `stages.${layer++}`, stage ? 1 : stride, padding);
        if (batch_norm) x = batchNorm(x, tensors, `stages.${layer++}`);
        x = relu(x, layer++);
      }
      if (stride === 1) x = maxPool(x, layer++); // Python does it before the ReLU: the same result
      show(`stage ${stage + 1}`, x);
    }
    return MODELS["two-layer"](x, model, show);
  },
  // The mean image of each class: the nearest has the largest logit.
  "pixel-similarity"(x, { tensors: { means }, settings: { distance } }, show) {
    const power = distance === "l1" ? 1 : 2, n = x.values.length;
    const { values } = show("distances", filled([1, 1, means.shape[0]], (_, row, c) => (sum(
      x.values.map((level, i) => Math.abs(level - means.values[c * n + i]) ** power)) / n) ** (1 / power)));
    return values.length === 2 ? Float32Array.of(values[1] - values[0]) : values.map(far => -far);
  },
};
// The sum of all `x`, each times its weight; the weights begin at `start`.
function weighted(x, weights, start) {
  let total = 0;
  for (let i = 0; i < x.length; i++) total += x[i] * weights[start + i];
  return total;
}
function linear(x, tensors, name) {
  const { shape: [outputs, inputs], values: weight } = tensors[`${name}.weight`];
  const values = tensors[`${name}.bias`].values.map((b, o) => b + weighted(x.values, weight, o * inputs));
  return { shape: [outputs], values };
}
const relu = ({ shape, values }) => ({ shape, values: values.map(value => Math.max(value, 0)) });

// A window moves over the image, 0 around it; each output is the weighted sum of what it shows.
function conv2d(x, tensors, name, stride, padding) {
  const weight = tensors[`${name}.weight`] ?? tensors[`${name}.filters`]; // of `Cosines`
  const bias = tensors[`${name}.bias`]?.values, [outputs, , kernel] = weight.shape;
  const pad = padding ? kernel >> 1 : 0;
  const [rows, columns] = x.shape.slice(1).map(side => Math.floor((side + 2 * pad - kernel) / stride) + 1);
  const result = filled([outputs, rows, columns], () => 0);
  for (let i = 0; i < rows * columns; i++) {
    const top = Math.floor(i / columns) * stride - pad, left = i % columns * stride - pad;
    const seen = part(x, [top, left, top + kernel, left + kernel]).values;
    for (let o = 0; o < outputs; o++)
      result.values[o * rows * columns + i] = (bias?.[o] ?? 0) + weighted(seen, weight.values, o * seen.length);
  }
  return result;
}
// Of each 2 x 2 pixels the largest; a last odd row or column is left out.
const maxPool = x => filled([x.shape[0], x.shape[1] >> 1, x.shape[2] >> 1], (c, row, column) =>
  Math.max(...[0, 1, 2, 3].map(i => pixel(x, c, 2 * row + (i >> 1), 2 * column + i % 2))));
// Each channel shifted and scaled by numbers that training has fixed.
function batchNorm(x, tensors, name) {
  const [mean, variance, weight, bias] = ["running_mean", "running_var", "weight", "bias"]
    .map(each => tensors[`${name}.${each}`].values);
  return filled(x.shape, (c, row, column) =>
    (pixel(x, c, row, column) - mean[c]) / Math.sqrt(variance[c] + 1e-5) * weight[c] + bias[c]);
}
// Logits -> the probability of each class. A single logit is that of the first of two classes.
function probabilities(logits, temperature = 1) {
  // the sigmoid of x is the first of the softmax of x and 0
  const scaled = (logits.length === 1 ? [logits[0], 0] : [...logits]).map(x => x / temperature);
  const powers = scaled.map(x => Math.exp(x - Math.max(...scaled)));
  return Float32Array.from(powers, power => power / sum(powers));
}
// What the model answers, and whether it is sure.
function judge(model, logits) {
  const { temperature, threshold, quantile } = model.calibration ?? { threshold: 0, quantile: 0 };
  const probs = probabilities(logits, temperature);
  // a single logit of exactly 0 is not above 0: the second class
  const answer = logits.length === 1 ? Number(logits[0] <= 0) : logits.indexOf(Math.max(...logits));
  const fits = model.classes.filter((_, c) => probs[c] >= 1 - quantile);
  const [name, probability] = [model.classes[answer], probs[answer]];
  return { class: name, probability, probabilities: probs, sure: probability >= threshold, fits };
}

// ---- the preparation
// A drawing, width·height levels of 0…255 -> an image like the training images: white ink, scaled
// into a box in the middle, as MNIST was made. It needs clean strokes on an even ground.
function prepare(grey, width, height, model) {
  const size = [model.height, model.width], ground = model.fit === "ink" ? 0 : model.ground;
  const picture = { shape: [1, height, width], values: new Float32Array(grey).map(level => level / 255) };
  const ends = [picture.values.subarray(0, width), picture.values.subarray(-width)];
  const rim = Float32Array.of(...ends[0], ...ends[1]).sort()[width]; // the median
  const isOwnSize = width === model.width && height === model.height;
  if (model.fit === "ink" || (!model.fit && !isOwnSize)) return framed(picture, size, ground, rim);
  const { values: image } = resize(picture, size, BICUBIC);
  if (model.fit || rim >= 0.5 === ground >= 0.5) return { image, steps: [] };
  return { image: image.map(level => 1 - level), steps: ["inverted"] };
}
// The ink alone, fitted into the box and centred by its mass.
function framed(picture, size, ground, rim) {
  const { coverage, dark, specks } = findInk(picture, rim), white = ground > 0.5 ? 0 : 1;
  const box = size.map(side => Math.max(round(20 / 28 * side), 1)), longer = Math.max(...box);
  let fine = fitted(coverage, box.map(side => 4 * side)); // in it the strokes are measured
  const unit = 4 * longer / 20, stroke = strokeWidth(fine) / unit; // MNIST's have 1.8 to 4.2
  const thin = stroke < 1.7 && longer <= 32;
  if (thin) fine = cropped(thickened(fine, (2.2 - stroke) / 2 * unit));
  const boxed = fitted(fine, box), [, rows, columns] = boxed.shape, mass = sum(boxed.values);
  const top = size[0] / 2 - sum(boxed.values.map((c, i) => c * Math.floor(i / columns))) / mass;
  const left = size[1] / 2 - sum(boxed.values.map((c, i) => c * (i % columns))) / mass;
  const [y, x] = [clip(round(top), 0, size[0] - rows), clip(round(left), 0, size[1] - columns)];
  const { values } = part(boxed, [-y, -x, size[0] - y, size[1] - x]);
  const steps = dark === (white === 1) ? ["inverted"] : [];
  if (specks) steps.push(`${specks} other mark${specks > 1 ? "s" : ""} left out`);
  steps.push(`ink ${coverage.shape[2]} x ${coverage.shape[1]} framed`, ...(thin ? ["thickened"] : []));
  return { image: values.map(c => Math.round(255 * (ground + c * (white - ground))) / 255), steps };
}
// How much ink covers each pixel, 0…1, cropped to the ink. A drawing has one level around it.
function findInk({ shape, values }, rim) {
  const dark = sum(values) < rim * values.length; // darker than the ground
  const whole = { shape, values: values.map(v => dark ? (rim - v) / Math.max(rim, 0.25) : v - rim) };
  const marks = inkBox(whole), margin = Math.ceil(0.25 * longerSide(marks)) + 2;
  const contrast = part(whole, marks.map((at, i) =>
    i < 2 ? Math.max(at - margin, 0) : Math.min(at + margin, shape[i - 1])));
  const soft = separable(contrast, contrast.shape.slice(1), (row, i) =>
    0.5 * row[i] + 0.25 * (row[Math.max(i - 1, 0)] + row[Math.min(i + 1, row.length - 1)]));
  const peak = largest(soft.values), [core, edge] = dark ? [0.5, 0.3] : [0.35, 0.2];
  const pieces = connected(soft, Math.max(edge * peak, 0.03), Math.max(core * peak, 0.06));
  const chosen = selected(pieces), ink = boxOf(chosen.flatMap(one => one.pixels), soft.shape[2]);
  if (longerSide(ink) < 6) throw new Error("no ink found: nothing stands out from the background");
  for (const one of pieces.filter(one => !chosen.includes(one)))
    for (const i of one.pixels) contrast.values[i] = soft.values[i] = 0;
  const near = largestNearby(soft, 0.35 * longerSide(ink));
  const coverage = filled(contrast.shape, (_, y, x) => {
    const own = pixel(contrast, 0, y, x);
    if (own <= 0) return 0;
    const full = 0.9 * Math.max(near(y, x), edge * peak), bare = 0.12 * full;
    return clip((own - bare) / (full - bare), 0, 1);
  });
  return { coverage: cropped(coverage), dark, specks: pieces.length - chosen.length };
}
// The connected pieces of what is above `edge`, by the eight neighbours, if it rises above `core`.
function connected({ shape: [, height, width], values }, edge, core) {
  const seen = Uint8Array.from(values, v => v <= edge), pieces = [];
  for (let start = seen.indexOf(0); start >= 0; start = seen.indexOf(0, start)) {
    const pixels = [start];
    seen[start] = 1;
    for (const i of pixels) // which grow meanwhile
      for (let row = i - i % width - width, n = 0; n < 3; row += width, n++)
        for (let x = Math.max(i % width - 1, 0); x < Math.min(i % width + 2, width); x++)
          if (seen[row + x] === 0) seen[row + x] = pixels.push(row + x) && 1;
    const box = boxOf(pixels, width), atRim = !box[0] || !box[1] || box[2] === height || box[3] === width;
    if (pixels.some(i => values[i] > core))
      pieces.push({ pixels, box, atRim, width, weight: sum(pixels.map(i => values[i])) });
  }
  return pieces;
}
// The pieces that are ink: the largest, and what is near it and not tiny.
function selected(pieces) {
  const rank = piece => piece.weight * (piece.atRim ? 0.1 : 1); // what is at the rim seldom is ink
  const chosen = pieces.toSorted((a, b) => rank(b) - rank(a)).slice(0, 1), [main] = chosen;
  for (const _ of chosen) { // which grow meanwhile
    const [top, left, bottom, right] = boxOf(chosen.flatMap(one => one.pixels), main.width);
    chosen.push(...pieces.filter(one => {
      const down = Math.max(top - one.box[2], one.box[0] - bottom, 0);
      const across = Math.max(left - one.box[3], one.box[1] - right, 0);
      const near = Math.hypot(down, across) <= 0.25 * Math.max(bottom - top, right - left);
      const likely = one.weight >= 0.02 * main.weight && (!one.atRim || main.atRim);
      return near && likely && !chosen.includes(one);
    }));
  }
  return chosen;
}
// The box around pixels: top, left, bottom, right; the last two are just outside.
function boxOf(pixels, width) {
  const box = [Infinity, Infinity, 0, 0];
  for (const i of pixels) {
    box[0] = Math.min(box[0], Math.floor(i / width));
    box[1] = Math.min(box[1], i % width);
    box[2] = Math.max(box[2], Math.floor(i / width) + 1);
    box[3] = Math.max(box[3], i % width + 1);
  }
  return box;
}
const longerSide = ([top, left, bottom, right]) => Math.max(bottom - top, right - left);
// The box around all that has at least half of the largest value.
function inkBox({ shape, values }) {
  const half = largest(values) / 2, pixels = [];
  values.forEach((value, i) => { if (value >= half) pixels.push(i); });
  return boxOf(pixels, shape[2]);
}
const cropped = coverage => part(coverage, inkBox(coverage));

// Every row made anew by `f(row, place, width)`, then every column.
function separable(picture, [height, width], f) {
  const turned = ({ shape: [, rows, columns], values }, size) => {
    const all = Array.from({ length: rows }, (_, r) => values.subarray(r * columns, (r + 1) * columns));
    return filled([1, size, rows], (_, place, r) => f(all[r], place, size));
  };
  return turned(turned(picture, width), height);
}
// A function of row and column: about the largest value at most `distance` away, which changes
// smoothly. It is found for blocks of `step` x `step` pixels.
function largestNearby({ shape: [, height, width], values }, distance) {
  const step = Math.ceil(Math.max(height, width) / 64), reach = Math.max(round(distance / step), 1) >> 1;
  const size = [Math.ceil(height / step), Math.ceil(width / step)], blocks = filled([1, ...size], () => 0);
  values.forEach((value, i) => {
    const block = Math.floor(i / width / step) * size[1] + Math.floor(i % width / step);
    blocks.values[block] = Math.max(blocks.values[block], value);
  });
  const around = (row, i) => row.subarray(Math.max(i - reach, 0), i + reach + 1);
  const most = separable(blocks, size, (row, i) => largest(around(row, i)));
  const smooth = separable(most, size, (row, i) => sum(around(row, i)) / around(row, i).length);
  const block = (row, column) =>
    smooth.values[clip(row, 0, size[0] - 1) * size[1] + clip(column, 0, size[1] - 1)];
  return (y, x) => { // between the middles of four blocks, by its distance to each
    const [v, u] = [(y + 0.5) / step - 0.5, (x + 0.5) / step - 0.5], i = Math.floor(v), j = Math.floor(u);
    const across = row => block(row, j) * (1 - u + j) + block(row, j + 1) * (u - j);
    return across(i) * (1 - v + i) + across(i + 1) * (v - i);
  };
}
// Pillow's resize: how much an old pixel counts for a new one, by the distance of their middles.
const BOX = { support: 0.5, weight: x => Number(x > -0.5 && x <= 0.5) };
const BICUBIC = { support: 2, weight: (signed, x = Math.abs(signed)) =>
  x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((2.5 - 0.5 * x) * x - 4) * x + 2 : 0 };
function resize(picture, size, { support, weight }) {
  return separable(picture, size, (row, place, length) => {
    const scale = row.length / length, wide = Math.max(scale, 1), middle = (place + 0.5) * scale;
    const end = Math.min(Math.floor(middle + support * wide + 0.5), row.length);
    let total = 0, weights = 0;
    for (let i = Math.max(Math.floor(middle - support * wide + 0.5), 0); i < end; i++) {
      const share = weight((i - middle + 0.5) / wide);
      total += share * row[i];
      weights += share;
    }
    return total / weights;
  });
}
// Scaled in proportion to the largest size that fits into `box`.
function fitted(picture, box) {
  const [, ...sides] = picture.shape, factor = Math.min(box[0] / sides[0], box[1] / sides[1]);
  const size = sides.map(side => Math.max(round(side * factor), 1));
  const { shape, values } = resize(picture, size, factor < 1 ? BOX : BICUBIC);
  return { shape, values: values.map(c => clip(c, 0, 1)) };
}
// The width of the strokes, in pixels: their area over half the length of their outline.
function strokeWidth(coverage) {
  const at = (y, x) => pixel(coverage, 0, y - 1, x - 1), [, height, width] = coverage.shape;
  const outline = filled([1, height + 2, width + 2], (_, y, x) =>
    Math.sqrt((at(y + 1, x) - at(y - 1, x)) ** 2 + (at(y, x + 1) - at(y, x - 1)) ** 2) / 2);
  return 2 * sum(coverage.values) / sum(outline.values);
}
// Every stroke wider by `by` pixels on either side, with a pen that is a disc with a soft edge.
function thickened(coverage, by) {
  const reach = Math.ceil(by), [, height, width] = coverage.shape;
  const before = part(coverage, [-2 * reach, -2 * reach, height + 2 * reach, width + 2 * reach]);
  const values = before.values.slice(), margin = reach * before.shape[2] + reach;
  for (let dy = -reach; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) {
      const share = Math.min(by + 1 - Math.hypot(dy, dx), 1), from = dy * before.shape[2] + dx;
      for (let i = margin; i < values.length - margin; i++)
        values[i] = Math.max(values[i], share * before.values[i - from]);
    }
  return { shape: before.shape, values };
}

globalThis.mnistlab = { readModel, readImages, forward, probabilities, judge, prepare };
