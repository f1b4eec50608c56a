// What a trained model makes of an image: models.py and losses.py in plain JavaScript, under the
// same names. Arrays are {shape: [channels, height, width], values}, row after row, as in PyTorch.

// An English text in the language of the page, with the values of its {names}.
const _ = (text, values = {}) => (mnistlab.texts[text] ?? text).replace(/{(\w+)}/g, (all, name) =>
  values[name]);
const MNIST_MEAN = 0.1307, MNIST_STD = 0.3081;
function sum(numbers) { // reduce() is several times as slow
  let total = 0;
  for (let i = 0; i < numbers.length; i++) total += numbers[i];
  return total;
}
const zeros = (...shape) => ({ shape, values: new Float32Array(shape.reduce((a, b) => a * b)) });

// An array of what `f` says of each channel, row and column.
function filled([channels, height, width], f) {
  const result = zeros(channels, height, width);
  for (let c = 0, at = 0; c < channels; c++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) result.values[at++] = f(c, y, x);
  return result;
}
// One value; outside of the picture 0.
const pixel = ({ shape, values }, c, y, x) => y >= 0 && y < shape[1] && x >= 0 && x < shape[2]
  ? values[(c * shape[1] + y) * shape[2] + x] : 0;
function part(picture, [top, left, bottom, right]) {
  const result = zeros(picture.shape[0], bottom - top, right - left);
  for (let c = 0, at = 0; c < picture.shape[0]; c++)
    for (let y = top; y < bottom; y++)
      for (let x = left; x < right; x++) result.values[at++] = pixel(picture, c, y, x);
  return result;
}

const bytesOf = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

// The JSON in the page -> the model, with its tensors in float32 as they were trained.
function readModel(payload) {
  const [height, width] = payload.image_size, tensors = {};
  for (const [name, { shape, data }] of Object.entries(payload.tensors))
    tensors[name] = { shape, values: new Float32Array(bytesOf(data).buffer) };
  const calibration = payload.calibration && { ...payload.calibration,
    guard: readModel(payload.calibration.guard) };
  return { ...payload, name: payload.model, height, width, tensors, calibration };
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
    return bias.values.map((b, o) =>
      b + sum(products.values.subarray(o * pixels, (o + 1) * pixels)));
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
    const difference = c => x.values.map((level, i) => Math.abs(level - means.values[c * n + i]));
    const { values } = show("distances", filled([1, 1, means.shape[0]], (_, row, c) =>
      (sum(difference(c).map(d => d ** power)) / n) ** (1 / power)));
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
  const values = tensors[`${name}.bias`].values.map((b, o) =>
    b + weighted(x.values, weight, o * inputs));
  return { shape: [outputs], values };
}
const relu = ({ shape, values }) => ({ shape, values: values.map(value => Math.max(value, 0)) });

// A window moves over the image, 0 around it; each output is the weighted sum of what it shows.
function conv2d(x, tensors, name, stride, padding) {
  const weight = tensors[`${name}.weight`] ?? tensors[`${name}.filters`]; // of `Cosines`
  const bias = tensors[`${name}.bias`]?.values, [outputs, , kernel] = weight.shape;
  const pad = padding ? kernel >> 1 : 0, places = side => Math.floor((side - kernel) / stride) + 1;
  const [rows, columns] = [places(x.shape[1] + 2 * pad), places(x.shape[2] + 2 * pad)];
  const result = zeros(outputs, rows, columns);
  for (let i = 0; i < rows * columns; i++) {
    const top = Math.floor(i / columns) * stride - pad, left = i % columns * stride - pad;
    const seen = part(x, [top, left, top + kernel, left + kernel]).values;
    for (let o = 0; o < outputs; o++)
      result.values[o * rows * columns + i] =
        (bias?.[o] ?? 0) + weighted(seen, weight.values, o * seen.length);
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
// How familiar an image is to the guard, a small net whose last logit means "none of them": the log
// of the odds that it is one of the classes. calibration.py says how the guard is made.
function familiarity(guard, image) {
  const logits = [...forward(guard, image).logits], none = logits.pop();
  return Math.log(sum(logits.map(Math.exp))) - none;
}
// What the model answers, which classes fit, and whether it is sure: so without a calibration.
function judge(model, image, logits) {
  const { temperature, threshold, quantile, guard } = model.calibration ?? {};
  const probs = probabilities(logits, temperature);
  // a single logit of exactly 0 is not above 0: the second class
  const answer = logits.length === 1 ? Number(logits[0] <= 0) : logits.indexOf(Math.max(...logits));
  const fits = model.classes.filter((_, c) => c === answer || probs[c] >= 1 - quantile);
  const sure = !guard || (fits.length === 1 && familiarity(guard, image) >= threshold);
  const [name, probability] = [model.classes[answer], probs[answer]];
  return { class: name, probability, probabilities: probs, sure, fits };
}

globalThis.mnistlab = { texts: {}, readModel, readImages, forward, probabilities, judge };
