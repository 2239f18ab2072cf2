// Draws the class filter: a checkbox for each kind of object, and one for each group of two or more kinds.
//
// `props.groups` holds the kinds that can be ticked. `props.value`, {unticked: [name, …]}, holds the kinds that the
// visitor does not want to see. A kind stays there even while the photo has no object of this kind.
"use strict";

const frame = element.querySelector(".kinds");
const list = element.querySelector(".groups");
const unticked = () => new Set(props.value?.unticked ?? []);
const offered = () => (props.groups ?? []).flatMap((group) => group.kinds.map((kind) => kind.name));

function build() {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  frame.hidden = offered().length === 0;
  list.replaceChildren(...(props.groups ?? []).map(makeGroup));
  tick();
  if (focused) list.querySelector(`[data-key="${focused}"]`)?.focus();
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
}

function set(away) {
  props.value = { unticked: [...away].sort() };
  tick();
  trigger("input");
}

list.addEventListener("change", ({ target }) => {
  const away = unticked();
  for (const name of target.names) target.checked ? away.delete(name) : away.add(name);
  set(away);
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  // Kinds that are not offered now stay as they were.
  const away = unticked();
  const wanted = button.names ?? (button.dataset.action === "all" ? offered() : []);
  for (const name of offered()) wanted.includes(name) ? away.delete(name) : away.add(name);
  set(away);
});

// The names of the properties are not quoted, because Gradio takes every quoted name in this script for an event. A
// property of this name would then stand for the event.
for (const [property, follow] of Object.entries({ groups: build, value: tick })) watch(property, follow);
build();
