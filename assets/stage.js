// Takes photos: chosen, dropped anywhere, pasted, taken with the camera, from a web address, or an example.
//
// The photo appears at once, from the visitor's own browser, and is sent meanwhile. `props.value` names it and gives it a
// number. The event "photo" asks for its objects. Until they arrive the photo is dimmed. Answers for photos with another
// number are not drawn. If the objects do not arrive (an error, or Stop), the last full answer comes back.

const MEGABYTE = 1024 * 1024;
const LIMIT_MB = 25;
const OTHERS = { "application/pdf": "a PDF", "image/svg+xml": "an SVG", "text/plain": "text" };
const KEPT = "photo-of-this-tab"; // the name of what this tab keeps for a reload

const [fileInput, waiting, message, hint, viewfinder, animation] = ["file", "waiting", "message", "hint", "viewfinder", "animation"].map(find);
const video = viewfinder.querySelector("video");

/** What was sent, and its address in this browser, by the photo's number. */
const sources = new Map();
let last = 0; // the highest number so far
let clock = 0;
let restoredExample; // the name of the example that a reload has brought back

const PATIENCE_MS = 2000;
let addressIsRead;
/** Resolves when the page is as its address asks. A server that says nothing about it does not keep a photo back. */
const addressRead = Promise.race([
  new Promise((resolve) => (addressIsRead = resolve)),
  new Promise((resolve) => setTimeout(resolve, PATIENCE_MS)),
]);

// ---- sending ----

/** Sends one file, or many. Files that are no pictures get a sentence. */
async function take(files) {
  const notes = files.filter(isAnnotations);
  if (notes.length) return takeAnnotated(files, notes);
  const [file, ...more] = files;
  if (!file) return;
  if (more.length || isZip(file)) return takeMany(files);
  if (isClip(file) && file.size) return takeClip(file);
  const fault = faultIn(file);
  if (fault) return complain(fault);
  const mine = begin("Sending the photo", URL.createObjectURL(file));
  sources.get(mine).file = file;
  try {
    const sent = await upload(file);
    if (number() === mine) send({ path: sent.path, orig_name: file.name, meta: { _type: "gradio.FileData" } });
  } catch (error) {
    if (number() === mine) complain(plainly(error));
  }
}

const isAnnotations = (file) => /\.json$/i.test(file.name) || file.type === "application/json";

/** Sends a photo with the annotations that were made of it before, to go on with them. */
async function takeAnnotated(files, [annotations, ...more]) {
  const [file, ...others] = files.filter((one) => !isAnnotations(one));
  if (!file) return complain("These are annotations. Please drop their photo together with them.");
  if (more.length || others.length) return complain("Please drop one photo and one file of annotations at a time.");
  const fault = isClip(file) ? "Annotations can be opened with a photo, not with a clip." : faultIn(file);
  if (fault) return complain(fault);
  const mine = begin("Sending the photo and its annotations", URL.createObjectURL(file));
  sources.get(mine).file = file;
  try {
    const [sent, notes] = await Promise.all([upload(file), upload(annotations)]);
    const taken = { path: sent.path, orig_name: file.name, meta: { _type: "gradio.FileData" } };
    if (number() === mine) send({ annotated: taken, annotations: notes.path });
  } catch (error) {
    if (number() === mine) complain(plainly(error));
  }
}

/** What is wrong with a file, before it is sent. */
function faultIn(file) {
  if (file.size === 0) return "This file is empty, or it is a folder. Please choose a photo.";
  if (file.size > LIMIT_MB * MEGABYTE)
    return `This file has ${Math.ceil(file.size / MEGABYTE)} MB. Please use a photo of at most ${LIMIT_MB} MB.`;
  if (file.type in OTHERS) return `This is ${OTHERS[file.type]}, not a photo. Please save it as a JPEG or PNG first.`;
  return null;
}

function plainly(error) {
  const words = String(error?.message ?? error);
  return /^(This|Expected|Please|The server)/.test(words) ? words : "The photo could not be sent. Please check the connection and try again.";
}

/** Puts the next photo on the stage and gives it a number. */
function begin(words, src) {
  leaveFilm();
  leaveMany();
  stopLive();
  leaveAdding();
  last += 1;
  restoredExample = undefined;
  toSelect = null;
  sources.set(last, { src, photo: null });
  props.value = { ...props.value, photo: { sending: true }, number: last, hidden: [], edits: [], scale: null };
  stopMeasuring();
  forgetSteps();
  dismiss();
  hint.hidden = animation.hidden = true;
  select(null);
  root.classList.remove("empty", "preview");
  root.classList.add("busy");
  if (src) photo.src = src;
  fit();
  wait(words);
  return last;
}

/** Asks the server for the objects in the photo on the stage, as soon as the filters of the page's address are set. */
async function send(photo_) {
  const mine = number();
  await addressRead;
  if (number() !== mine) return;
  sources.get(mine).photo = photo_;
  props.value = { ...props.value, photo: photo_ };
  trigger("photo");
}

function clear() {
  leaveAdding();
  leaveFilm();
  leaveMany();
  stopLive();
  last += 1;
  props.value = { ...props.value, photo: null, number: last, hidden: [], edits: [], scale: null };
  stopMeasuring();
  forget();
  forgetSteps();
  stopWaiting();
  clearStage();
  trigger("photo");
}

function clearStage() {
  root.classList.add("empty");
  hint.hidden = true;
}

// ---- waiting, and coming back ----

/** Says what happens, since when, and how long it is expected to take in all (in seconds, if that is known). */
function wait(words, expected) {
  const start = performance.now();
  clearInterval(clock);
  const tell = () => {
    const seconds = Math.floor((performance.now() - start) / 1000);
    const so_far = expected >= 1 ? `${seconds} of about ${Math.round(expected)} s` : `${seconds} s`;
    waiting.querySelector(".words").textContent = seconds < 1 && !(expected >= 1) ? words : `${words} · ${so_far}`;
  };
  waiting.style.setProperty("--expected", `${expected ?? 0}s`);
  waiting.classList.toggle("foretold", expected >= 0.5);
  tell();
  clock = setInterval(tell, 1000);
  waiting.hidden = false;
}

function stopWaiting() {
  clearInterval(clock);
  waiting.hidden = true;
  root.classList.remove("busy");
}

/** The objects of the photo on the stage have come. After a quick look, the waiting goes on. */
function settle(scene) {
  root.classList.remove("busy", "empty");
  if (scene.preview) return;
  stopWaiting();
  hint.hidden = !sources.get(scene.photo_number)?.first;
  animation.hidden = !(scene.animated && sources.get(scene.photo_number)?.file);
  keepForReload();
}

/** Brings back the last full answer of the server, with its photo. */
function comeBack() {
  stopWaiting();
  leaveFilm();
  const { scene, look } = full;
  leaveAdding();
  const before = Math.max(scene.photo_number ?? 0, lastFilm.number);
  props.value = { ...props.value, photo: sources.get(before)?.photo ?? null, number: before, hidden: look.hidden ?? [], edits: full.edits, scale: full.scale };
  [past, future] = [full.past, full.future];
  showSteps();
  showRuler();
  followSource();
  if (before && before === lastFilm.number) return enterFilm(lastFilm.src), followFilm(), followFiltered();
  draw(scene);
}

/** Gives up what is looked for. What was found in a clip so far stays. */
function stop() {
  if (pace.running) stopMany(); // the server gives up both
  trigger("stop");
  if (isFilm() && found().frames.length) stopWaiting();
  else comeBack();
}

function complain(sentence) {
  comeBack();
  message.querySelector("p").textContent = sentence;
  message.hidden = false;
}

function dismiss() {
  message.hidden = true;
  message.querySelector("p").textContent = "";
}

/** Follows what the server says of a photo: {kind: working | error, words, number, seconds}. */
function hear() {
  const { kind, words, seconds, number: about } = props.said ?? {};
  if (about !== number()) return; // another photo is on the stage by now
  if (kind === "working") wait(words, seconds ?? undefined);
  if (kind !== "error") return;
  const source = sources.get(about)?.photo;
  const restored = source?.kept ?? source?.many;
  if (restored) forget();
  if (restored && !full.scene.instances) return comeBack(), openFirst();
  complain(words);
}

// ---- the photo that the page opens with ----

/** Does what the page's address asks for. If the visitor was quicker, their photo stays. */
function openPage() {
  const wanted = props.opened?.show;
  if (wanted) props.value = { ...props.value, show: wanted };
  showParts();
  addressIsRead();
  if (last === 0) openFirst();
}

/** Opens what a link names, what this tab showed before, or the first example. */
function openFirst() {
  const { example, first } = props.opened ?? {};
  const before = recall();
  const isReload = performance.getEntriesByType("navigation")[0]?.type === "reload";
  const kept = first || example === null || (isReload && before?.example === example) ? before : null;
  if (kept) {
    begin("Opening your photo again");
    marks = new Map(kept.marks ?? []);
    props.value = { ...props.value, hidden: kept.hidden, edits: kept.edits ?? [], scale: kept.scale ?? null };
    restoredExample = kept.example;
    send(kept.source ?? { kept: kept.token });
  } else if (example) openExample(example, first);
}

/** Keeps for a reload what opens the result again. It stays in this tab and is never in an address. */
function keepForReload() {
  if (!full.scene.token || full.scene.photo_number !== number()) return;
  const { example } = sources.get(number())?.photo ?? {};
  const kept = { token: full.scene.token, example: example ?? restoredExample, source: manySource(), scale: scaleSet(), ...changes() };
  if (manySource()) kept.marks = [...marks];
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {
    forget(); // there is no room for it, so a reload opens the page as fresh
  }
}

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null;
  }
}

function forget() {
  sessionStorage.removeItem(KEPT);
}

// ---- ways to bring a photo ----

fileInput.addEventListener("change", () => {
  const files = [...fileInput.files];
  fileInput.value = ""; // so that the same file can be chosen again
  take(files);
});

function accept(transfer) {
  const files = [...transfer.files];
  if (files.length) return take(files), true;
  const words = (transfer.getData("text/uri-list") || transfer.getData("text/plain")).trim();
  if (/^https?:\/\/\S+$/.test(words)) return open(words), true;
  if (words) complain("This is text, not a photo. Please drop or paste a picture, or the address of one.");
  return Boolean(words);
}

function open(address) {
  begin("Fetching the picture");
  send({ url: address });
}

const listeners = new AbortController(); // for what lies outside of this component
const outside = { signal: listeners.signal };
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  root.classList.add("dragged-over");
}, outside);
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) root.classList.remove("dragged-over");
}, outside);
document.addEventListener("drop", (event) => {
  root.classList.remove("dragged-over");
  if (isField(event.target)) return;
  event.preventDefault();
  accept(event.dataTransfer);
}, outside);
document.addEventListener("paste", (event) => {
  if (!isField(event.target) && accept(event.clipboardData)) event.preventDefault();
}, outside);
new MutationObserver((_, observer) => {
  if (element.isConnected) return;
  listeners.abort();
  closeCamera();
  stopLive();
  observer.disconnect();
}).observe(document.body, { childList: true, subtree: true });

const isField = (target) =>
  target instanceof Element && target.closest("input:not([type=range], [type=checkbox], [type=radio]), textarea, [contenteditable]") !== null;

async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((one) => one.startsWith("image/"));
      if (type) return take([new File([await item.getType(type)], "pasted.png", { type })]);
    }
    complain("There is no picture in the clipboard. Copy one first.");
  } catch {
    complain("The browser does not let this page read the clipboard. Press Control V (or Command V) instead.");
  }
}

find("address").addEventListener("submit", (event) => {
  event.preventDefault();
  open(event.target.querySelector("input").value);
});

/** The address at which the server gives a file. */
const served = (path) => `${window.gradio_config?.root ?? ""}/gradio_api/file=${path}`;

find("example-list").append(
  ...(props.examples ?? []).map(({ name, path }) => {
    const item = make("li", {});
    const button = make("button", { type: "button", "data-example": name, "aria-label": `Example: ${name}`, title: name });
    button.append(make("img", { src: served(path), alt: "", loading: "lazy" }));
    item.append(button);
    return item;
  }),
);

function openExample(name, first = false) {
  const known = props.examples.find((one) => one.name === name);
  const mine = begin("Reading the example", known && served(known.path));
  sources.get(mine).first = first;
  send({ example: name });
}

// ---- the camera ----

const CAMERA_FAULTS = {
  NotAllowedError: "The browser does not let this page use the camera. Allow it in the address bar, then try again.",
  NotFoundError: "No camera was found. Connect one, or choose a photo.",
  NotReadableError: "The camera is in use by another program. Close that program, then try again.",
};

async function openCamera() {
  stopLive();
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "NotAllowedError");
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    viewfinder.hidden = false;
  } catch (error) {
    complain(CAMERA_FAULTS[error.name] ?? "The camera could not be opened. Please choose a photo instead.");
  }
}

function closeCamera() {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  viewfinder.hidden = true;
}

async function shoot(from = video, end = closeCamera) {
  const frame = make("canvas", { width: from.videoWidth, height: from.videoHeight });
  frame.getContext("2d").drawImage(from, 0, 0);
  end();
  const blob = await new Promise((done) => frame.toBlob(done, "image/jpeg", 0.95));
  take([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
}
