// Follows the keyboard and the buttons.

const onKey = (event) => {
  if (event.key === "Escape" && (adding || drafted || !panel.hidden || !question.hidden)) {
    event.preventDefault();
    return cancel();
  }
  if (event.target.closest("button, summary, input")) return;
  tip.hidden = true;
  if (event.key === "Escape") deselect();
  else if (event.key === "Enter" && adding) draftInTheMiddle();
  else if (event.key === "a" && !event.ctrlKey && !event.metaKey) toggleAdding();
  else if ((event.key === "Delete" || event.key === "Backspace") && selected !== null) hide(selected);
  else if ((event.key === "Enter" || event.key === " ") && idOf(event.target) !== null) select(idOf(event.target));
  else if (isFilm() && event.key === " ") play();
  else if (isFilm() && (event.key === "," || event.key === ".")) stepFrame(event.key === "," ? -1 : 1);
  else if (event.key === "+" || event.key === "=") zoomBy(1.5);
  else if (event.key === "-") zoomBy(1 / 1.5);
  else if (event.key === "0") fit();
  else if (event.key in ROW_STEP && inView.length && spots.contains(event.target)) {
    const to = inView.indexOf(selected ?? idOf(event.target)) + ROW_STEP[event.key];
    focus(inView[Math.max(0, Math.min(to, inView.length - 1))]);
  } else return;
  event.preventDefault();
};

const ACTIONS = {
  hide: () => hide(selected),
  close: () => deselect(),
  add: () => toggleAdding(),
  "ask-here": () => askPlace(clicked),
  "leave-idea": () => cancel(),
  rename: () => rename(),
  reshape: () => reshape(),
  download: () => trigger("cut_out", { id: selected }),
  "all-back": () => setHidden([]),
  undo: () => undo(),
  redo: () => redo(),
  masks: () => toggle("masks"),
  boxes: () => toggle("boxes"),
  labels: () => toggle("labels"),
  choose: () => fileInput.click(),
  clear: () => clear(),
  paste: () => paste(),
  camera: () => openCamera(),
  "close-camera": () => closeCamera(),
  shoot: () => shoot(),
  stop: () => stop(),
  animate: () => takeClip(sources.get(number()).file),
  play: () => play(),
  frame: () => takeFrame(),
  live: () => startLive(),
  "live-freeze": () => shoot(liveVideo, stopLive),
  "live-switch": () => switchCamera(),
  "live-stop": () => stopLive(),
  dismiss: () => dismiss(),
  "many-stop": () => stopMany(),
  "many-rest": () => lookAgain("rest"),
  "many-all": () => lookAgain("all"),
  "zoom-in": () => zoomBy(1.5),
  "zoom-out": () => zoomBy(1 / 1.5),
  fit: () => fit(),
  measure: () => measure(),
  "set-scale": () => acceptLength(),
  "no-scale": () => setScale(null),
  "end-measure": () => stopMeasuring(),
  "full-screen": () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()),
};

const onClick = (event) => {
  const button = event.target.closest("button");
  if (!button) {
    if (table.tBodies[0].contains(event.target)) (isFilm() ? showTrack : focus)(idOf(event.target));
    return;
  }
  const { action, back, column, example } = button.dataset;
  if (action in ACTIONS) ACTIONS[action]();
  if (example) openExample(example);
  if (back) setHidden(hidden().filter((id) => id !== Number(back)));
  if (column) {
    order = { column: Number(column), descending: order.column === Number(column) && !order.descending };
    sortRows();
  }
};

for (const part of [element, details, card, manyTable]) { // all but the first are moved away later
  part.addEventListener("keydown", onKey);
  part.addEventListener("click", onClick);
}
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || isField(event.target)) return;
  event.preventDefault();
  if (event.shiftKey) redo();
  else undo();
}, outside);
