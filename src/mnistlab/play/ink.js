// What is done to a drawing before a model sees it: data/fit.py and data/ink.py in plain JavaScript,
// under the same names, for clean strokes on one even ground. It goes on where net.js ends.

function largest(numbers) {
  let most = 0;
  for (let i = 0; i < numbers.length; i++) most = Math.max(most, numbers[i]);
  return most;
}
const clip = (x, low, high) => Math.min(Math.max(x, low), high);
const round = x => x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x); // as Python, 2.5 to 2

// A drawing, width·height levels of 0…255 -> an image like the training images: white ink, scaled
// into a box in the middle, as MNIST was made; and in words what was done.
mnistlab.prepare = function prepare(grey, width, height, model) {
  const size = [model.height, model.width], ground = model.fit === "ink" ? 0 : model.ground;
  const { values } = zeros(height * width);
  for (let i = 0; i < values.length; i++) values[i] = grey[i] / 255;
  const picture = { shape: [1, height, width], values }, ends = [[0, width], [width * (height - 1)]];
  const rim = Float32Array.from(ends.flatMap(end => [...values.subarray(...end)])).sort()[width];
  const isOwnSize = width === model.width && height === model.height;
  if (model.fit === "ink" || (!model.fit && !isOwnSize)) return framed(picture, size, ground, rim);
  const image = resize(picture, size, BICUBIC).values;
  if (model.fit || rim >= 0.5 === ground >= 0.5) return { image, steps: [] };
  return { image: image.map(level => 1 - level), steps: [_("inverted")] };
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
  const steps = dark === (white === 1) ? [_("inverted")] : [];
  if (specks === 1) steps.push(_("1 other mark left out"));
  if (specks > 1) steps.push(_("{n} other marks left out", { n: specks }));
  steps.push(_("ink {w} x {h} framed", { w: coverage.shape[2], h: coverage.shape[1] }));
  if (thin) steps.push(_("thickened"));
  return { image: values.map(c => Math.round(255 * (ground + c * (white - ground))) / 255), steps };
}
// How much ink covers each pixel, 0…1, cropped to the ink.
function findInk({ shape, values }, rim) {
  const dark = sum(values) < rim * values.length; // darker than the ground
  const scale = dark ? -1 / Math.max(rim, 0.25) : 1, contrast = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) contrast[i] = scale * (values[i] - rim);
  const peak = largest(contrast), [core, edge] = dark ? [0.5, 0.3] : [0.35, 0.2];
  const picture = { shape, values: contrast };
  const pieces = connected(picture, Math.max(edge * peak, 0.03), Math.max(core * peak, 0.06));
  const { box, left } = selected(pieces, shape);
  if (!(longerSide(box) >= 6))
    throw new Error(_("no ink found: nothing stands out from the ground"));
  for (const i of left.flatMap(piece => piece.pixels)) contrast[i] = 0;
  const margin = Math.ceil(0.25 * longerSide(box)) + 2, around = grown(box, margin).map((at, i) =>
    i < 2 ? Math.max(at, 0) : Math.min(at, shape[i - 1]));
  const ink = part(picture, around), soft = resize(ink, ink.shape.slice(1), BILINEAR, 2);
  const near = part(largestNearby(soft, 0.35 * longerSide(box)), [0, 0, ...ink.shape.slice(1)]);
  for (let i = 0; i < near.values.length; i++) {
    const full = 0.9 * Math.max(near.values[i], edge * peak), bare = 0.12 * full;
    ink.values[i] = clip((ink.values[i] - bare) / (full - bare), 0, 1);
  }
  return { coverage: cropped(ink), dark, specks: left.length };
}
// For each pixel about the largest value at most `distance` away, which changes smoothly.
function largestNearby({ shape: [, height, width], values }, distance) {
  const step = Math.ceil(Math.max(height, width) / 64), size = [height, width].map(side =>
    Math.ceil(side / step)), reach = Math.max(round(distance / step), 1) >> 1;
  const most = zeros(1, ...size);
  for (let i = 0; i < values.length; i++) {
    const block = Math.floor(i / width / step) * size[1] + Math.floor(i % width / step);
    most.values[block] = Math.max(most.values[block], values[i]);
  }
  const smooth = resize(widened(widened(most, reach), reach), size, BOX, 2 * reach + 1);
  return resize(smooth, size.map(side => side * step), BILINEAR);
}
// The largest value of each row at most `reach` away; rows become columns.
function widened({ shape: [, rows, columns], values }, reach) {
  return filled([1, columns, rows], (_, place, row) => {
    let most = 0;
    for (let x = Math.max(place - reach, 0); x < Math.min(place + reach + 1, columns); x++)
      most = Math.max(most, values[row * columns + x]);
    return most;
  });
}
// The pieces of what is above `edge` that hang together, by the eight neighbours, and rise above
// `core`: for each its pixels and the box around them.
function connected({ shape: [, , width], values }, edge, core) {
  const fresh = new Uint8Array(values.length), pieces = [];
  for (let i = 0; i < values.length; i++) fresh[i] = values[i] > edge;
  for (let start = fresh.indexOf(1); start >= 0; start = fresh.indexOf(1, start)) {
    const pixels = [start], box = [Infinity, Infinity, 0, 0];
    fresh[start] = 0;
    for (const i of pixels) { // which grow meanwhile
      const column = i % width;
      include(box, (i - column) / width, column);
      for (let x = Math.max(column - 1, 0); x < Math.min(column + 2, width); x++)
        for (let at = i - column - width + x, n = 0; n < 3; n++, at += width)
          if (fresh[at] === 1) fresh[at] = 0 * pixels.push(at);
    }
    if (pixels.some(i => values[i] > core)) pieces.push({ pixels, box });
  }
  return pieces;
}
// The pieces that are ink, and their box: the largest, and what is near it and not tiny. What
// touches the rim seldom is ink.
function selected(pieces, [, height, width]) {
  const atRim = ({ box }) => box[0] === 0 || box[1] === 0 || box[2] === height || box[3] === width;
  const rank = piece => piece.pixels.length * (atRim(piece) ? 0.1 : 1);
  const [main, ...others] = pieces.sort((a, b) => rank(b) - rank(a));
  const box = main ? main.box : [0, 0, 0, 0];
  let left = others, count;
  do {
    count = left.length;
    left = left.filter(one => {
      const gaps = [0, 1].map(i => Math.max(box[i] - one.box[i + 2], one.box[i] - box[i + 2], 0));
      const isInk = one.pixels.length >= 0.02 * main.pixels.length && (atRim(main) || !atRim(one))
        && Math.hypot(...gaps) <= 0.25 * longerSide(box);
      if (isInk) include(include(box, one.box[0], one.box[1]), one.box[2] - 1, one.box[3] - 1);
      return !isInk;
    });
  } while (left.length < count);
  return { box, left };
}
// A box is top, left, bottom, right; the last two are just outside. It grows to hold one more pixel.
function include(box, y, x) {
  if (y < box[0]) box[0] = y;
  if (x < box[1]) box[1] = x;
  if (y >= box[2]) box[2] = y + 1;
  if (x >= box[3]) box[3] = x + 1;
  return box;
}
const longerSide = ([top, left, bottom, right]) => Math.max(bottom - top, right - left);
const grown = ([top, left, bottom, right], by) => [top - by, left - by, bottom + by, right + by];
// To the box around all that has at least half of the largest value.
function cropped(coverage) {
  const { shape: [, , width], values } = coverage;
  const half = largest(values) / 2, box = [Infinity, Infinity, 0, 0];
  for (let i = 0; i < values.length; i++)
    if (values[i] >= half) include(box, Math.floor(i / width), i % width);
  return part(coverage, box);
}
// Pillow's resize: how much an old pixel counts for a new one, by the distance of their middles.
const BOX = { support: 0.5, weight: x => Number(x > -0.5 && x <= 0.5) };
const BILINEAR = { support: 1, weight: x => Math.max(1 - Math.abs(x), 0) };
const BICUBIC = { support: 2, weight: (signed, x = Math.abs(signed)) =>
  x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((2.5 - 0.5 * x) * x - 4) * x + 2 : 0 };
const resize = (picture, [height, width], filter, wide) =>
  turned(turned(picture, width, filter, wide), height, filter, wide);
// Every row made `size` long; rows become columns.
function turned({ shape: [, rows, columns], values }, size, { support, weight }, width = 1) {
  const scale = columns / size, wide = Math.max(scale, width), result = zeros(1, size, rows);
  for (let place = 0; place < size; place++) {
    const middle = (place + 0.5) * scale, end = Math.floor(middle + support * wide + 0.5);
    const start = Math.max(Math.floor(middle - support * wide + 0.5), 0);
    const weights = new Float64Array(Math.min(end, columns) - start);
    for (let i = 0; i < weights.length; i++) weights[i] = weight((start + i - middle + 0.5) / wide);
    const total = sum(weights);
    for (let row = 0; row < rows; row++)
      result.values[place * rows + row] = weighted(weights, values, row * columns + start) / total;
  }
  return result;
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
  const { shape: [, , width], values } = part(coverage, grown([0, 0, ...coverage.shape.slice(1)], 2));
  let outline = 0;
  for (let i = width; i < values.length - width; i++) {
    const down = values[i + width] - values[i - width], across = values[i + 1] - values[i - 1];
    outline += Math.sqrt(down * down + across * across) / 2;
  }
  return 2 * sum(values) / outline;
}
// Every stroke wider by `by` pixels on either side, with a pen that is a disc with a soft edge.
function thickened(coverage, by) {
  const reach = Math.ceil(by);
  const { shape, values } = part(coverage, grown([0, 0, ...coverage.shape.slice(1)], 2 * reach));
  const wider = values.slice(), margin = reach * shape[2] + reach;
  for (let dy = -reach; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) {
      const share = Math.min(by + 1 - Math.hypot(dy, dx), 1), from = dy * shape[2] + dx;
      for (let i = margin; i < values.length - margin; i++)
        wider[i] = Math.max(wider[i], share * values[i - from]);
    }
  return { shape, values: wider };
}
