// Draws the picture whose objects react to the pointer: an outline, a box, a label and a table row for each instance.
//
// This script runs once, when Gradio has put the component on the page. It shares its names with the other files of the
// stage (`ui.components.STAGE_SCRIPTS`). `props.scene` holds every instance of a photo. It changes with the photo or the
// mask threshold. `props.look` says which instances are in view and how they look. `props.value` holds what the visitor
// has hidden and which parts are drawn. Of these three, only `props.value` is sent back to the server.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const ROW_STEP = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
const SAME_OBJECT = 0.5; // two boxes with this overlap (IoU) show the same object, in a quick look and in the full answer

const find = (name) => element.querySelector(`.${name}`);
const root = find("objects");
const stage = find("stage");
const [photo, halos, outlines, spots, labels, tip] = ["photo", "halos", "outlines", "spots", "labels", "tip"].map(find);
const [hiddenList, details, card, table, announcer] = ["hidden-list", "details", "card", "rows", "announcer"].map(find);

/** The elements of each instance on the page, by the id of the instance. */
let parts = new Map();
let inView = []; // ids, highest score first
let selected = null;
/** The scene that is drawn now. */
let drawn = {};
/** The server's last full answer, and what the visitor had changed in it. A quick look is none. */
let full = { scene: {}, look: {}, edits: [], scale: null, past: [], future: [] };

// ---- what the server sends ----

const number = () => props.value?.number ?? 0;

/** Draws the scene that has come, if it belongs to the photo on the stage. */
function build() {
  remember();
  const { scene } = props;
  if (scene.instances && scene.photo_number !== number()) return;
  draw(scene);
}

/** Keeps the last full answer: it comes back if the next photo gets none. */
function remember() {
  const { scene, look } = props;
  if (scene.preview || look.preview || scene.photo_number !== look.photo_number) return;
  if (scene.token !== full.scene.token) dismiss(); // what was wrong before is over
  const isOnStage = scene.photo_number === number();
  if (isOnStage && scene.photo_number === full.scene.photo_number && scene.token !== full.scene.token) forgetIds();
  full = isOnStage ? { scene, look, edits: edits(), scale: scaleSet(), past, future } : { ...full, scene, look };
}

function draw(scene) {
  const before = selected === null ? null : parts.get(selected)?.instance;
  const samePhoto = drawn.photo_number === scene.photo_number;
  const sameIds = samePhoto && drawn.token === scene.token;
  drawn = scene;
  select(null);
  parts = new Map();
  for (const holder of [halos, outlines, spots, labels, table.tHead, table.tBodies[0]]) holder.replaceChildren();
  root.classList.toggle("preview", Boolean(scene.preview));
  if (scene.preview) leaveAdding();
  if (!scene.instances) {
    if (!root.classList.contains("busy")) clearStage();
    return show({});
  }
  settle(scene);
  showPhoto(scene);
  shape(scene.width / scene.height);
  for (const layer of [halos, outlines]) layer.setAttribute("viewBox", `0 0 ${scene.width} ${scene.height}`);
  table.tHead.append(headerRow(scene.headers));
  for (const instance of scene.instances) parts.set(instance.id, makePart(instance));
  appendBySize();
  showThumbnails();
  show(scene === full.scene ? full.look : props.look);
  const isAgain = (one) => (sameIds ? one.id === before.id : one.name === before.name && overlap(one.box, before.box) > SAME_OBJECT);
  const isNew = toSelect !== null;
  const again = toSelect ?? (before && samePhoto ? scene.instances.find(isAgain)?.id : null);
  toSelect = null;
  if (inView.includes(again)) (isNew ? focus : select)(again);
}

/** The smallest outlines lie on top, so that the pointer meets them first. */
function appendBySize() {
  const byArea = [...parts.values()].sort((a, b) => b.instance.area - a.instance.area);
  outlines.append(...byArea.map((part) => part.outline));
  halos.append(...byArea.map((part) => part.halo));
}

/** Shows which instances are in view, and how. A look for another photo than the one that is drawn shows nothing. */
function show(view = props.look) {
  const fits = view.photo_number === drawn.photo_number && Boolean(view.preview) === Boolean(drawn.preview);
  inView = (fits && view.ids ? view.ids : []).filter((id) => parts.has(id));
  const shown = new Set(inView);
  if (view.opacity !== undefined) root.style.setProperty("--opacity", view.opacity);
  for (const [id, part] of parts) {
    const color = part.instance.colors[view.color_by ?? "instance"]; // if there is no look, nothing is in view
    for (const piece of part.pieces) {
      piece.toggleAttribute("hidden", !shown.has(id));
      piece.style.setProperty("--color", color.fill);
      piece.style.setProperty("--ink", color.ink);
    }
  }
  inView.forEach((id, i) => {
    const { instance, spot } = parts.get(id);
    spot.setAttribute("aria-label", `${instance.name}, ${scoreWords(instance).replace("score ", "")}, ${i + 1} of ${inView.length}`);
  });
  if (!isFilm()) showRows();
  if (fits && view.reset && hidden().length) {
    props.value = { ...props.value, hidden: [] };
    forgetSteps();
    keepForReload();
  }
  if (fits) showHidden(view.hidden);
  if (selected !== null && !shown.has(selected)) select(null);
  placeLabels();
  root.dataset.shown = inView.length;
}

function showRows() {
  table.hidden = inView.length === 0;
  details.querySelector(".none").hidden = inView.length > 0;
  details.querySelector(".more-line").hidden = inView.length === 0;
  sortRows();
}

/** The share of two boxes that both cover (intersection over union). */
function overlap([a1, b1, a2, b2], [c1, d1, c2, d2]) {
  const both = Math.max(0, Math.min(a2, c2) - Math.max(a1, c1)) * Math.max(0, Math.min(b2, d2) - Math.max(b1, d1));
  return both / ((a2 - a1) * (b2 - b1) + (c2 - c1) * (d2 - d1) - both || 1);
}

/** Draws the parts that the visitor wants to see. The browser does this alone. */
function showParts() {
  const wanted = props.value?.show ?? [];
  for (const part of ["masks", "boxes", "labels"]) {
    root.classList.toggle(`no-${part}`, !wanted.includes(part));
    find("tools").querySelector(`[data-action="${part}"]`).setAttribute("aria-pressed", wanted.includes(part));
  }
  placeLabels();
}

function toggle(part) {
  const wanted = new Set(props.value?.show ?? []);
  if (!wanted.delete(part)) wanted.add(part);
  props.value = { ...props.value, show: [...wanted] };
  showParts();
  trigger("input");
}

function makePart(instance, row = addedRow(instance)) {
  const outline = document.createElementNS(SVG, "path");
  outline.setAttribute("d", instance.path);
  const halo = outline.cloneNode();
  const spot = make("li", { role: "option", tabindex: "0", "aria-selected": "false" });
  const [x1, y1, x2, y2] = instance.box; // shares of the picture's width and height
  Object.assign(spot.style, { left: percent(x1), top: percent(y1), width: percent(x2 - x1), height: percent(y2 - y1) });
  const label = make("span", {}, isFilm() ? titleOf(instance) : instance.name);
  label.classList.toggle("by-you", (instance.source ?? "model") !== "model");
  const pieces = [halo, outline, spot, label, row];
  for (const piece of pieces) piece.dataset.id = instance.id;
  spots.append(spot);
  labels.append(label);
  return { instance, halo, outline, spot, label, row, pieces };
}

function addedRow(instance) {
  const row = makeRow(instance);
  table.tBodies[0].append(row);
  return row;
}

// ---- pointing and selecting ----

function highlight(id) {
  root.classList.toggle("pointed", id !== null);
  for (const [other, part] of parts) for (const piece of part.pieces) piece.classList.toggle("active", other === id);
}

function select(id) {
  selected = id;
  highlight(id);
  for (const [other, part] of parts) {
    for (const piece of part.pieces) piece.classList.toggle("selected", other === id);
    part.spot.setAttribute("aria-selected", other === id);
  }
  card.hidden = id === null;
  if (id === null) return;
  const { instance, row } = parts.get(id);
  if (isFilm()) followed = id;
  else reveal(row);
  fillCard(instance);
}

/** Selects an instance and moves the keyboard focus to it. */
function focus(id) {
  parts.get(id).spot.focus({ preventScroll: true });
  select(id);
}

function deselect() {
  if (spots.contains(document.activeElement)) document.activeElement.blur();
  followed = null;
  select(null);
}

function fillCard(instance) {
  const scene = drawn;
  const [x1, y1, x2, y2] = instance.box;
  const frame = [x1 * scene.width, y1 * scene.height, (x2 - x1) * scene.width, (y2 - y1) * scene.height];
  const cutOut = card.querySelector(".cut-out");
  cutOut.setAttribute("viewBox", frame.join(" "));
  cutOut.setAttribute("aria-label", `Cut-out of ${titleOf(instance)}`);
  cutOut.querySelector("clipPath path").setAttribute("d", instance.path);
  const image = cutOut.querySelector("image");
  if (!isFilm()) image.setAttribute("href", photo.src);
  else if (film.paused) image.setAttribute("href", still());
  image.setAttribute("width", scene.width);
  image.setAttribute("height", scene.height);
  card.querySelector(".name").textContent = titleOf(instance);
  card.querySelector("[data-action=hide]").hidden = instance.id < 0;
  card.querySelector(".short").textContent = `${scoreWords(instance)} · ${instance.cells[4]} % of the ${isFilm() ? "frame" : "photo"}`;
  card.querySelector(".numbers").replaceChildren(
    ...instance.numbers.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]),
  );
}

const idOf = (target) => {
  const piece = target instanceof Element && target.closest("[data-id]");
  return piece ? Number(piece.dataset.id) : null;
};

outlines.addEventListener("pointermove", (event) => {
  const id = idOf(event.target);
  if (event.pointerType === "touch") return;
  highlight(id ?? selected);
  tip.hidden = id === null;
  if (id === null) return;
  const { instance } = parts.get(id);
  tip.textContent = `${titleOf(instance)}, ${scoreWords(instance)}, ${instance.cells[3]} px (${instance.cells[4]} %)`;
  const frame = stage.getBoundingClientRect();
  const x = Math.min(event.clientX - frame.left + 14, frame.width - tip.offsetWidth - 4);
  tip.style.transform = `translate(${Math.max(4, x)}px, ${event.clientY - frame.top + 18}px)`;
});
outlines.addEventListener("pointerleave", () => {
  tip.hidden = true;
  highlight(selected);
});
outlines.addEventListener("click", (event) => {
  const id = idOf(event.target);
  const nothing = selected === null && question.hidden;
  question.hidden = true;
  if (id !== null) focus(id);
  else if (nothing) offer(event);
  else deselect();
});
spots.addEventListener("focusin", (event) => select(idOf(event.target)));

// ---- hiding, undo and redo ----

const hidden = () => props.value?.hidden ?? [];
const edits = () => props.value?.edits ?? [];
const changes = () => ({ hidden: hidden(), edits: edits() });
let past = []; // what was hidden and changed before, step by step
let future = [];

function hide(id) {
  if (drawn.preview || reopens || id < 0) return; // the full answer has other ids; below 0 it is no track
  announcer.textContent = `${parts.get(id).instance.name} ${id} is hidden. Control Z brings it back.`;
  setHidden([...hidden(), id]);
  deselect();
}

function setHidden(ids) {
  stepTo({ hidden: ids, edits: edits() });
}

function setEdits(list) {
  stepTo({ hidden: hidden(), edits: list });
}

function stepTo(next) {
  past.push(changes());
  future = [];
  apply(next);
}

function undo() {
  if (!past.length || reopens) return;
  future.push(changes());
  apply(past.pop());
}

function redo() {
  if (!future.length || reopens) return;
  past.push(changes());
  apply(future.pop());
}

function apply(next) {
  const isEdited = next.edits !== edits();
  props.value = { ...props.value, ...next };
  leaveAdding();
  showSteps();
  keepForReload();
  if (isEdited) trigger("corrected");
  else trigger("input");
}

/** The photo on the stage was looked at again: its objects have other ids. */
function forgetIds() {
  leaveAdding();
  forgetSteps();
  props.value = { ...props.value, hidden: [], edits: [] };
}

function forgetSteps() {
  past = [];
  future = [];
  showSteps();
}

function showSteps() {
  find("undo").disabled = !past.length;
  find("redo").disabled = !future.length;
}

function showHidden(ids) {
  const known = (ids ?? []).filter((id) => nameOf(id));
  hiddenList.hidden = known.length === 0;
  hiddenList.querySelector("ul").replaceChildren(
    ...known.map((id) => {
      const name = nameOf(id);
      const item = make("li", {});
      item.append(make("button", { type: "button", "data-back": id, "aria-label": `Bring back ${name} ${id}` }, `${name} ${id} ↩`));
      return item;
    }),
  );
}

/** The name of an instance or a track, also of one that is not in this frame. */
function nameOf(id) {
  if (parts.has(id)) return parts.get(id).instance.name;
  if (!isFilm()) return undefined;
  for (const [, instances] of found().frames) for (const [other, kind] of instances) if (other === id) return found().names[kind];
  return undefined;
}

// ---- small things ----

/** An instance's name and id. Below 0 the id stands for no track: the object was seen in one frame of a clip. */
function titleOf({ name, id }) {
  return id > 0 ? `${name} ${id}` : name;
}

/** A score with two digits, cut and not rounded: only a score of 1 is "1.00". */
function shortScore({ score }) {
  return (Math.floor(score * 100 + 1e-6) / 100).toFixed(2);
}

/** Shows the photo of a scene: as the visitor's browser has it, if it can show it, or as the server decoded it. */
function showPhoto(scene) {
  if (isFilm()) return;
  const own = sources.get(scene.photo_number)?.src;
  if (own && photo.getAttribute("src") !== own) photo.src = own;
  const ratio = photo.naturalWidth / photo.naturalHeight;
  const same = own && (!photo.complete || Math.abs(ratio * (scene.height / scene.width) - 1) < 0.01);
  if (!same && photo.getAttribute("src") !== scene.photo.url) photo.src = scene.photo.url;
}

function shape(ratio) {
  stage.style.aspectRatio = ratio;
  stage.style.setProperty("--ratio", ratio);
}

photo.addEventListener("load", () => {
  if (root.classList.contains("busy")) shape(photo.naturalWidth / photo.naturalHeight);
  else if (drawn.photo) showPhoto(drawn); // its size is known only now
  showThumbnails();
});
photo.addEventListener("error", () => {
  if (drawn.photo && photo.getAttribute("src") !== drawn.photo.url) photo.src = drawn.photo.url;
});

function make(tag, attributes, text) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function percent(share) {
  return `${100 * share}%`;
}
