"use strict";
// All that is seen: the drawing, the answer and the inside of the model. net.js computes them.
{ // its names and those of net.js stay apart
const { forward, judge, prepare, probabilities, readImages, readModel } = mnistlab;
const $ = id => document.getElementById(id);
const payload = JSON.parse($("payload").textContent), model = readModel(payload);
Object.assign(mnistlab.texts, payload.texts);
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
  if (!bitmap) return say("which", _("This cannot be read as an image."));
  const scale = Math.min(1, 1200 / Math.max(bitmap.width, bitmap.height));
  const sides = [bitmap.width, bitmap.height].map(side => Math.ceil(side * scale));
  const picture = new OffscreenCanvas(...sides), context = picture.getContext("2d");
  context.fillStyle = "#fff"; // behind what is transparent
  context.fillRect(0, 0, ...sides);
  context.drawImage(bitmap, 0, 0, ...sides);
  const values = { name: file.name, w: bitmap.width, h: bitmap.height };
  change({ picture, which: _("{name}, {w} × {h} pixels", values) });
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
  const which = _("{k} of {n}: {name} is {is}; the model says {says}",
    { k: position + 1, n: shown.length, name: names[k], is, says });
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
  const about = _("How active each is; times its weight, that is its share in the logit.");
  group(_("Hidden units"), about, shape, isSigned, Array.from(active, (value, k) => [pictureOf(k),
    _("active {x}", { x: value.toFixed(2) }) + "\n" + _("share {x}", { x: signed(shares[k]) }),
    shares[k] / most]));
  const bias = signed(tensors["out.bias"].values[best]);
  say("sum", _("All shares and bias {bias} add up to {logit}.", { bias, logit }));
}
const insides = {
  linear({ logits, stages: [{ values }] }, best, logit) {
    const own = k => tensors.weights.values.filter((value, i) => i % outputs.length === k);
    group(_("Weights"), _("One for each pixel: what was learned."), shape, true,
      outputs.map((name, k) => [own(k), name]));
    group(_("Weight × pixel"), _("Where there is no ink, it is 0."), shape, true,
      outputs.map((name, k) => [part(values, k), `${name}: logit ${signed(logits[k])}`]));
    const bias = signed(tensors.bias.values[best]);
    say("sum", _("The bias {bias} and weight × pixel of all pixels add up to {logit}.",
      { bias, logit }));
  },
  "two-layer": ({ stages: [{ values }] }, best, logit) =>
    units(values, best, logit, shape, true, k => part(tensors["hidden.weight"].values, k)),
  cnn({ stages }, best, logit) {
    const { values } = stages.at(-1);
    stages.slice(0, -1).forEach(({ shape: [n, h, w], values }, i) => group(
      _("stage {n}", { n: i + 1 }),
      _("{n} maps of {h} × {w}: where each finds what it looks for", { n, h, w }), [h, w],
      false, Array.from({ length: n }, (none, k) => [part(values, k, h * w)])));
    units(values, best, logit, [1, 4], false, k => new Float32Array(4).fill(values[k]));
  },
  "pixel-similarity": ({ stages: [{ values }] }) =>
    group(_("Mean images"), _("And their distances: the least one wins."), shape, false,
      classes.map((name, k) => [part(tensors.means.values, k), `${name}: ${values[k].toFixed(4)}`])),
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
  say("answer", why ? "–" : judged.sure ? judged.class : _("not sure"));
  const names = judged.fits.join(", ");
  say("why", why || (judged.sure ? "\u00a0" : _("may be: {names}", { names })));
  const best = Math.max(outputs.indexOf(judged.class), 0); // the only one of two classes
  const logit = _("the logit for {name}, {x}",
    { name: outputs[best], x: signed(result.logits[best]) });
  insides[model.name](result, best, logit);
}

// ---- nudge one weight
function nudging(images) {
  const { values } = tensors.weights, trained = values.slice(), { labels } = payload.nudge;
  const weights = groups[_("Weights")], count = outputs.length, most = 2 * largest(trained);
  let at = Math.max(trained.findIndex(weight => Math.abs(weight) === most / 2), 0), before;

  function show() {
    let right = 0, loss = 0;
    images.forEach((image, k) => {
      const probs = probabilities(forward(model, image).logits), truth = probs[labels[k]];
      right += truth === Math.max(...probs);
      loss += (count === 1 ? 1 - truth : -Math.log(truth)) / images.length;
    });
    const scores = _("{right} of {n} right, loss {loss}",
      { right, n: images.length, loss: loss.toFixed(6) });
    say("before", before ??= scores);
    say("now", scores);
    const x = Math.floor(at / count) % width, y = Math.floor(at / count / width);
    weights.forEach((tile, k) => (tile.ariaCurrent = String(k === at % count)));
    $("inside").style.cssText = `--x: ${x / width}; --y: ${y / width}`;
    $("nudge").value = values[at] - trained[at];
    say("weight", _("row {y}, column {x}: {value}",
      { y: y + 1, x: x + 1, value: signed(values[at]) }));
    change();
  }
  weights.forEach((tile, k) => {
    const choose = pixel =>
      pixel >= 0 && pixel < size && show(at = pixel * count + k, values.set(trained));
    const ariaLabel = `${_("Weights")}: ${outputs[k]}`;
    Object.assign(tile, { tabIndex: 0, role: "application", ariaLabel });
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
