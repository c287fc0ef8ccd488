"use strict";
// The mask is an array of 0 and 1, a number a pixel of the original image. The canvas only shows it.

const $ = (id) => document.getElementById(id);
const random = (bytes) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (x) => x.toString(16).padStart(2, "0")).join("");
const windowId = random(16);
const color = [255, 150, 0];
const maxUndo = 200;

let reviewer = "";
let images = [];
let place = -1;
let shown = null; // what the server said of the image
let mask = new Uint8Array(0);
let tool = "brush";
let undone = [], done = [];
let version = "", startedFrom = "";
let saveId = ""; // of what is to be saved: sent again, it is the same correction
let zoom = 1;
let hidden = false;
let picture = null, pixels = null; // ImageData of the canvas, and its pixels as numbers
let cursor = null; // where arrow keys have moved the brush

// ---- the server

class Refused extends Error {}

async function ask(path, body) {
  const sent = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const answer = await fetch(path, sent);
  const content = await answer.json().catch(() => ({ error: `the demo answered ${answer.status}` }));
  if (!answer.ok) throw new Refused(content.error);
  return content;
}

const named = (path) => `${path}?reviewer=${encodeURIComponent(reviewer)}`;

function say(text, good = false) {
  $("alert").classList.toggle("good", good);
  $("alert").textContent = text.charAt(0).toUpperCase() + text.slice(1);
  $("alert").hidden = !text;
}

const restart = "start the same busi.demo again, with the same --port";
const unreachable = `The demo does not answer. What you painted last is in this window alone: leave it open, and ${restart}.`;
const silent = `The demo does not answer: ${restart}.`;
const unanswered = `The demo does not answer, and may have kept the correction or not: leave this window open, ${restart}, and save again. It counts once.`;
const unopened = `${silent} Then choose the image again.`;
const tell = (error, silence = unreachable) => say(error instanceof Refused ? error.message : silence);

// ---- drafts: one request at a time, always of the newest state

let unsaved = false, sending = null, retry = null;

function changed() {
  if (!shown) return;
  unsaved = true;
  saveId = "";
  $("state").textContent = "Keeping the draft";
  send();
}

function send() {
  if (sending || !unsaved || !shown) return sending;
  clearTimeout(retry);
  unsaved = false;
  const to = place;
  sending = ask(`images/${to}/draft`, work())
    .then((answer) => {
      if (place === to) version = answer.version;
      if (!unsaved) $("state").textContent = "Draft kept";
      if (images[to]) mark(to, { draft: true });
      if ($("alert").dataset.of === "draft") { say(""); $("alert").dataset.of = ""; }
      return true;
    })
    .catch((error) => {
      if (place !== to) return false;
      unsaved = true;
      tell(error);
      $("alert").dataset.of = "draft";
      $("state").textContent = "Not kept";
      if (!(error instanceof Refused)) retry = setTimeout(send, 2000);
      return false;
    })
    .then((good) => {
      sending = null;
      return good && unsaved ? send() : good;
    });
  return sending;
}

async function settle() { // until all is kept; false if that failed
  if (sending) await sending;
  return unsaved ? (await send()) !== false : true;
}

window.addEventListener("beforeunload", (event) => { if (unsaved || sending) event.preventDefault(); });

function work() {
  const label = document.querySelector("input[name=label]:checked");
  return { reviewer, runs: toRuns(mask), label: label ? label.value : null, patient: $("patient").value, started_from: startedFrom, window: windowId, version, image: shown.image };
}

// ---- masks

function toRuns(values) {
  const runs = [];
  let value = 0, start = 0;
  for (let i = 0; i < values.length; i++) {
    if (values[i] !== value) { runs.push(i - start); start = i; value = values[i]; }
  }
  runs.push(values.length - start);
  return runs;
}

function fromRuns(runs, size) {
  const values = new Uint8Array(size);
  let start = 0;
  runs.forEach((length, i) => { if (i % 2) values.fill(1, start, start + length); start += length; });
  return values;
}

const pack = (alpha) => new Uint32Array(new Uint8Array([...color, alpha]).buffer)[0]; // a pixel as one number

function draw(left = 0, top = 0, right = shown.width, bottom = shown.height) {
  const { width, height } = shown;
  left = Math.max(0, left - 1); top = Math.max(0, top - 1);
  right = Math.min(width, right + 1); bottom = Math.min(height, bottom + 1);
  if (right <= left || bottom <= top) return;
  const line32 = pack(255), inside = pack(Math.round(2.55 * $("opacity").value));
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const i = y * width + x;
      let shade = 0;
      if (mask[i] && !hidden) {
        const edge = x === 0 || y === 0 || x === width - 1 || y === height - 1 || !mask[i - 1] || !mask[i + 1] || !mask[i - width] || !mask[i + width];
        shade = edge ? line32 : inside;
      }
      pixels[i] = shade;
    }
  }
  $("mask").getContext("2d").putImageData(picture, 0, 0, left, top, right - left, bottom - top);
}

function stroke(x0, y0, x1, y1, value) { // a disc of the brush's size, from one point to the other
  const { width, height } = shown;
  const radius = $("size").value / 2;
  const left = Math.max(0, Math.floor(Math.min(x0, x1) - radius)), right = Math.min(width, Math.ceil(Math.max(x0, x1) + radius) + 1);
  const top = Math.max(0, Math.floor(Math.min(y0, y1) - radius)), bottom = Math.min(height, Math.ceil(Math.max(y0, y1) + radius) + 1);
  const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const px = x + 0.5 - x0, py = y + 0.5 - y0;
      const t = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      const ex = px - t * dx, ey = py - t * dy;
      if (ex * ex + ey * ey <= Math.max(radius * radius, 0.5)) mask[y * width + x] = value;
    }
  }
  draw(left, top, right, bottom);
}

function fill(x, y) { // the background around a point, as far as the mask encloses it
  const { width, height } = shown;
  const first = Math.floor(y) * width + Math.floor(x);
  if (mask[first]) return;
  const waiting = [first];
  mask[first] = 1;
  while (waiting.length) {
    const i = waiting.pop(), column = i % width;
    for (const [there, j] of [[column > 0, i - 1], [column < width - 1, i + 1], [i >= width, i - width], [i < width * (height - 1), i + width]]) {
      if (there && !mask[j]) { mask[j] = 1; waiting.push(j); }
    }
  }
  draw();
}

function same(a, b) {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function finish(before, origin = startedFrom) { // one step that can be undone
  if (origin === startedFrom && same(before, mask)) return;
  done.push([toRuns(before), origin]);
  if (done.length > maxUndo) done.shift();
  undone = [];
  changed();
  buttons();
}

function step(from, to) {
  if (!from.length || down || busy) return;
  to.push([toRuns(mask), startedFrom]);
  const [runs, origin] = from.pop();
  mask = fromRuns(runs, mask.length);
  startedFrom = origin;
  draw();
  changed();
  buttons();
}

function replace(values, origin) {
  if (!shown || down || busy) return;
  const before = mask, started = startedFrom;
  mask = values;
  if (origin) startedFrom = origin;
  draw();
  finish(before, started);
}

function buttons() {
  $("undo").disabled = !done.length;
  $("redo").disabled = !undone.length;
}

// ---- painting

let down = null; // the stroke that is being painted
const touching = new Map();
let penUsed = false; // from then on fingers move the image, and do not paint

function at(event) {
  const box = $("mask").getBoundingClientRect();
  return [(event.clientX - box.left) * shown.width / box.width, (event.clientY - box.top) * shown.height / box.height];
}

function takeBack() {
  if (down) { mask = down.before; down = null; draw(); }
}

function ring(x, y) {
  const size = Math.max(2, $("size").value * zoom);
  Object.assign($("ring").style, { width: `${size}px`, height: `${size}px`, left: `${x * zoom - size / 2}px`, top: `${y * zoom - size / 2}px` });
  $("ring").hidden = tool === "fill";
}

$("mask").addEventListener("pointerdown", (event) => {
  if (!shown || busy || event.button === 1) return;
  const finger = event.pointerType === "touch";
  if (down && down.pen && finger) return; // a hand that rests
  if (event.pointerType === "pen") { // so does one that came down first
    penUsed = true;
    touching.clear();
    takeBack();
  }
  event.preventDefault();
  $("mask").focus({ preventScroll: true });
  $("mask").setPointerCapture(event.pointerId);
  touching.set(event.pointerId, [event.clientX, event.clientY]);
  if (touching.size > 1) { // two fingers move the image; what the first one painted is taken back
    takeBack();
    return;
  }
  if (finger && penUsed) return;
  const [x, y] = at(event);
  const erase = tool === "eraser" || event.button === 2;
  down = { before: mask.slice(), x, y, value: erase ? 0 : 1, id: event.pointerId, pen: event.pointerType === "pen" };
  if (tool === "fill" && !erase) fill(x, y); else stroke(x, y, x, y, down.value);
  cursor = [x, y];
});

$("mask").addEventListener("pointermove", (event) => {
  if (!shown) return;
  const [x, y] = at(event);
  ring(x, y);
  if (touching.size > 1 && touching.has(event.pointerId)) {
    const [oldX, oldY] = touching.get(event.pointerId);
    touching.set(event.pointerId, [event.clientX, event.clientY]);
    $("stage").scrollBy((oldX - event.clientX) / touching.size, (oldY - event.clientY) / touching.size);
    return;
  }
  if (!down || event.pointerId !== down.id || (tool === "fill" && down.value)) return;
  stroke(down.x, down.y, x, y, down.value);
  [down.x, down.y] = [x, y];
});

function lift(event) {
  touching.delete(event.pointerId);
  if (!down || event.pointerId !== down.id) return;
  const { before } = down;
  down = null;
  finish(before);
}
$("mask").addEventListener("pointerup", lift);
$("mask").addEventListener("pointercancel", lift);
$("mask").addEventListener("pointerleave", () => { $("ring").hidden = true; });
$("mask").addEventListener("contextmenu", (event) => event.preventDefault());

$("mask").addEventListener("keydown", (event) => {
  const far = event.shiftKey ? 10 : 1;
  const moves = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
  if (!shown || event.ctrlKey || event.metaKey || event.altKey || down || busy) return;
  cursor = cursor || [shown.width / 2, shown.height / 2];
  if (event.key in moves) {
    const [dx, dy] = moves[event.key];
    cursor = [Math.min(shown.width, Math.max(0, cursor[0] + dx)), Math.min(shown.height, Math.max(0, cursor[1] + dy))];
  } else if (event.key === " ") {
    const before = mask.slice();
    if (tool === "fill") fill(Math.min(cursor[0], shown.width - 1), Math.min(cursor[1], shown.height - 1));
    else stroke(...cursor, ...cursor, tool === "eraser" ? 0 : 1);
    finish(before);
  } else return;
  event.preventDefault();
  ring(...cursor);
});

// ---- zoom

let fitted = true; // until a person zooms

function fit() {
  const width = $("stage").offsetWidth - 3, height = $("stage").offsetHeight - 3; // within the border
  fitted = true;
  if (width > 30 && height > 30) setZoom(Math.min(width / shown.width, height / shown.height));
}

function zoomBy(factor) {
  if (!shown) return;
  fitted = false;
  setZoom(zoom * factor);
}

function setZoom(value) {
  const stage = $("stage"), old = zoom;
  const center = [(stage.scrollLeft + stage.clientWidth / 2) / old, (stage.scrollTop + stage.clientHeight / 2) / old];
  zoom = Math.min(32, Math.max(0.02, value));
  $("paper").style.width = `${shown.width * zoom}px`;
  $("paper").style.height = `${shown.height * zoom}px`;
  stage.classList.toggle("near", zoom > 2);
  stage.scrollTo(center[0] * zoom - stage.clientWidth / 2, center[1] * zoom - stage.clientHeight / 2);
  $("ring").hidden = true;
}

// ---- images

function line(one, i) {
  const state = one.corrected_by ? "✓ " : one.draft ? "… " : "";
  const sure = one.confidence === null ? "" : ` ${Math.round(100 * one.confidence)} %`;
  const other = one.draft_by ? `${one.draft_by} is at work on it` : "";
  const said = [one.pred ? one.pred + sure : "", one.why, other].filter(Boolean).join(", ");
  return `${state}${i + 1}. ${one.id}${said ? `: ${said}` : ""}`;
}

function mark(i, changes) {
  Object.assign(images[i], changes);
  $("list").options[i].textContent = line(images[i], i);
}

function firstOpen(order) { // an image to be corrected, best one that nobody else is at work on; undefined if there is none
  const left = order.filter((i) => !images[i].corrected_by);
  return left.find((i) => !images[i].draft_by) ?? left[0];
}

async function list() {
  const answer = await ask(named("images"));
  images = answer.images;
  $("list").replaceChildren(...images.map((one, i) => new Option(line(one, i), i)));
  if (place >= 0) $("list").value = place;
  const number = images.filter((one) => one.corrected_by).length;
  $("where").textContent = `${number} of ${images.length} corrected. Reviewer: ${reviewer}. Model: ${answer.model}. Manifest: ${answer.manifest}` + (answer.num_failed ? `. ${answer.num_failed} files that could not be predicted are not shown.` : "");
  if (!$("classes").querySelector("input")) {
    answer.classes.forEach((name, i) => {
      const label = document.createElement("label"), input = document.createElement("input");
      Object.assign(input, { type: "radio", name: "label", value: name, title: `${i + 1}` });
      input.addEventListener("change", changed);
      label.append(input, name);
      $("classes").append(label);
    });
  }
}

async function open(i) {
  place = i;
  history.replaceState(null, "", `#${i + 1}`); // reloading stays here
  $("list").value = i;
  shown = null;
  saveId = "";
  down = null;
  touching.clear();
  done = []; undone = []; cursor = null;
  unsaved = false;
  $("state").textContent = "";
  $("paper").hidden = true;
  $("save").disabled = $("tools").inert = $("facts").inert = true; // until there is an image
  $("about").textContent = $("patient").value = "";
  document.querySelectorAll("input[name=label]").forEach((one) => { one.checked = false; });
  buttons();
  let answer;
  try {
    answer = await ask(named(`images/${i}`));
    if (place !== i) return;
    const image = $("image");
    image.src = `images/${i}/pixels.png?${answer.width}x${answer.height}`;
    await image.decode();
  } catch (error) {
    if (place === i) tell(answer ? new Refused("the image cannot be shown: reload the page") : error, unopened);
    return;
  }
  if (place !== i) return;
  say("");
  shown = answer;
  version = answer.version;
  startedFrom = answer.started_from;
  mask = fromRuns(answer.runs, answer.width * answer.height);
  $("mask").width = answer.width;
  $("mask").height = answer.height;
  picture = new ImageData(answer.width, answer.height);
  pixels = new Uint32Array(picture.data.buffer);
  document.querySelectorAll("input[name=label]").forEach((one) => { one.checked = one.value === answer.label; });
  $("patient").value = answer.patient;
  $("about").textContent = [`${answer.width} x ${answer.height} pixels`, answer.pred ? `predicted: ${answer.pred}` : "", answer.why, `shown: ${answer.said}`].filter(Boolean).join("; ");
  $("paper").hidden = false;
  $("save").disabled = $("tools").inert = $("facts").inert = false;
  fit();
  draw();
}

async function go(i) {
  if (busy || down || i < 0 || i >= images.length || (i === place && shown)) { $("list").value = place; return; }
  await alone(async () => {
    const kept = shown ? await settle() : true;
    if (kept || confirm("What you painted last is not kept. Leave this image all the same?")) await open(i);
    else $("list").value = place;
  });
}

let busy = false;

async function alone(action) { // nothing can be painted or chosen meanwhile
  if (busy) return;
  const focused = document.activeElement;
  busy = $("work").inert = true;
  try { await action(); } finally {
    busy = $("work").inert = false;
    if (focused && focused !== document.body) focused.focus({ preventScroll: true });
  }
}

async function save() {
  if (!shown || down) return;
  await alone(async () => {
    $("save").disabled = true;
    const held = place;
    let answer;
    try {
      if (sending) await sending;
      saveId = saveId || random(6);
      answer = await ask(`images/${held}/correction`, { ...work(), save: saveId });
    } catch (error) {
      const refused = error instanceof Refused;
      tell(error, unanswered);
      $("state").textContent = refused ? "Not saved" : "No answer";
      $("save").disabled = false;
      return;
    }
    unsaved = false;
    clearTimeout(retry);
    startedFrom = answer.name;
    say("");
    const notes = answer.note ? [`Saved. ${answer.note}.`] : [];
    try {
      await list();
      const next = firstOpen(images.map((_, i) => (held + 1 + i) % images.length));
      await open(next ?? held);
      if (next === undefined && shown) notes.unshift("All images are corrected.");
    } catch (error) {
      tell(error, unopened);
    }
    $("state").textContent = "Saved";
    const wrong = $("alert").textContent;
    if (notes.length) say([wrong, ...notes].filter(Boolean).join("\n"), !wrong);
    $("save").disabled = !shown;
  });
}

// ---- controls

function choose(name) {
  tool = name;
  document.querySelectorAll("[data-tool]").forEach((one) => one.setAttribute("aria-pressed", one.dataset.tool === name));
}
document.querySelectorAll("[data-tool]").forEach((one) => one.addEventListener("click", () => choose(one.dataset.tool)));

function resize(change) {
  $("size").value = Number($("size").value) + change;
  $("size-shown").textContent = $("size").value;
}

function press(i) {
  const input = document.querySelectorAll("input[name=label]")[i];
  if (input && shown && !busy) { input.checked = true; changed(); }
}

const actions = {
  b: () => choose("brush"), e: () => choose("eraser"), f: () => choose("fill"),
  z: () => step(done, undone), y: () => step(undone, done),
  "[": () => resize(-2), "]": () => resize(2),
  h: () => { hidden = !hidden; if (shown) draw(); },
  1: () => press(0), 2: () => press(1), 3: () => press(2),
  "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: () => shown && fit(),
  n: () => go(place + 1), p: () => go(place - 1),
  enter: save,
};

document.addEventListener("keydown", (event) => {
  const where = event.target;
  if ($("work").hidden || event.altKey || event.metaKey && !"zy".includes(event.key.toLowerCase())) return;
  if (where.matches("select, textarea, input:not([type=range]):not([type=radio])")) return;
  let key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" && key !== "y") return;
    if (key === "z" && event.shiftKey) key = "y";
  }
  if (key === "enter" && where.matches("button, summary")) return;
  if (!Object.hasOwn(actions, key)) return;
  event.preventDefault();
  actions[key]();
});

// A button that the mouse has pressed would take the Enter that saves.
document.addEventListener("click", (event) => event.detail && event.target.closest("button, summary")?.blur());
$("undo").addEventListener("click", actions.z);
$("redo").addEventListener("click", actions.y);
$("clear").addEventListener("click", () => shown && replace(new Uint8Array(mask.length)));
$("reset").addEventListener("click", () => shown && replace(fromRuns(shown.predicted_runs, mask.length), "prediction"));
$("size").addEventListener("input", () => resize(0));
$("opacity").addEventListener("input", () => { if (shown) { hidden = false; draw(); } });
$("out").addEventListener("click", actions["-"]);
$("in").addEventListener("click", actions["+"]);
$("fit").addEventListener("click", actions[0]);
$("patient").addEventListener("input", () => shown && changed());
$("previous").addEventListener("click", actions.p);
$("next").addEventListener("click", actions.n);
$("list").addEventListener("change", () => go(Number($("list").value)));
$("save").addEventListener("click", save);
new ResizeObserver(() => { if (shown && fitted) fit(); }).observe($("stage"));

async function begin() {
  try {
    await list();
  } catch (error) {
    tell(error, silent);
    $("who").hidden = false;
    $("work").hidden = true;
    return;
  }
  if (!images.length) {
    say("There is no image to correct yet: open one in the demo, and choose Correct this mask.");
    $("who").hidden = false;
    return;
  }
  localStorage.setItem("busi.reviewer", reviewer);
  sessionStorage.setItem("busi.reviewer", reviewer); // of this window: reloading it goes on
  $("who").hidden = true;
  $("work").hidden = false;
  const asked = Number(location.hash.slice(1)) - 1;
  await alone(() => open(asked in images ? asked : firstOpen([...images.keys()]) ?? 0));
}

$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  reviewer = $("name").value;
  say("");
  begin();
});

reviewer = localStorage.getItem("busi.reviewer") || "";
$("name").value = reviewer;
if (reviewer && sessionStorage.getItem("busi.reviewer") === reviewer) begin(); else $("who").hidden = false;
