// Lets a visitor correct the answer: draw a box around an object, move the corners of a box, ask what is at a place, and
// give another name.
//
// A box or a place goes to the server (the event "ask"), which answers with `props.ideas`: the network's best names and a
// mask for each. What the visitor accepts becomes one entry of `props.value.edits`. So undo is a step back in a list.

const [draft, sketch, question, panel] = ["draft", "sketch", "ask-here", "idea"].map(find);
const nameField = panel.querySelector("input");
const LEAST_SIDE = 8; // pixels of the screen; what is smaller was a click
const KEY_STEP = 0.02; // share of the picture's side
const LONGEST_NAME = 100;

/** Whether the visitor is drawing boxes around new objects. */
let adding = false;
/** The box that is drawn or changed: {box: shares of the picture's sides, id: the object's own id, or null}. */
let drafted = null;
/** The place that was clicked, as shares. */
let clicked = null;
/** What is in the panel: {do, id, box, names: [{name, score, mask, path}], chosen}. */
let idea = null;
/** What the pointer drags: {fixed: the corner that stays, pointer, isNew, moved}. */
let drag = null;
let asked = 0; // the number of the last question
let toSelect = null; // the id of the object to select as soon as it is drawn

const canCorrect = () => !isFilm() && Boolean(drawn.instances) && !drawn.preview && !reopens && !root.classList.contains("busy");

// ---- a box ----

function toggleAdding() {
  if (adding) return leaveAdding();
  if (!canCorrect()) return;
  stopMeasuring();
  leaveIdea();
  deselect();
  adding = true;
  root.classList.add("adding");
  find("tools").querySelector("[data-action=add]").setAttribute("aria-pressed", "true");
  tellPanel("Draw a box around an object. Or press Enter for a box that the arrow keys move.");
  canvas.focus({ preventScroll: true }); // so that the next Enter and Escape are for the box
  trigger("prepare", { number: number() });
}

function leaveAdding() {
  adding = false;
  root.classList.remove("adding");
  find("tools").querySelector("[data-action=add]").setAttribute("aria-pressed", "false");
  leaveIdea();
}

/** Gives up what the visitor was changing, and goes back to the object that was meant. */
function cancel() {
  const about = drafted?.id ?? idea?.id ?? null;
  leaveAdding();
  if (inView.includes(about)) focus(about);
}

/** Takes away what is drafted and asked. */
function leaveIdea() {
  asked += 1;
  if (panel.contains(document.activeElement)) find("tools").querySelector("[data-action=add]").focus({ preventScroll: true });
  drag = null;
  drafted = clicked = idea = null;
  draft.hidden = question.hidden = panel.hidden = true;
  sketch.replaceChildren();
  root.classList.remove("drafting");
}

/** Shows the box of the selected object with corners to drag. */
function reshape() {
  if (selected === null || !canCorrect()) return;
  const { id, box } = parts.get(selected).instance;
  stopMeasuring();
  leaveAdding();
  deselect();
  drafted = { box: [...box], id };
  showDraft();
  draft.focus({ preventScroll: true });
  tellPanel(`Drag the corners of the box around ${titleOf(parts.get(id).instance)}.`);
  trigger("prepare", { number: number() });
}

function showDraft() {
  const [x1, y1, x2, y2] = drafted.box;
  Object.assign(draft.style, { left: percent(x1), top: percent(y1), width: percent(x2 - x1), height: percent(y2 - y1) });
  draft.hidden = false;
  root.classList.add("drafting");
  sketch.replaceChildren();
}

/** The place of the pointer as shares of the picture. */
function shareOf(event) {
  const frame = canvas.getBoundingClientRect();
  return [clamp((event.clientX - frame.left) / frame.width, 0, 1), clamp((event.clientY - frame.top) / frame.height, 0, 1)];
}

const between = ([x1, y1], [x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];

canvas.addEventListener("pointerdown", (event) => {
  if (drag) { // a second finger: it is a pinch, and no box
    drag = null;
    return;
  }
  if (event.button !== 0) return;
  const corner = event.target.closest(".draft [data-corner]")?.dataset.corner;
  if (corner) {
    const [x1, y1, x2, y2] = drafted.box;
    drag = { fixed: [corner.includes("w") ? x2 : x1, corner.includes("n") ? y2 : y1], pointer: event.pointerId };
  } else if (adding) drag = { fixed: shareOf(event), pointer: event.pointerId, isNew: true };
  else return;
  event.stopPropagation(); // it is no pan
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
}, { capture: true });
canvas.addEventListener("pointermove", (event) => {
  if (drag?.pointer !== event.pointerId) return;
  event.stopPropagation();
  const box = between(drag.fixed, shareOf(event));
  if (drag.isNew && !isLargeEnough(box)) return;
  drafted = { box, id: drag.isNew ? null : drafted.id };
  drag.moved = true;
  showDraft();
}, { capture: true });
for (const end of ["pointerup", "pointercancel"])
  canvas.addEventListener(end, (event) => {
    if (drag?.pointer !== event.pointerId) return;
    const was = drag;
    drag = null;
    event.stopPropagation();
    fingers.clear();
    if (was.moved && end === "pointerup") askBox();
    else if (was.isNew && end === "pointerup") askPlace(was.fixed);
  }, { capture: true });
canvas.addEventListener("click", (event) => {
  if (adding || event.target.closest(".draft")) event.stopPropagation();
}, { capture: true });

function isLargeEnough([x1, y1, x2, y2]) {
  const frame = canvas.getBoundingClientRect();
  return (x2 - x1) * frame.width >= LEAST_SIDE && (y2 - y1) * frame.height >= LEAST_SIDE;
}

draft.addEventListener("keydown", (event) => {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (event.key === "Enter") askBox();
  else if (dx || dy) {
    let [x1, y1, x2, y2] = drafted.box;
    const [x, y] = [dx * KEY_STEP, dy * KEY_STEP];
    if (event.shiftKey) [x2, y2] = [clamp(x2 + x, x1 + KEY_STEP, 1), clamp(y2 + y, y1 + KEY_STEP, 1)];
    else {
      const [right, down] = [clamp(x, -x1, 1 - x2), clamp(y, -y1, 1 - y2)];
      [x1, y1, x2, y2] = [x1 + right, y1 + down, x2 + right, y2 + down];
    }
    drafted = { ...drafted, box: [x1, y1, x2, y2] };
    showDraft();
  } else return;
  event.preventDefault();
  event.stopPropagation();
});

/** Puts a box into the middle, for those who draw with the keyboard. */
function draftInTheMiddle() {
  drafted = { box: [0.35, 0.35, 0.65, 0.65], id: null };
  showDraft();
  draft.focus({ preventScroll: true });
  tellPanel("Arrow keys move the box, Shift and arrow keys change its size, Enter asks the model.");
}

// ---- asking ----

const inPixels = (shares) => shares.map((share, i) => share * drawn.photo_size[i % 2]);

function askBox() {
  const { box, id } = drafted;
  ask({ box: inPixels(box), name: id === null ? null : parts.get(id)?.instance.name });
}

function askPlace(at) {
  question.hidden = true;
  ask({ place: inPixels(at) });
}

function ask(about) {
  asked += 1;
  idea = null;
  tellPanel("The model looks at it …");
  trigger("ask", { ...about, number: number(), question: asked });
}

/** Offers to ask what is at a place where nothing is outlined. */
function offer(event) {
  if (!canCorrect() || adding || drafted) return;
  clicked = shareOf(event);
  Object.assign(question.style, { left: percent(clicked[0]), top: percent(clicked[1]) });
  question.hidden = false;
  question.focus({ preventScroll: true });
}

/** Follows the answer to the last question. */
function hearIdeas() {
  const { question: about, number: of, error, id: faint, box, names } = props.ideas ?? {};
  if (about !== asked || of !== number()) return;
  if (error) return tellPanel(error);
  const [width, height] = drawn.photo_size;
  const id = drafted?.id ?? null;
  drafted = { box: box.map((side, i) => side / (i % 2 ? height : width)), id };
  showDraft();
  idea = { do: id === null ? "add" : "reshape", id, box, names, chosen: names[0] };
  if (faint !== undefined) idea = { ...idea, do: "rename", id: faint }; // it is there, but the threshold hides it
  fillPanel();
}

// ---- the panel ----

function tellPanel(words) {
  panel.hidden = false;
  panel.classList.add("telling");
  panel.querySelector(".idea-words").textContent = words;
  panel.scrollIntoView({ block: "nearest" });
}

function fillPanel() {
  const isChange = idea.do === "reshape";
  const seen = isChange ? "The new outline is drawn with dashes." : `The model takes this for: ${idea.chosen.name} (score ${shortScore(idea.chosen)}).`;
  tellPanel(idea.chosen.outlined === false ? `${seen} It sees no outline, so the whole box counts.` : seen);
  panel.classList.remove("telling");
  panel.querySelector("button[type=submit]").textContent = idea.do === "reshape" ? "Use this box" : idea.do === "add" || idea.chosen.path ? "Add" : "Rename";
  panel.querySelector("label").hidden = isChange;
  panel.querySelector(".idea-names").replaceChildren(
    ...(isChange ? [] : idea.names).map((one) => make("button", { type: "button", "data-name": one.name }, one.name)),
  );
  nameField.value = isChange ? "" : idea.chosen.name;
  panel.querySelector("datalist").replaceChildren(...drawn.names.map((name) => make("option", { value: name })));
  showSketch();
  (isChange ? panel.querySelector("button[type=submit]") : nameField).focus({ preventScroll: true });
  if (!isChange) nameField.select();
  panel.scrollIntoView({ block: "nearest" });
}

/** Draws the outline of the name that is chosen. A name that was typed gets the best one's. */
function showSketch() {
  sketch.replaceChildren();
  if (!idea?.chosen?.path) return;
  sketch.setAttribute("viewBox", `0 0 ${drawn.width} ${drawn.height}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", idea.chosen.path);
  sketch.append(path);
}

/** Asks for another name of the selected object. */
function rename() {
  if (selected === null || !canCorrect()) return;
  const { id, name } = parts.get(selected).instance;
  stopMeasuring();
  leaveAdding();
  deselect();
  idea = { do: "rename", id, names: [], chosen: { name } };
  fillPanel();
  panel.querySelector(".idea-words").textContent = `Another name for ${name} ${id}:`;
}

nameField.addEventListener("input", () => {
  if (!idea || idea.do === "rename") return;
  idea.chosen = idea.names.find((one) => one.name === nameField.value.trim()) ?? idea.names[0];
  showSketch();
});
panel.addEventListener("click", (event) => {
  const { name } = event.target.closest("[data-name]")?.dataset ?? {};
  if (!name) return;
  nameField.value = name;
  nameField.dispatchEvent(new Event("input"));
  nameField.focus();
});
panel.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!idea) return drafted && askBox();
  const name = nameField.value.replace(/\s+/g, " ").trim();
  if (idea.do !== "reshape" && !name) return tellName("Type a name first.");
  if (name.length > LONGEST_NAME) return tellName(`A name has at most ${LONGEST_NAME} letters.`);
  const { do: does, id, box, chosen } = idea;
  const free = Math.max(0, ...parts.keys(), ...edits().map((one) => one.id)) + 1;
  toSelect = id ?? free;
  const made = { do: does, id: toSelect };
  if (does !== "reshape") made.name = name;
  if (does !== "rename") Object.assign(made, { box, mask: chosen.mask });
  announcer.textContent = does === "add" || chosen.path ? `${name} is added.` : does === "rename" ? `It is called ${name} now.` : "The box is changed.";
  leaveIdea();
  if (adding) leaveAdding();
  setEdits([...edits(), made]);
});

function tellName(words) {
  panel.querySelector(".idea-words").textContent = words;
  nameField.focus();
}

panel.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.preventDefault();
  event.stopPropagation();
  cancel();
});

/** Who an object comes from, in the words of its card. */
function scoreWords(instance) {
  if (instance.source === "person") return "added by you";
  if (instance.source === "edited") return "changed by you";
  return `score ${shortScore(instance)}`;
}
