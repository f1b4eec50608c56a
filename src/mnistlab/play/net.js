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

// A drawing, width·height grey levels of 0…255 -> an image like the training images.
function prepare(grey, width, height, model, how = "auto") {
  const size = model.height * model.width;
  if (how === "never" || (how === "auto" && width === model.width && height === model.height))
    return { image: Float32Array.from(grey, level => level / 255), steps: [] };
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let i = 0; i < grey.length; i++) if (grey[i] > 127) {
    left = Math.min(left, i % width); right = Math.max(right, i % width + 1);
    top = Math.min(top, Math.floor(i / width)); bottom = Math.max(bottom, Math.floor(i / width) + 1);
  }
  const image = new Float32Array(size);
  if (right <= left) return { image, steps: ["no ink found"] };
  const scale = Math.max(right - left, bottom - top) * 1.4 / model.width;
  for (let i = 0; i < grey.length; i++) {
    const x = Math.floor((i % width - (left + right) / 2) / scale + model.width / 2);
    const y = Math.floor((Math.floor(i / width) - (top + bottom) / 2) / scale + model.height / 2);
    if (x >= 0 && x < model.width && y >= 0 && y < model.height)
      image[y * model.width + x] += grey[i] / 255 / scale ** 2;
  }
  return { image: image.map(level => Math.min(level, 1)), steps: [`ink ${right - left} x ${bottom - top} framed`] };
}

globalThis.mnistlab = { readModel, readImages, forward, probabilities, judge, prepare };
