// Draws the summary: a chip for each kind, what was found in words, and a checkbox for each kind and group of kinds.
//
// `props.told` holds the kinds of the photo and the words. `props.value`, {unticked: [name, …]}, holds the kinds that
// the visitor does not want to see, and {thresholds: {name: score}} those that have a score threshold of their own. A
// kind stays there even while the photo has no object of this kind.
"use strict";

const [chips, frame, list, words, how, actions] = ["chips", "kinds", "groups", "found", "how", "actions"].map(
  (name) => element.querySelector(`.${name}`),
);
const own = element.querySelector(".own");
const [range, output] = [own.querySelector("input"), own.querySelector("output")];
const thresholds = () => props.value?.thresholds ?? {};
const unticked = () => new Set(props.value?.unticked ?? []);
const groups = () => props.told?.groups ?? [];
const kinds = () => groups().flatMap((group) => group.kinds);
const offered = () => kinds().map((kind) => kind.name);

function build() {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const { found, how: manner, resettable, plain } = props.told ?? {};
  words.textContent = found ?? "Drop a photo, take one with the camera, paste one, or click an example.";
  words.classList.toggle("unseen", Boolean(plain)); // the chips say the same, but not to a screen reader
  how.textContent = manner ?? "";
  actions.hidden = !resettable;
  frame.hidden = offered().length === 0;
  chips.replaceChildren(...kinds().sort((a, b) => b.count - a.count).map(makeHolder));
  if (own.kind !== undefined && !offered().includes(own.kind)) closeOwn();
  list.replaceChildren(...groups().map(makeGroup));
  tick();
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** Makes a chip, and beside it a button for the kind's own score threshold. */
function makeHolder(kind) {
  const holder = document.createElement("span");
  holder.className = "holder";
  const menu = document.createElement("button");
  menu.type = "button";
  menu.className = "menu";
  menu.dataset.key = `menu ${kind.name}`;
  menu.dataset.kind = kind.name;
  menu.textContent = "\u25be";
  holder.append(makeChip(kind), menu);
  return holder;
}

/** Shows the score threshold of one kind below the chips. */
function openOwn(name) {
  own.kind = name;
  own.hidden = false;
  own.setAttribute("aria-label", `Score threshold of ${name}`);
  own.querySelector(".own-name").textContent = `How sure for ${name}?`;
  tick();
  range.focus();
}

function closeOwn() {
  const menu = [...chips.querySelectorAll(".menu")].find((one) => one.dataset.kind === own.kind);
  const focused = own.contains(document.activeElement);
  own.kind = undefined;
  own.hidden = true;
  tick();
  if (focused) menu?.focus();
}

/** Gives one kind a score threshold of its own, or takes it away (undefined). */
function setOwn(name, score) {
  const all = { ...thresholds(), [name]: score };
  if (score === undefined) delete all[name];
  props.value = { ...props.value, thresholds: all };
  tick();
  trigger("input");
}

/** Makes a button that shows only one kind, or all kinds again. Its dots have the colours of the objects. */
function makeChip(kind) {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.className = "chip";
  chip.dataset.key = `chip ${kind.name}`;
  chip.names = [kind.name];
  chip.title = `Show only ${kind.name}`;
  const dots = document.createElement("span");
  dots.className = "dots";
  dots.append(...(kind.dots ?? []).map((color) => {
    const dot = document.createElement("i");
    dot.style.background = color;
    return dot;
  }));
  const text = document.createElement("span");
  text.textContent = kind.words;
  const least = document.createElement("span");
  least.className = "least";
  chip.append(dots, text, least);
  return chip;
}

function makeGroup(group) {
  const row = document.createElement("div");
  row.className = "group";
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", group.name);
  if (group.kinds.length > 1) {
    const total = group.kinds.reduce((sum, kind) => sum + kind.count, 0);
    row.append(makeBox(`${group.name} (${total})`, `group ${group.name}`, group.kinds.map((kind) => kind.name), "all"));
  }
  for (const kind of group.kinds) row.append(makeBox(`${kind.name} (${kind.count})`, kind.name, [kind.name], "one"));
  return row;
}

/** Makes a checkbox for one or more kinds, and a button that unticks all other kinds. */
function makeBox(text, key, names, className) {
  const holder = document.createElement("span");
  holder.className = className;
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.dataset.key = key;
  box.names = names;
  label.append(box, ` ${text}`);
  const only = document.createElement("button");
  only.type = "button";
  only.textContent = "only";
  only.dataset.key = `only ${key}`;
  only.names = names;
  only.setAttribute("aria-label", `Show only ${text.replace(/ \(\d+\)$/, "")}`);
  holder.append(label, only);
  return holder;
}

function tick() {
  const away = unticked();
  for (const box of list.querySelectorAll("input")) {
    const ticked = box.names.filter((name) => !away.has(name)).length;
    box.checked = ticked === box.names.length;
    box.indeterminate = ticked > 0 && ticked < box.names.length;
  }
  for (const chip of chips.querySelectorAll(".chip")) {
    chip.classList.toggle("away", away.has(chip.names[0]));
    chip.setAttribute("aria-pressed", isOnly(chip.names[0]));
    const score = thresholds()[chip.names[0]];
    chip.querySelector(".least").textContent = score === undefined ? "" : `\u2265 ${score.toFixed(2)}`;
  }
  for (const menu of chips.querySelectorAll(".menu")) {
    const score = thresholds()[menu.dataset.kind];
    menu.setAttribute("aria-expanded", own.kind === menu.dataset.kind);
    menu.setAttribute("aria-label", `Score threshold of ${menu.dataset.kind}: ${score === undefined ? "as for all" : score.toFixed(2)}`);
  }
  if (own.kind === undefined) return;
  const score = thresholds()[own.kind];
  range.value = score ?? props.told?.threshold ?? 0.5;
  output.textContent = Number(range.value).toFixed(2);
  own.querySelector("[data-action=own-reset]").disabled = score === undefined;
}

/** Whether this kind is shown, and at least one other kind of the photo is not. */
function isOnly(name) {
  const away = unticked();
  const shown = offered().filter((other) => !away.has(other));
  return shown.length === 1 && shown[0] === name && offered().length > 1;
}

function set(away) {
  props.value = { ...props.value, unticked: [...away].sort() };
  tick();
  trigger("input");
}

/** Shows only these kinds of the photo. Kinds that the photo does not have stay as they were. */
function showOnly(names) {
  const away = unticked();
  for (const name of offered()) {
    if (names.includes(name)) away.delete(name);
    else away.add(name);
  }
  set(away);
}

list.addEventListener("change", ({ target }) => {
  const away = unticked();
  for (const name of target.names) {
    if (target.checked) away.delete(name);
    else away.add(name);
  }
  set(away);
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { action } = button.dataset;
  if (button.classList.contains("menu")) return own.kind === button.dataset.kind ? closeOwn() : openOwn(button.dataset.kind);
  if (action === "own-close") return closeOwn();
  if (action === "own-reset") return setOwn(own.kind, undefined);
  if (action === "reset") return trigger("reset");
  if (button.classList.contains("chip") && isOnly(button.names[0])) return showOnly(offered());
  showOnly(button.names ?? (action === "all" ? offered() : []));
});

range.addEventListener("input", (event) => {
  event.stopPropagation();
  setOwn(own.kind, Number(range.value));
});
own.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.stopPropagation();
  closeOwn();
});

// The names of the properties are not quoted, because Gradio takes every quoted name in this script for an event. A
// property of this name would then stand for the event.
for (const [property, follow] of Object.entries({ told: build, value: tick })) watch(property, follow);
build();
