// Takes several photos or a ZIP, and shows them as a strip under the stage, with a table of counts.
//
// `props.gallery` says what became of each photo, and `props.tally` how many objects it has in view. Each photo opens on the
// stage as any photo does: its source is {many: token, photo: its place}. What is hidden or corrected by hand belongs to
// one photo, so it is kept here while another one is on the stage. `own` in the source says that settings are for this photo only.

const ZIP_ENDING = /\.zip$/i;
const DONE = "done";
const BARS = 12; // the number of kinds in the chart

const [many, strip, manyTold, manyLeft, manyProgress, manyNotes, manyTable] = ["many", "strip", "many-told", "many-left", "many-progress", "many-notes", "many-table"].map(find);
const ownBox = many.querySelector(".many-own input");

/** The newest of `props.gallery` and of `props.tally`. Answers to two events may come in another order than they were made. */
let [group, counted] = [{}, {}];
/** The token of the photos in the strip. */
let stripToken = null;
/** The files of these photos as this tab has them, if it has sent them one by one. */
let ownFiles = [];
/** Sentences about files that were not sent. */
let unsent = [];
/** The same of files that the server has not taken yet. */
let incoming = { files: [], left: [] };
/** What is hidden and corrected by hand in each photo, and its scale, by its place. */
let marks = new Map();
/** Whether photos are looked at, how many are done, and when the rest will be. */
let pace = { running: false, done: 0, count: 0, end: 0 };
let manyClock = 0;
let isOpening = false;
/** Whether the photo on the stage is opened again when all are done, because another model may have looked at it. */
let reopens = false;

const isZip = (file) => ZIP_ENDING.test(file.name) || /^application\/(x-)?zip/.test(file.type);
const listed = () => group.photos ?? [];
const manySource = () => (props.value?.photo?.many ? props.value.photo : null);
const openPlace = () => manySource()?.photo ?? -1;

// ---- sending ----

async function takeMany(files) {
  if (files.length > props.most_photos) return complain(`Please choose at most ${props.most_photos} photos at a time. You chose ${files.length} files.`);
  const faults = files.map((file) => (isClip(file) ? "Please send a clip by itself." : isZip(file) && files.length > 1 ? "Please send a ZIP by itself." : isZip(file) ? null : faultIn(file)));
  const good = files.filter((_, k) => faults[k] === null);
  const left = files.map((file, k) => faults[k] && `“${file.name}” was not sent. ${faults[k]}`).filter(Boolean);
  if (!good.length) return complain(left[0]);
  const size = good.reduce((sum, file) => sum + file.size, 0);
  if (size > props.most_many_bytes)
    return complain(`These files have ${Math.ceil(size / MEGABYTE)} MB. Please use at most ${Math.floor(props.most_many_bytes / MEGABYTE)} MB at a time.`);
  const packed = isZip(good[0]);
  const mine = begin("Sending", packed ? undefined : URL.createObjectURL(good[0]));
  const sent = [];
  try {
    for (const file of good) {
      wait(packed ? "Sending the ZIP" : `Sending photo ${sent.length + 1} of ${good.length}`);
      const { path } = await upload(file);
      if (number() !== mine) return;
      sent.push({ path, orig_name: file.name, meta: { _type: "gradio.FileData" } });
    }
    await addressRead;
  } catch (error) {
    if (number() === mine) complain(plainly(error));
    return;
  }
  if (number() !== mine) return;
  incoming = { files: packed ? [] : good, left };
  wait("Looking for objects");
  props.value = { ...props.value, photo: { photos: sent } };
  trigger("find_many");
}

/** Gives up the photos of the strip, because another photo comes. */
function leaveMany() {
  if (isOpening || stripToken === null) return;
  if (pace.running) stopMany();
  reopens = false;
  stripToken = null;
  showMany();
}

function stopMany() {
  trigger("stop_many");
  pace = { ...pace, running: false };
  showPace();
  if (manySource() && openPlace() < 0) showNone();
  if (!reopens) return;
  reopens = false;
  if (openPlace() >= 0) openOne(openPlace(), true);
}

/** None of the photos is on the stage. */
function showNone() {
  draw({});
  stopWaiting();
}

function lookAgain(which) {
  if (pace.running) return;
  if (which === "all") {
    if (openPlace() >= 0) marks.set(openPlace(), { scale: scaleSet() });
    forgetIds();
    deselect();
    marks = new Map([...marks].map(([place, { scale }]) => [place, { hidden: [], edits: [], scale }])); // the ids will be others
  }
  reopens = which === "all";
  pace = { ...pace, running: true, done: 0 };
  trigger("many_again", { which });
}

// ---- what the server sends ----

/** Something became of a photo, or the photos are there again after a reload. */
function followMany() {
  if (!(props.gallery?.moment > (group.moment ?? 0))) return;
  group = props.gallery;
  const { token, number: about, running, done, count, seconds } = group;
  if (about === number() && props.value.photo?.photos) {
    [ownFiles, unsent, marks] = [incoming.files, incoming.left, new Map()];
    props.value = { ...props.value, photo: { many: token } };
    sources.get(about).photo = props.value.photo;
  }
  if (manySource()?.many !== token && stripToken !== token) return; // other photos are on the stage by now
  stripToken = token;
  if (running !== null) pace = { running, done, count, end: performance.now() + 1000 * seconds };
  showMany();
  if (openPlace() < 0 && manySource()) openAny(running);
  if (running !== false || !reopens) return;
  reopens = false;
  if (openPlace() >= 0) openOne(openPlace(), true);
}

/** Opens the first photo that is done. If none will be, the strip says why. */
function openAny(running) {
  const first = listed().findIndex((one) => one.state === DONE);
  if (first >= 0) return openOne(first);
  if (running !== false) return;
  showNone();
  message.querySelector("p").textContent = "None of these photos could be looked at. The list below says why.";
  message.hidden = false;
}

/** The photo on the stage is one of the strip again, or no more (after an error). */
function followSource() {
  if (manySource() && manySource().many === group.token) stripToken = manySource().many;
  else leaveMany();
  showMany();
}

// ---- opening a photo ----

function openOne(place, anew = false) {
  if (!listed()[place] || listed()[place].state !== DONE) return showFault(place);
  if (place === openPlace() && !anew) return;
  if (openPlace() >= 0 && !anew && !reopens) marks.set(openPlace(), { ...changes(), scale: scaleSet() });
  const file = ownFiles[place];
  isOpening = true;
  const mine = begin("Opening the photo", file ? URL.createObjectURL(file) : served(listed()[place].thumbnail));
  isOpening = false;
  if (!file) sources.get(mine).src = null; // the thumbnail is shown only until the photo comes
  props.value = { ...props.value, ...(marks.get(place) ?? { hidden: [], edits: [], scale: null }) };
  send({ many: stripToken, photo: place, own: counted.own?.[place] ?? false }).then(() => {
    showMany();
    revealThumbnail(place);
  });
}

/** Scrolls the strip so far that a thumbnail is in it. The page itself does not move. */
function revealThumbnail(place) {
  const { offsetLeft: left, offsetWidth } = strip.children[place];
  if (left < strip.scrollLeft) strip.scrollLeft = left;
  else if (left + offsetWidth > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = left + offsetWidth - strip.clientWidth;
}

function showFault(place) {
  const line = manyNotes.querySelector(`[data-place="${place}"]`);
  if (!line) return;
  line.scrollIntoView({ block: "nearest" });
  line.querySelector("button").focus();
}

ownBox.addEventListener("change", () => {
  const source = { ...manySource(), own: ownBox.checked };
  props.value = { ...props.value, photo: source };
  sources.get(number()).photo = source;
  keepForReload();
  trigger("input");
});

// ---- the strip ----

function showMany() {
  const isShown = stripToken !== null && stripToken === group.token;
  many.hidden = manyTable.hidden = !isShown;
  root.classList.toggle("of-many", isShown);
  if (!isShown) return clearInterval(manyClock);
  const photos = listed();
  while (strip.children.length > photos.length) strip.lastChild.remove();
  while (strip.children.length < photos.length) strip.append(makeThumbnail(strip.children.length));
  photos.forEach(showThumbnail);
  manyNotes.replaceChildren(
    ...[group.fault, ...unsent, ...group.notes].filter(Boolean).map((text) => make("li", {}, text)),
    ...photos.flatMap((one, place) => (one.fault ? [makeFault(one, place)] : [])),
  );
  showPace();
  showTally();
}

function makeThumbnail(place) {
  const item = make("li", {});
  const button = make("button", { type: "button", "data-place": place });
  button.append(make("img", { alt: "", loading: "lazy" }), make("span", { class: "badge", "aria-hidden": "true" }));
  item.append(button);
  return item;
}

function showThumbnail(one, place) {
  const button = strip.children[place].firstChild;
  const image = button.firstChild;
  const src = one.thumbnail && served(one.thumbnail);
  if (src && image.getAttribute("src") !== src) image.src = src;
  image.hidden = !src;
  const row = counted.rows?.[place];
  const count = row ? row.reduce((sum, each) => sum + each, 0) : null;
  const words = { done: `${count} object${count === 1 ? "" : "s"}`, failed: "failed", ahead: "waiting" }[one.state];
  const own = counted.own?.[place];
  button.lastChild.textContent = `${{ done: count, failed: "!", ahead: "…" }[one.state]}${own ? " ⚙" : ""}`;
  button.setAttribute("aria-label", `${one.name}, ${words}${own ? ", settings of its own" : ""}, ${place + 1} of ${listed().length}`);
  button.title = one.fault || one.name;
  button.className = one.state;
  const isOpen = place === openPlace();
  if (isOpen) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
  const focused = strip.contains(document.activeElement) ? document.activeElement : null;
  button.tabIndex = (focused ? button === focused : place === Math.max(0, openPlace())) ? 0 : -1;
}

function makeFault(one, place) {
  const item = make("li", { "data-place": place }, `“${one.name}”: ${one.fault} `);
  item.append(make("button", { type: "button", "data-again": place, "aria-label": `Try ${one.name} again` }, "Try again"));
  return item;
}

function showPace() {
  clearInterval(manyClock);
  const { running, done, count, end } = pace;
  const waits = listed().some((one) => one.state === "ahead");
  many.querySelector("[data-action=many-stop]").hidden = manyProgress.hidden = !running;
  many.querySelector("[data-action=many-rest]").hidden = running || !waits;
  manyProgress.max = Math.max(1, count);
  manyProgress.value = done;
  const failed = listed().filter((one) => one.state === "failed").length;
  const finished = listed().filter((one) => one.state === DONE).length;
  const tell = () => {
    const left = Math.round((end - performance.now()) / 1000);
    manyLeft.textContent = running && left >= 1 ? `about ${left} s left` : "";
    if (running) manyTold.textContent = `${done} of ${count} photos`;
    else manyTold.textContent = `${finished} photo${finished === 1 ? "" : "s"}${failed ? `, ${failed} failed` : ""}${waits ? ", stopped" : ""}`;
  };
  tell();
  if (running) manyClock = setInterval(tell, 1000);
  for (const button of [...manyNotes.querySelectorAll("[data-again]"), manyTable.querySelector("[data-action=many-all]")]) button.disabled = running;
  ownBox.checked = Boolean(manySource()?.own);
  ownBox.disabled = openPlace() < 0;
}

strip.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) openOne(Number(button.dataset.place));
});
strip.addEventListener("keydown", (event) => {
  if (!(event.key in ROW_STEP)) return;
  event.preventDefault();
  const place = Number(event.target.closest("button").dataset.place) + ROW_STEP[event.key];
  const next = strip.children[clamp(place, 0, strip.children.length - 1)].firstChild;
  for (const { firstChild } of strip.children) firstChild.tabIndex = firstChild === next ? 0 : -1;
  next.focus();
});

// ---- the table and the chart ----

function showTally() {
  const { kinds = [], rows = [], sums = [], own = [] } = counted;
  const most = Math.max(1, ...sums);
  manyTable.querySelector(".many-chart").replaceChildren(
    ...kinds.slice(0, BARS).map((kind, k) => {
      const item = make("li", {});
      const bar = make("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = percent(sums[k] / most);
      item.append(make("span", { class: "kind" }, kind), make("span", { class: "track" }), make("span", { class: "count" }, sums[k]));
      item.children[1].append(bar);
      return item;
    }),
  );
  const counts = manyTable.querySelector("table");
  const focused = counts.contains(document.activeElement) ? document.activeElement.dataset.place : undefined;
  const cells = (tag, texts, attributes = {}) => texts.map((text) => make(tag, attributes, text));
  const header = make("tr", {});
  header.append(...cells("th", ["photo", "all", ...kinds], { scope: "col" }));
  counts.tHead.replaceChildren(header);
  counts.tBodies[0].replaceChildren(
    ...listed().map((one, place) => {
      const line = make("tr", {});
      const name = make("th", { scope: "row" });
      name.append(one.state === DONE ? make("button", { type: "button", "data-place": place }, one.name) : one.name, own[place] ? " (own settings)" : "");
      const row = rows[place];
      line.append(name);
      if (row) line.append(...cells("td", [row.reduce((sum, each) => sum + each, 0), ...row]));
      else line.append(make("td", { colspan: kinds.length + 1, class: "none" }, one.fault ? "failed" : "not looked at yet"));
      if (place === openPlace()) line.className = "selected";
      return line;
    }),
  );
  const last = make("tr", {});
  last.append(make("th", { scope: "row" }, "sum"), ...cells("td", [sums.reduce((sum, each) => sum + each, 0), ...sums]));
  counts.tFoot.replaceChildren(last);
  if (focused !== undefined) counts.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true });
}

/** The counts have changed, but not the photos. */
function followTally() {
  if (!(props.tally?.moment > (counted.moment ?? 0))) return;
  counted = props.tally;
  if (many.hidden) return;
  listed().forEach(showThumbnail);
  showPace();
  showTally();
}

manyTable.addEventListener("click", (event) => {
  const button = event.target.closest("[data-place]");
  if (button) openOne(Number(button.dataset.place));
});
manyNotes.addEventListener("click", (event) => {
  const button = event.target.closest("[data-again]");
  if (button) lookAgain(Number(button.dataset.again));
});
