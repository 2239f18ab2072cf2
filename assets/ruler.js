// Lets the visitor lay a line over the photo and say how long it is. The server turns pixels into cm or m (`answer.scale`).
//
// `props.value.scale` is null or {line: [x1, y1, x2, y2], length, unit}; the ends are shares of the picture's width and
// height. It belongs to the photo on the stage, and another photo begins without a line.

const [ruler, rulerForm] = [find("ruler"), find("ruler-form")];
const [rulerLine, rulerEnds] = [ruler.querySelector("line"), [...ruler.querySelectorAll("button")]];
const [lengthField, unitField, rulerFault] = [rulerForm.querySelector("input"), rulerForm.querySelector("select"), rulerForm.querySelector(".fault")];
const RULER_STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let measuring = false;
let laid = [0.25, 0.5, 0.75, 0.5]; // the line while the visitor moves it
let grabbed = null; // which end follows the pointer

const scaleSet = () => props.value?.scale ?? null;

function showRuler() {
  const set = scaleSet();
  const visible = measuring || (set !== null && !isFilm());
  ruler.hidden = !visible;
  rulerForm.hidden = !measuring;
  root.classList.toggle("measuring", measuring);
  find("tools").querySelector("[data-action=measure]").setAttribute("aria-pressed", set !== null);
  if (!visible) return;
  const [x1, y1, x2, y2] = measuring ? laid : set.line;
  for (const [name, value] of Object.entries({ x1, y1, x2, y2 })) rulerLine.setAttribute(name, value);
  rulerEnds.forEach((end, i) => {
    Object.assign(end.style, { left: percent(i ? x2 : x1), top: percent(i ? y2 : y1) });
    end.hidden = !measuring;
  });
  const name = ruler.querySelector("span");
  name.textContent = measuring || !set ? "" : `${set.length} ${set.unit}`;
  Object.assign(name.style, { left: percent((x1 + x2) / 2), top: percent((y1 + y2) / 2) });
}

function measure() {
  if (isFilm() || !drawn.instances || drawn.preview) return;
  if (measuring) return stopMeasuring();
  const set = scaleSet();
  leaveAdding();
  measuring = true;
  laid = set ? [...set.line] : [0.25, 0.5, 0.75, 0.5];
  lengthField.value = set?.length ?? "";
  unitField.value = set?.unit ?? "cm";
  rulerFault.textContent = "";
  rulerForm.querySelector("[data-action=no-scale]").hidden = set === null;
  showRuler();
  rulerEnds[0].focus({ preventScroll: true });
}

function stopMeasuring() {
  const hadFocus = ruler.contains(document.activeElement) || rulerForm.contains(document.activeElement);
  if (hadFocus) find("tools").querySelector("[data-action=measure]").focus({ preventScroll: true });
  measuring = false;
  grabbed = null;
  showRuler();
}

function setScale(scale) {
  props.value = { ...props.value, scale };
  stopMeasuring();
  trigger("measured");
}

function acceptLength() {
  const length = Number(lengthField.value.replace(",", "."));
  const [x1, y1, x2, y2] = laid;
  if (!(length > 0 && length <= 1e6)) return (rulerFault.textContent = "Type the length of the line: a number above 0.");
  if (Math.hypot((x2 - x1) * drawn.width, (y2 - y1) * drawn.height) < 2) return (rulerFault.textContent = "The line is too short. Draw it from one end of something to the other.");
  return setScale({ line: laid, length, unit: unitField.value });
}

ruler.addEventListener("pointerdown", (event) => {
  if (!measuring) return;
  event.preventDefault();
  event.stopPropagation();
  ruler.setPointerCapture(event.pointerId);
  const end = rulerEnds.indexOf(event.target);
  grabbed = end < 0 ? 1 : end;
  const place = shareOf(event);
  if (end < 0) laid = [...place, ...place]; // a new line, from here
  else rulerEnds[end].focus({ preventScroll: true });
  showRuler();
});
ruler.addEventListener("pointermove", (event) => {
  if (grabbed === null) return;
  event.stopPropagation();
  laid.splice(2 * grabbed, 2, ...shareOf(event));
  showRuler();
});
ruler.addEventListener("pointerup", (event) => {
  if (grabbed === null) return;
  event.stopPropagation();
  grabbed = null;
  lengthField.focus({ preventScroll: true });
});
ruler.addEventListener("pointercancel", () => (grabbed = null));
ruler.addEventListener("click", (event) => event.stopPropagation());
ruler.addEventListener("dblclick", (event) => event.stopPropagation());
ruler.addEventListener("keydown", (event) => {
  const end = rulerEnds.indexOf(event.target);
  if (event.key === "Escape") stopMeasuring();
  else if (event.key in RULER_STEPS && end >= 0) {
    const step = event.shiftKey ? 0.05 : 0.005;
    RULER_STEPS[event.key].forEach((way, i) => {
      laid[2 * end + i] = clamp(laid[2 * end + i] + step * way, 0, 1);
    });
    showRuler();
  } else return;
  event.preventDefault();
  event.stopPropagation();
});
rulerForm.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopMeasuring();
  if (event.key === "Enter" && event.target === lengthField) {
    event.preventDefault();
    acceptLength();
  }
  event.stopPropagation();
});
