// Draws the picture whose objects react to the pointer: an outline, a box, a label and a table row for each instance.
//
// This script runs once, when Gradio has put the component on the page. `props.scene` holds every instance of a
// photo. It changes with the photo or the mask threshold. `props.look` says which instances are in view and how they
// look. `props.value`, {hidden: [id, …]}, holds the instances that the visitor has hidden. Of these three, only
// `props.value` is sent back to the server.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const ROW_STEP = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -Infinity, End: Infinity };

const find = (name) => element.querySelector(`.${name}`);
const root = find("objects");
const stage = find("stage");
const [photo, halos, outlines, spots, labels, tip] = ["photo", "halos", "outlines", "spots", "labels", "tip"].map(find);
const [hiddenList, details, card, table, announcer] = ["hidden-list", "details", "card", "rows", "announcer"].map(find);

/** The elements of each instance on the page, by the id of the instance. */
let parts = new Map();
let inView = []; // ids, highest score first
let selected = null;
let order = { column: -1, descending: false }; // -1: in the order in which the model gave them

// ---- what the server sends ----

function build() {
  const scene = props.scene;
  select(null);
  parts = new Map();
  for (const holder of [halos, outlines, spots, labels, table.tHead, table.tBodies[0]]) holder.replaceChildren();
  if (!scene.instances) {
    if (!root.classList.contains("busy")) root.classList.add("empty");
    return;
  }
  settle();
  root.classList.remove("empty");
  showPhoto();
  shape(scene.width / scene.height);
  for (const layer of [halos, outlines]) layer.setAttribute("viewBox", `0 0 ${scene.width} ${scene.height}`);
  table.tHead.append(headerRow(scene.headers));
  for (const instance of scene.instances) parts.set(instance.id, makePart(instance));
  // The smallest outlines lie on top, so that the pointer meets them first.
  const byArea = [...parts.values()].sort((a, b) => b.instance.area - a.instance.area);
  outlines.append(...byArea.map((part) => part.outline));
  halos.append(...byArea.map((part) => part.halo));
}

function show() {
  const view = props.look;
  inView = (view.ids ?? []).filter((id) => parts.has(id));
  const shown = new Set(inView);
  root.style.setProperty("--opacity", view.opacity);
  for (const part of ["masks", "boxes", "labels"]) root.classList.toggle(`no-${part}`, !view[part]);
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
    spot.setAttribute("aria-label", `${instance.name}, ${shortScore(instance)}, ${i + 1} of ${inView.length}`);
  });
  table.hidden = inView.length === 0;
  sortRows();
  showHidden(view.hidden);
  if (selected !== null && !shown.has(selected)) select(null);
  placeLabels();
  root.dataset.shown = inView.length;
}

function makePart(instance) {
  const outline = document.createElementNS(SVG, "path");
  outline.setAttribute("d", instance.path);
  const halo = outline.cloneNode();
  const spot = make("li", { role: "option", tabindex: "0", "aria-selected": "false" });
  const [x1, y1, x2, y2] = instance.box; // shares of the picture's width and height
  Object.assign(spot.style, { left: percent(x1), top: percent(y1), width: percent(x2 - x1), height: percent(y2 - y1) });
  const label = make("span", {}, instance.name);
  const row = make("tr", {});
  row.append(...instance.cells.map((text) => make("td", {}, text)));
  const pieces = [halo, outline, spot, label, row];
  for (const piece of pieces) piece.dataset.id = instance.id;
  spots.append(spot);
  labels.append(label);
  table.tBodies[0].append(row);
  return { instance, halo, outline, spot, label, row, pieces };
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
  const box = row.parentElement.parentElement.parentElement; // the table's scrolling frame
  const above = row.offsetTop - table.tHead.offsetHeight;
  if (above < box.scrollTop) box.scrollTop = above;
  else if (row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = row.offsetTop + row.offsetHeight - box.clientHeight;
  fillCard(instance);
}

/** Selects an instance and moves the keyboard focus to it. */
function focus(id) {
  parts.get(id).spot.focus({ preventScroll: true });
  select(id);
}

function deselect() {
  if (spots.contains(document.activeElement)) document.activeElement.blur();
  select(null);
}

function fillCard(instance) {
  const { scene } = props;
  const [x1, y1, x2, y2] = instance.box;
  const frame = [x1 * scene.width, y1 * scene.height, (x2 - x1) * scene.width, (y2 - y1) * scene.height];
  const cutOut = card.querySelector(".cut-out");
  cutOut.setAttribute("viewBox", frame.join(" "));
  cutOut.setAttribute("aria-label", `Cut-out of ${instance.name} ${instance.id}`);
  cutOut.querySelector("clipPath path").setAttribute("d", instance.path);
  const image = cutOut.querySelector("image");
  image.setAttribute("href", photo.src);
  image.setAttribute("width", scene.width);
  image.setAttribute("height", scene.height);
  card.querySelector(".name").textContent = `${instance.name} ${instance.id}`;
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
  tip.textContent = `${instance.name} ${id}, score ${shortScore(instance)}, ${instance.cells[3]} px (${instance.cells[4]} %)`;
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
  if (id === null) deselect();
  else focus(id);
});
spots.addEventListener("focusin", (event) => select(idOf(event.target)));
table.addEventListener("pointerover", (event) => highlight(idOf(event.target) ?? selected));
table.addEventListener("pointerleave", () => highlight(selected));

const onKey = (event) => {
  if (event.target.closest("button")) return;
  tip.hidden = true;
  if (event.key === "Escape") deselect();
  else if ((event.key === "Delete" || event.key === "Backspace") && selected !== null) hide(selected);
  else if (event.key === "z" && (event.ctrlKey || event.metaKey)) bringBack(hidden().at(-1));
  else if ((event.key === "Enter" || event.key === " ") && idOf(event.target) !== null) select(idOf(event.target));
  else if (event.key === "+" || event.key === "=") zoomBy(1.5);
  else if (event.key === "-") zoomBy(1 / 1.5);
  else if (event.key === "0") fit();
  else if (event.key in ROW_STEP && inView.length && spots.contains(event.target)) {
    const to = inView.indexOf(selected ?? idOf(event.target)) + ROW_STEP[event.key];
    focus(inView[Math.max(0, Math.min(to, inView.length - 1))]);
  } else return;
  event.preventDefault();
};
for (const part of [element, details]) part.addEventListener("keydown", onKey);

// ---- hiding ----

const hidden = () => props.value?.hidden ?? [];

function hide(id) {
  const next = inView[inView.indexOf(id) + 1] ?? inView[inView.indexOf(id) - 1];
  announcer.textContent = `${parts.get(id).instance.name} ${id} is hidden. Control Z brings it back.`;
  setHidden([...hidden(), id]);
  if (spots.contains(document.activeElement) && next !== undefined) focus(next);
  else deselect();
}

function bringBack(...ids) {
  setHidden(hidden().filter((id) => !ids.includes(id)));
}

function setHidden(ids) {
  props.value = { ...props.value, hidden: ids };
  trigger("input");
}

function showHidden(ids) {
  const known = (ids ?? []).filter((id) => parts.has(id));
  hiddenList.hidden = known.length === 0;
  hiddenList.querySelector("ul").replaceChildren(
    ...known.map((id) => {
      const { name } = parts.get(id).instance;
      const item = make("li", {});
      item.append(make("button", { type: "button", "data-back": id, "aria-label": `Bring back ${name} ${id}` }, `${name} ${id} ↩`));
      return item;
    }),
  );
}

// ---- the table ----

function headerRow(headers) {
  const row = make("tr", {});
  row.append(
    ...headers.map((header, column) => {
      const cell = make("th", { scope: "col" });
      cell.append(make("button", { type: "button", "data-column": column, title: "Sort" }, header));
      return cell;
    }),
  );
  return row;
}

function sortRows() {
  const { column, descending } = order;
  const sign = descending ? -1 : 1;
  const compare = (a, b) => (a < b ? -sign : a > b ? sign : 0);
  const all = [...parts.values()];
  if (column >= 0) all.sort((a, b) => compare(a.instance.row[column], b.instance.row[column]));
  table.tBodies[0].append(...all.map((part) => part.row));
  table.querySelectorAll("th").forEach((cell, i) => {
    if (i === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
}

// ---- labels ----
//
// A label is the name. Large and certain objects get theirs first. A label stands at its object where it covers no
// other label. Where no such place is left, or the object is smaller than its label, there is none: the tip, the table
// and the card name the object.

function placeLabels() {
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  if (!width) return; // the picture is out of sight
  const taken = [];
  for (const part of inView.map((id) => parts.get(id)).sort((a, b) => weight(b) - weight(a))) {
    part.size ??= [part.label.offsetWidth, part.label.offsetHeight];
    const box = onStage(part.instance.box, width, height);
    const place = freePlace(box, part.size, width, height, taken);
    part.label.classList.toggle("without-place", !place);
    const [x, y] = place ?? [Math.max(0, Math.min(box[0], width - part.size[0])), Math.max(0, box[1])];
    part.label.style.transform = `translate(${x}px, ${y}px)`;
    if (place) taken.push([x, y, x + part.size[0], y + part.size[1]]);
  }
}

/** How much an object deserves a label: the square root of its area, times its score. */
const weight = ({ instance: { area, score } }) => Math.sqrt(area) * score;

/** A box, given in shares of the picture, in pixels of the stage. */
function onStage([left, top, right, bottom], width, height) {
  const { scale, x, y } = zoom;
  return [left * width * scale + x, top * height * scale + y, right * width * scale + x, bottom * height * scale + y];
}

/** The first place for a label inside its box, or at the box's edge, that covers no other label. Null if none is free. */
function freePlace([left, top, right, bottom], [w, h], width, height, taken) {
  if (right - left < w * 0.6 || bottom - top < h * 0.9 || right < 0 || bottom < 0 || left > width || top > height) return null;
  const x = Math.max(0, Math.min(left + 4, width - w));
  const middle = Math.max(0, Math.min((left + right - w) / 2, width - w));
  const places = [[x, top + 4], [middle, top + 4], [middle, (top + bottom - h) / 2], [x, bottom - h - 4], [middle, bottom - h - 4]];
  for (const [px, py] of places) {
    const y = Math.max(0, Math.min(py, height - h));
    const touches = px < right && px + w > left && y < bottom && y + h > top;
    if (touches && !taken.some(([a, b, c, d]) => px < c + 2 && px + w > a - 2 && y < d + 2 && y + h > b - 2)) return [px, y];
  }
  return null;
}

new ResizeObserver(placeLabels).observe(stage);

// ---- buttons ----

const onClick = (event) => {
  const button = event.target.closest("button");
  if (!button) {
    if (table.tBodies[0].contains(event.target)) focus(idOf(event.target));
    return;
  }
  const { action, back, column } = button.dataset;
  if (action === "hide") hide(selected);
  if (action === "close") deselect();
  if (action === "download") trigger("cut_out", { id: selected });
  if (action === "all-back") bringBack(...hidden());
  if (action === "choose") fileInput.click();
  if (action === "clear") ask(null);
  if (action === "paste") paste();
  if (action === "camera") openCamera();
  if (action === "close-camera") closeCamera();
  if (action === "shoot") shoot();
  if (action === "dismiss") dismiss();
  if (action === "zoom-in") zoomBy(1.5);
  if (action === "zoom-out") zoomBy(1 / 1.5);
  if (action === "fit") fit();
  if (button.dataset.example) example(button.dataset.example);
  if (action === "full-screen") document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen();
  if (back) bringBack(Number(back));
  if (column) {
    order = { column: Number(column), descending: order.column === Number(column) && !order.descending };
    sortRows();
  }
};
for (const part of [element, details]) part.addEventListener("click", onClick); // the table is moved away later

/** A score with two digits, cut and not rounded: only a score of 1 is "1.00". */
function shortScore({ score }) {
  return (Math.floor(score * 100 + 1e-6) / 100).toFixed(2);
}

/** Shows the photo of the scene: as the visitor's browser has it, if it can show it, or as the server decoded it. */
function showPhoto() {
  const { scene } = props;
  const own = photo.getAttribute("src");
  const ratio = photo.naturalWidth / photo.naturalHeight;
  const same = own?.startsWith("blob:") && photo.complete && Math.abs(ratio * (scene.height / scene.width) - 1) < 0.01;
  if (!same) photo.src = scene.photo.url;
}

function shape(ratio) {
  stage.style.aspectRatio = ratio;
  stage.style.setProperty("--ratio", ratio);
}

photo.addEventListener("load", () => {
  if (root.classList.contains("busy")) shape(photo.naturalWidth / photo.naturalHeight);
});

/** The photo that was sent is the one on the stage now. */
function settle() {
  stopWaiting();
  before = null;
}

function make(tag, attributes, text) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function percent(share) {
  return `${100 * share}%`;
}

function rebuild() {
  build();
  show(); // the new elements need the look, even if it has not changed
}

