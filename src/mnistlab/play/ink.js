// What is done to a drawing before a model sees it: data/fit.py and data/ink.py in plain JavaScript,
// under the same names, for clean strokes on one even ground. It goes on where net.js ends.

const largest = numbers => numbers.reduce((a, b) => Math.max(a, b), 0);
const smallest = numbers => numbers.reduce((a, b) => Math.min(a, b), Infinity);
const clip = (x, low, high) => Math.min(Math.max(x, low), high);
const round = x => x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x); // as Python, 2.5 to 2

// A drawing, width·height levels of 0…255 -> an image like the training images: white ink, scaled
// into a box in the middle, as MNIST was made; and in words what was done.
mnistlab.prepare = function prepare(grey, width, height, model) {
  const size = [model.height, model.width], ground = model.fit === "ink" ? 0 : model.ground;
  const values = new Float32Array(grey).map(level => level / 255);
  const picture = { shape: [1, height, width], values }, ends = [[0, width], [width * (height - 1)]];
  const rim = Float32Array.from(ends.flatMap(end => [...values.subarray(...end)])).sort()[width];
  const isOwnSize = width === model.width && height === model.height;
  if (model.fit === "ink" || (!model.fit && !isOwnSize)) return framed(picture, size, ground, rim);
  const image = resize(picture, size, BICUBIC).values;
  if (model.fit || rim >= 0.5 === ground >= 0.5) return { image, steps: [] };
  return { image: image.map(level => 1 - level), steps: ["inverted"] };
};
// The ink alone, fitted into the box and centred by its mass.
function framed(picture, size, ground, rim) {
  const { coverage, dark, specks } = findInk(picture, rim), white = ground > 0.5 ? 0 : 1;
  const box = size.map(side => Math.max(round(20 / 28 * side), 1)), longer = Math.max(...box);
  let fine = fitted(coverage, box.map(side => 4 * side)); // in it the strokes are measured
  const unit = 4 * longer / 20, stroke = strokeWidth(fine) / unit; // MNIST's have 1.8 to 4.2
  const thin = stroke < 1.7 && longer <= 32;
  if (thin) fine = cropped(thickened(fine, (2.2 - stroke) / 2 * unit));
  const boxed = fitted(fine, box), [, rows, columns] = boxed.shape, mass = sum(boxed.values);
  const y = sum(boxed.values.map((c, i) => c * Math.floor(i / columns))) / mass;
  const x = sum(boxed.values.map((c, i) => c * (i % columns))) / mass;
  const top = clip(round(size[0] / 2 - y), 0, size[0] - rows);
  const left = clip(round(size[1] / 2 - x), 0, size[1] - columns);
  const { values } = part(boxed, [-top, -left, size[0] - top, size[1] - left]);
  const steps = dark === (white === 1) ? ["inverted"] : [];
  if (specks) steps.push(`${specks} other mark${specks > 1 ? "s" : ""} left out`);
  steps.push(`ink ${coverage.shape[2]} x ${coverage.shape[1]} framed`);
  if (thin) steps.push("thickened");
  return { image: values.map(c => Math.round(255 * (ground + c * (white - ground))) / 255), steps };
}
// How much ink covers each pixel, 0…1, cropped to the ink.
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
  const { box, left } = selected(pieces, soft.shape);
  if (!(longerSide(box) >= 6)) throw new Error("no ink found: nothing stands out from the ground");
  for (const i of left.flat()) contrast.values[i] = soft.values[i] = 0;
  const near = largestNearby(soft, 0.35 * longerSide(box));
  const coverage = filled(soft.shape, (_, y, x) => {
    const full = 0.9 * Math.max(pixel(near, 0, y, x), edge * peak), bare = 0.12 * full;
    return clip((pixel(contrast, 0, y, x) - bare) / (full - bare), 0, 1);
  });
  return { coverage: cropped(coverage), dark, specks: left.length };
}
// The pieces of what is above `edge` that hang together, by the eight neighbours, and rise above
// `core`: for each its pixels.
function connected({ shape: [, , width], values }, edge, core) {
  const seen = values.map(value => Number(value <= edge)), pieces = [];
  for (let start = seen.indexOf(0); start >= 0; start = seen.indexOf(0, start)) {
    const pixels = [start];
    seen[start] = 1;
    for (const i of pixels) // which grow meanwhile
      for (let x = Math.max(i % width - 1, 0); x < Math.min(i % width + 2, width); x++)
        for (let at = i - i % width - width + x, n = 0; n < 3; n++, at += width)
          if (seen[at] === 0) seen[at] = pixels.push(at);
    if (pixels.some(i => values[i] > core)) pieces.push(pixels);
  }
  return pieces;
}
// The pieces that are ink, and their box: the largest, and what is near it and not tiny. What
// touches the rim seldom is ink.
function selected(pieces, [, height, width]) {
  const atRim = piece => piece.some(i => i < width || i >= width * (height - 1) || (i + 1) % width < 2);
  const rank = piece => piece.length * (atRim(piece) ? 0.1 : 1);
  const ink = pieces.sort((a, b) => rank(b) - rank(a)).slice(0, 1), [main] = ink;
  const likely = pieces.filter(one => one.length >= 0.02 * main.length && (atRim(main) || !atRim(one)));
  for (let found = ink; found.length;) {
    const box = boxOf(ink.flat(), width);
    found = likely.filter(one => !ink.includes(one)).filter(one => {
      const own = boxOf(one, width);
      const gaps = [0, 1].map(i => Math.max(box[i] - own[i + 2], own[i] - box[i + 2], 0));
      return Math.hypot(...gaps) <= 0.25 * longerSide(box);
    });
    ink.push(...found);
  }
  return { box: boxOf(ink.flat(), width), left: pieces.filter(one => !ink.includes(one)) };
}
// The box around pixels: top, left, bottom, right; the last two are just outside.
function boxOf(pixels, width) {
  const rows = pixels.map(i => Math.floor(i / width)), columns = pixels.map(i => i % width);
  return [smallest(rows), smallest(columns), largest(rows) + 1, largest(columns) + 1];
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
    const each = Array.from({ length: rows }, (_, r) => values.subarray(r * columns).subarray(0, columns));
    return filled([1, size, rows], (_, place, r) => f(each[r], place, size));
  };
  return turned(turned(picture, width), height);
}
// For each pixel about the largest value at most `distance` away, which changes smoothly.
function largestNearby({ shape: [, height, width], values }, distance) {
  const step = Math.ceil(Math.max(height, width) / 64), reach = Math.max(round(distance / step), 1) >> 1;
  const size = [Math.ceil(height / step), Math.ceil(width / step)], blocks = filled([1, ...size], () => 0);
  const blockOf = i => Math.floor(i / width / step) * size[1] + Math.floor(i % width / step);
  values.forEach((v, i) => { blocks.values[blockOf(i)] = Math.max(blocks.values[blockOf(i)], v); });
  const around = (row, i) => row.subarray(Math.max(i - reach, 0), i + reach + 1);
  const most = separable(blocks, size, (row, i) => largest(around(row, i)));
  const smooth = separable(most, size, (row, i) => sum(around(row, i)) / around(row, i).length);
  return resize(smooth, [size[0] * step, size[1] * step], BILINEAR);
}
// Pillow's resize: how much an old pixel counts for a new one, by the distance of their middles.
const BOX = { support: 0.5, weight: x => Number(x > -0.5 && x <= 0.5) };
const BILINEAR = { support: 1, weight: x => Math.max(1 - Math.abs(x), 0) };
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
