// Draws the summary: a chip for each kind, what was found in words, and a checkbox for each kind and group of kinds.
//
// `props.told` holds the kinds of the photo and the words. `props.value`, {unticked: [name, …]}, holds the kinds that
// the visitor does not want to see. A kind stays there even while the photo has no object of this kind.
"use strict";

const [chips, frame, list, words, how, actions] = ["chips", "kinds", "groups", "found", "how", "actions"].map(
  (name) => element.querySelector(`.${name}`),
);
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
  chips.replaceChildren(...kinds().sort((a, b) => b.count - a.count).map(makeChip));
  list.replaceChildren(...groups().map(makeGroup));
  tick();
  if (focused) element.querySelector(`[data-key="${focused}"]`)?.focus();
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
  chip.append(dots, text);
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
  for (const chip of chips.children) {
    chip.classList.toggle("away", away.has(chip.names[0]));
    chip.setAttribute("aria-pressed", isOnly(chip.names[0]));
  }
}

/** Whether this kind is shown, and at least one other kind of the photo is not. */
function isOnly(name) {
  const away = unticked();
  const shown = offered().filter((other) => !away.has(other));
  return shown.length === 1 && shown[0] === name && offered().length > 1;
}

function set(away) {
  props.value = { unticked: [...away].sort() };
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
  if (action === "reset") return trigger("reset");
  if (button.classList.contains("chip") && isOnly(button.names[0])) return showOnly(offered());
  showOnly(button.names ?? (action === "all" ? offered() : []));
});

// The names of the properties are not quoted, because Gradio takes every quoted name in this script for an event. A
// property of this name would then stand for the event.
for (const [property, follow] of Object.entries({ told: build, value: tick })) watch(property, follow);
build();
