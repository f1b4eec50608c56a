"use strict";
// All that is seen: the drawing, the answer and the inside of the model. net.js computes them.
{ // its names and those of net.js stay apart
const { forward, judge, prepare, probabilities, readImages, readModel } = mnistlab;
const $ = id => document.getElementById(id);
const payload = JSON.parse($("payload").textContent), model = readModel(payload);
const { classes, height, width, tensors } = model, size = height * width, shape = [height, width];
const outputs = classes.length === 2 ? [classes[0]] : classes; // two classes share one logit
const signed = (value, digits = 2) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
const largest = values => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0.01);
const part = (values, k, length = size) => values.subarray(k * length, (k + 1) * length);
// the same text written anew would be read out once more
const say = (id, text) => $(id).textContent === text || ($(id).textContent = text);

// ---- the drawing
// What was done, in order: {stroke, pen} or {picture, which, image}; null is empty paper.
const actions = [];
const canvas = $("canvas"), paper = canvas.getContext("2d", { willReadFrequently: true });
let frame = 0, pointer = null; // the number of the mouse, finger or pen that draws just now
function redraw() {
  const start = actions.findLastIndex(action => !action.stroke), picture = actions[start]?.picture;
  paper.fillRect(0, 0, 280, 280);
  if (picture) {
    const scale = 280 / Math.max(picture.width, picture.height);
    const [w, h] = [picture.width * scale, picture.height * scale];
    paper.imageSmoothingEnabled = scale < 1;
    paper.drawImage(picture, 140 - w / 2, 140 - h / 2, w, h);
  }
  Object.assign(paper, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round" });
  for (const { stroke, pen } of actions.slice(start + 1)) {
    paper.lineWidth = pen;
    paper.stroke(stroke);
  }
}
// Notes what was done; what follows from it is shown with the next picture of the screen.
function change(action) {
  if (action) actions.push(action);
  frame ||= requestAnimationFrame(look);
}
function draw(event) {
  if (event.pointerId !== pointer) return;
  const box = canvas.getBoundingClientRect(), scale = 280 / box.width;
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  actions.at(-1).stroke.lineTo(x * scale, y * scale);
  change();
}
canvas.onpointerdown = event => {
  if (pointer !== null || event.button) return;
  canvas.setPointerCapture(pointer = event.pointerId);
  actions.push({ stroke: new Path2D(), pen: $("pen").value });
  draw(event);
  draw(event); // a dot is a line from a place to itself
};
canvas.onpointermove = draw;
canvas.onpointerup = canvas.onpointercancel = ({ pointerId }) =>
  pointerId === pointer && change(pointer = null);
$("undo").onclick = () => change(pointer === null && void actions.pop());
$("clear").onclick = () => change(pointer === null && { picture: null });

// ---- image files
async function load(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return say("which", "This cannot be read as an image.");
  const scale = Math.min(1, 1200 / Math.max(bitmap.width, bitmap.height));
  const sides = [bitmap.width, bitmap.height].map(side => Math.ceil(side * scale));
  const picture = new OffscreenCanvas(...sides), context = picture.getContext("2d");
  context.fillStyle = "#fff"; // behind what is transparent
  context.fillRect(0, 0, ...sides);
  context.drawImage(bitmap, 0, 0, ...sides);
  change({ picture, which: `${file.name}, ${bitmap.width} × ${bitmap.height} pixels` });
}
$("file").onclick = () => ($("file").value = ""); // the same file again is a change, too
$("file").onchange = () => load($("file").files[0]);
addEventListener("paste", event => load(event.clipboardData.files[0]));

// What prepare() takes: the grey levels of a picture, its width and height.
function greyOf(picture) {
  const { width, height } = picture, grey = new Float32Array(width * height);
  const { data } = picture.getContext("2d").getImageData(0, 0, width, height);
  for (let i = 0, at = 0; i < grey.length; i++, at += 4)
    grey[i] = Math.round(0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]);
  return [grey, width, height];
}

// ---- validation images
const imagesOf = async ({ images, labels }) => {
  const levels = Float32Array.from(await readImages(images), level => level / 255);
  return labels.map((_, k) => part(levels, k));
};
const valid = payload.valid && imagesOf(payload.valid);
let position = -1;
async function step(by) {
  const { labels, names, mistakes } = payload.valid;
  const shown = $("mistakes").checked ? mistakes : [...labels.keys()];
  position = (Math.max(position, by < 0 ? 0 : -1) + by + shown.length) % shown.length;
  const k = shown[position], image = (await valid)[k], is = classes[labels[k]];
  const picture = new OffscreenCanvas(width, height);
  paint(picture, image, 1);
  const says = judge(model, image, forward(model, image).logits).class;
  const which = `${position + 1} of ${shown.length}: ${names[k]} is ${is}; the model says ${says}`;
  change({ picture, image, which });
}
$("next").onclick = () => step(1);
$("previous").onclick = () => step(-1);
$("mistakes").onchange = () => step(1, position = -1);
const KEYS = { z: "undo", Escape: "clear", n: "next", p: "previous", m: "mistakes" };
addEventListener("keydown", ({ key, ctrlKey, metaKey }) => {
  const button = $(KEYS[key]), hasControl = ctrlKey || metaKey;
  if (hasControl === (key === "z") && button?.checkVisibility()) button.click();
});

// ---- pictures of numbers
// Black to white; or, where signed, blue below 0 and red above, on nothing.
function paint(picture, values, most, isSigned) {
  const pixels = new ImageData(picture.width, picture.height);
  const colours = new Uint32Array(pixels.data.buffer); // opaque, blue, green, red
  for (let i = 0; i < values.length; i++) {
    const level = Math.min(Math.round(255 * Math.abs(values[i]) / most), 255);
    const colour = values[i] < 0 ? 0xac6621 : 0x2b18b2;
    colours[i] = isSigned ? level << 24 | colour : 255 << 24 | level * 0x10101;
  }
  picture.getContext("2d").putImageData(pixels, 0, 0);
}
// A group of pictures of one size: each [values, text, share], the share, -1…1, shown as a bar.
const groups = {};
function group(title, about, [height, width], isSigned, tiles) {
  if (!groups[title]) {
    const tile = `<li><canvas width="${width}" height="${height}"></canvas><i></i><p></p></li>`;
    $("end").insertAdjacentHTML("beforebegin", `<section class="${isSigned ? "signed" : ""}">
      <h3>${title}</h3><p>${about}</p><ul>${tile.repeat(tiles.length)}</ul></section>`);
    groups[title] = [...$("end").previousSibling.lastChild.children];
  }
  const most = Math.max(...tiles.map(([values]) => largest(values)));
  tiles.forEach(([values, text = "", share = 0], k) => {
    const [picture, bar, label] = groups[title][k].children;
    paint(picture, values, most, isSigned);
    label.textContent = text;
    bar.className = share < 0 ? "minus" : "";
    bar.style.width = `${100 * Math.abs(share)}%`;
  });
}

// ---- the inside: one function for each kind of model
// Hidden units: a picture of each, how active it is, and its share in the logit.
function units(active, best, logit, shape, isSigned, pictureOf) {
  const weights = part(tensors["out.weight"].values, best, active.length);
  const shares = active.map((value, k) => value * weights[k]), most = largest(shares);
  group("Hidden units", "How active each is; times its weight, that is its share in the logit.",
    shape, isSigned, Array.from(active, (value, k) => [pictureOf(k),
      `active ${value.toFixed(2)}\nshare ${signed(shares[k])}`, shares[k] / most]));
  say("sum", `All shares and bias ${signed(tensors["out.bias"].values[best])} add up to ${logit}.`);
}
const insides = {
  linear({ logits, stages: [{ values }] }, best, logit) {
    group("Weights", "One for each pixel: what was learned.", shape, true, outputs.map((name, k) =>
      [tensors.weights.values.filter((_, i) => i % outputs.length === k), name]));
    group("Weight × pixel", "Where there is no ink, it is 0.", shape, true,
      outputs.map((name, k) => [part(values, k), `${name}: logit ${signed(logits[k])}`]));
    const bias = signed(tensors.bias.values[best]);
    say("sum", `The bias ${bias} and weight × pixel of all pixels add up to ${logit}.`);
  },
  "two-layer": ({ stages: [{ values }] }, best, logit) =>
    units(values, best, logit, shape, true, k => part(tensors["hidden.weight"].values, k)),
  cnn({ stages }, best, logit) {
    const { values } = stages.at(-1);
    for (const { name, shape: [channels, h, w], values } of stages.slice(0, -1))
      group(name, `${channels} maps of ${h} × ${w}: where each finds what it looks for`, [h, w],
        false, Array.from({ length: channels }, (_, k) => [part(values, k, h * w)]));
    units(values, best, logit, [1, 4], false, k => new Float32Array(4).fill(values[k]));
  },
  "pixel-similarity": ({ stages: [{ values }] }) =>
    group("Mean images", "And their distances: the least one wins.", shape, false, classes.map(
      (name, k) => [part(tensors.means.values, k), `${name}: ${values[k].toFixed(4)}`])),
};

// ---- the answer
function look() {
  frame = 0;
  redraw();
  const last = actions.at(-1);
  let seen = { image: last?.image ?? new Float32Array(size).fill(model.ground), steps: [] }, why;
  try {
    if (!last?.image) seen = prepare(...greyOf(last?.picture ?? canvas), model);
  } catch (error) {
    why = error.message;
  }
  say("which", last?.which ?? "");
  paint($("seen"), seen.image, 1);
  $("steps").innerHTML = seen.steps.map(text => `<li>${text}</li>`).join("");
  const result = forward(model, seen.image), judged = judge(model, seen.image, result.logits);
  classes.forEach((name, k) => {
    const row = $("bars").rows[k], probability = why ? 0 : judged.probabilities[k];
    row.dataset.probability = probability;
    row.className = !why && name === judged.class ? "best" : "";
    row.querySelector("i").style.width = `${100 * probability}%`;
    row.cells[2].textContent = `${(100 * probability).toFixed(1)}\u00a0%`;
  });
  $("answer").ariaBusy = String(pointer !== null); // it is read out when the stroke is done
  say("answer", why ? "–" : judged.sure ? judged.class : "not sure");
  say("why", why || (judged.sure ? "\u00a0" : `may be: ${judged.fits.join(", ")}`));
  const best = Math.max(outputs.indexOf(judged.class), 0); // the only one of two classes
  const logit = `the logit for ${outputs[best]}, ${signed(result.logits[best])}`;
  insides[model.name](result, best, logit);
}

// ---- nudge one weight
function nudging(images) {
  const { values } = tensors.weights, trained = values.slice(), { labels } = payload.nudge;
  const count = outputs.length, most = 2 * largest(trained);
  let at = Math.max(trained.findIndex(weight => Math.abs(weight) === most / 2), 0), before;

  function show() {
    let right = 0, loss = 0;
    images.forEach((image, k) => {
      const probs = probabilities(forward(model, image).logits), truth = probs[labels[k]];
      right += truth === Math.max(...probs);
      loss += (count === 1 ? 1 - truth : -Math.log(truth)) / images.length;
    });
    const scores = `${right} of ${images.length} right, loss ${loss.toFixed(6)}`;
    say("before", before ??= scores);
    say("now", scores);
    const x = Math.floor(at / count) % width, y = Math.floor(at / count / width);
    groups.Weights.forEach((tile, k) => (tile.ariaCurrent = String(k === at % count)));
    $("inside").style.cssText = `--x: ${x / width}; --y: ${y / width}`;
    $("nudge").value = values[at] - trained[at];
    say("weight", `row ${y + 1}, column ${x + 1}: ${signed(values[at])}`);
    change();
  }
  groups.Weights.forEach((tile, k) => {
    const choose = pixel =>
      pixel >= 0 && pixel < size && show(at = pixel * count + k, values.set(trained));
    Object.assign(tile, { tabIndex: 0, role: "application", ariaLabel: `Weights: ${outputs[k]}` });
    tile.firstChild.onpointerdown = ({ target, offsetX, offsetY }) => {
      const side = target.clientWidth / width; // of a pixel, on the screen
      choose(Math.floor(offsetY / side) * width + Math.floor(offsetX / side));
    };
    tile.onkeydown = event => {
      const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width }[event.key];
      if (move) choose(Math.floor(at / count) + move, event.preventDefault());
    };
  });
  Object.assign($("nudge"), { min: -most, max: most, step: most / 100 });
  $("nudge").oninput = () => show(values[at] = trained[at] + Number($("nudge").value));
  show();
}

look();
if (payload.nudge) imagesOf(payload.nudge).then(nudging);
}
