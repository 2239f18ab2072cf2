// Zooms and pans the picture: wheel, pinch, double click, drag, and the keys + - 0.
//
// The canvas gets larger than the stage and moves behind it. So outlines stay sharp, and their lines keep their width.

const canvas = find("canvas");
const MOST = 16;
/** How large the canvas is against the stage, and where its corner lies in pixels of the stage. */
let zoom = { scale: 1, x: 0, y: 0 };

function fit() {
  zoomTo(1, 0, 0);
}

function zoomTo(scale, x, y) {
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  const kept = (place, side) => Math.min(0, Math.max(side - side * scale, place));
  zoom = { scale, x: kept(x, width), y: kept(y, height) };
  Object.assign(canvas.style, { width: percent(scale), height: percent(scale), left: `${zoom.x}px`, top: `${zoom.y}px` });
  root.classList.toggle("zoomed", scale > 1);
  moveLine(split);
  placeLabels();
}

/** Zooms by a factor. The point (x, y) of the stage, its centre if it is left out, stays where it is. */
function zoomBy(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const scale = Math.min(MOST, Math.max(1, zoom.scale * factor));
  const change = scale / zoom.scale;
  zoomTo(scale, x - (x - zoom.x) * change, y - (y - zoom.y) * change);
}

const within = (event) => {
  const frame = stage.getBoundingClientRect();
  return [event.clientX - frame.left, event.clientY - frame.top];
};

canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && zoom.scale === 1 && event.deltaY > 0) return; // the page scrolls on
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...within(event));
}, { passive: false });
canvas.addEventListener("dblclick", (event) => {
  if (zoom.scale > 1) fit();
  else zoomBy(3, ...within(event));
});

const fingers = new Map();
let moved = false;
canvas.addEventListener("pointerdown", (event) => {
  fingers.set(event.pointerId, within(event));
  moved = false;
});
canvas.addEventListener("pointermove", (event) => {
  const last = fingers.get(event.pointerId);
  if (!last) return;
  const now = within(event);
  if (fingers.size === 1) {
    if (adding) return;
    if (zoom.scale === 1 || Math.hypot(now[0] - last[0], now[1] - last[1]) < (moved ? 0 : 4)) return;
    if (!moved) canvas.setPointerCapture(event.pointerId);
    moved = true;
    zoomTo(zoom.scale, zoom.x + now[0] - last[0], zoom.y + now[1] - last[1]);
  } else {
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
    moved = true;
    zoomBy(apart(now) / Math.max(1, apart(last)), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }
  fingers.set(event.pointerId, now);
});
for (const end of ["pointerup", "pointercancel", "pointerleave"])
  canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
canvas.addEventListener("click", (event) => {
  if (moved) event.stopPropagation(); // it was a drag
}, { capture: true });
