// Places labels. The rules, the constants and the order are those of `marks.place_labels` in Python, which places labels
// in downloaded pictures; a test compares the two.

const MOST_LABELS = 0.06;
const ROOM = 2;
const [GAP, DOT] = [0.1, 0.2];
const CORNERS = [
  ["left", "top"], ["left", "above"], ["left", "bottom"], ["center", "top"], ["right", "top"], ["center", "middle"],
  ["right", "above"], ["right", "bottom"], ["center", "above"], ["center", "bottom"], ["left", "below"], ["right", "below"],
];
const rank = ([x, y]) => 2 * (x !== "center") + (y !== "above");
const MIDDLES = [...CORNERS].sort((a, b) => rank(a) - rank(b));
const SPOTS = [0.5, 0.25, 0.75].flatMap((y) => [0.5, 0.25, 0.75].map((x) => [x, y]));

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Rounds as NumPy does: a half goes to the even number. */
function roundHalfToEven(value) {
  const near = Math.round(value);
  return Math.abs(value % 1) === 0.5 && near % 2 ? near - 1 : near;
}

/**
 * Returns what stands at each object: {label: [x1, y1, x2, y2]}, {dot: [x, y, radius]}, or {}.
 *
 * `boxes` are [x1, y1, x2, y2], `texts` are [width, height] of the labels, and `size` is [width, height] of the picture,
 * all in the same unit.
 */
function placements(boxes, texts, priorities, size, places) {
  const visible = boxes.map(([x1, y1, x2, y2]) => x1 < size[0] && y1 < size[1] && x2 > 0 && y2 > 0);
  const cut = boxes.map((box) => box.map((side, i) => clamp(side, 0, size[i % 2])));
  const areas = cut.map(([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1));
  const roomy = areas.map((area, i) => area >= ROOM * texts[i][0] * texts[i][1]);
  const order = boxes.map((_, i) => i).sort((a, b) => priorities[b] - priorities[a] || a - b);
  const [taken, placed] = [[], boxes.map(() => ({}))];
  let left = MOST_LABELS * size[0] * size[1];

  for (const i of order) {
    const [text, area] = [texts[i], texts[i][0] * texts[i][1]];
    if (!visible[i] || text[0] > size[0] || text[1] > size[1]) continue;
    if (taken.length && !(roomy[i] && area <= left)) continue;
    const free = choices(cut[i], text, size, places).filter((place) => isFree(place, taken, GAP * text[1]));
    if (!free.length) continue;
    const smaller = cut.filter((_, j) => (j === i ? !roomy[i] : areas[j] < areas[i]));
    const nuisances = free.map((place) => nuisance(place, smaller));
    placed[i] = { label: free[nuisances.indexOf(Math.min(...nuisances))] };
    taken.push(placed[i].label);
    left -= area;
  }
  for (const i of order) {
    if (!visible[i] || placed[i].label) continue;
    for (const [x, y, r] of dots(cut[i], texts[i], size)) {
      const square = [x - r, y - r, x + r, y + r];
      if (!isFree(square, taken, GAP * texts[i][1])) continue;
      placed[i] = { dot: [x, y, r] };
      taken.push(square);
      break;
    }
  }
  return placed;
}

/** Where a label may stand, as [x1, y1, x2, y2]. */
function choices([x1, y1, x2, y2], [w, h], size, places) {
  const [middle, center] = [x1 + roundHalfToEven((x2 - x1 - w) / 2), y1 + roundHalfToEven((y2 - y1 - h) / 2)];
  const narrow = x2 - x1 < w; // then the label hangs over on both sides
  const xs = { left: narrow ? middle : x1, center: middle, right: narrow ? middle : x2 - w };
  const ys = { above: y1 - h, top: y1, middle: center, bottom: y2 - h, below: y2 };
  return places.map(([across, down]) => {
    const x = clamp(xs[across], 0, Math.max(size[0] - w, 0));
    const y = clamp(ys[down], 0, Math.max(size[1] - h, 0));
    return [x, y, x + w, y + h];
  });
}

function dots([x1, y1, x2, y2], [, h], size) {
  const largest = DOT * h;
  const r = clamp(Math.min(x2 - x1, y2 - y1) / 4, largest / 2, largest);
  return SPOTS.map(([x, y]) => [
    clamp(x1 + x * (x2 - x1), r, Math.max(r, size[0] - r)), clamp(y1 + y * (y2 - y1), r, Math.max(r, size[1] - r)), r,
  ]);
}

const isFree = ([x1, y1, x2, y2], taken, gap) =>
  taken.every(([left, top, right, bottom]) => x1 >= right + gap || x2 <= left - gap || y1 >= bottom + gap || y2 <= top - gap);

/** How bad a label is for smaller objects: first those that it covers, then those whose name it seems to be. */
function nuisance([x1, y1, x2, y2], boxes) {
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const covered = boxes.filter(([left, top, right, bottom]) => x1 <= left && y1 <= top && x2 >= right && y2 >= bottom);
  const inside = boxes.filter(([left, top, right, bottom]) => left <= x && x <= right && top <= y && y <= bottom);
  return covered.length * (boxes.length + 1) + inside.length;
}

/** Moves the labels on the stage to their places. */
function placeLabels() {
  const size = [stage.clientWidth, stage.clientHeight];
  if (!size[0] || root.classList.contains("busy")) return; // the picture is out of sight
  const shown = inView.map((id) => parts.get(id));
  const boxes = shown.map((part) => onStage(part.instance.box, ...size));
  const texts = shown.map((part) => (part.size ??= measured(part.label)));
  const priorities = shown.map(({ instance: { box: [x1, y1, x2, y2], score } }) =>
    Math.sqrt((x2 - x1) * drawn.width * (y2 - y1) * drawn.height) * score);
  const places = root.classList.contains("no-boxes") ? MIDDLES : CORNERS;
  placements(boxes, texts, priorities, size, places).forEach(({ label, dot }, i) => {
    const { label: tag } = shown[i];
    tag.classList.toggle("without-place", !label);
    tag.classList.toggle("dot", Boolean(dot));
    const [x, y] = label ?? (dot ? [dot[0] - dot[2], dot[1] - dot[2]] : boxes[i].slice(0, 2).map((at, k) => clamp(at, 0, size[k] - texts[i][k])));
    tag.style.transform = `translate(${x}px, ${y}px)`;
    tag.style.setProperty("--radius", `${dot?.[2] ?? 0}px`);
  });
}

function measured(label) {
  label.classList.remove("dot");
  return [label.offsetWidth, label.offsetHeight];
}

/** A box, given in shares of the picture, in pixels of the stage. */
function onStage([left, top, right, bottom], width, height) {
  const { scale, x, y } = zoom;
  return [left * width * scale + x, top * height * scale + y, right * width * scale + x, bottom * height * scale + y];
}

new ResizeObserver(() => {
  // On narrow windows the stage sticks to the top as far as it leaves room for what is below (page.css).
  document.documentElement.style.setProperty("--stage-height", `${root.offsetHeight}px`);
  placeLabels();
}).observe(stage);
