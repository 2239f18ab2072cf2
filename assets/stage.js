// Takes photos: chosen, dropped anywhere, pasted, taken with the camera, from a web address, or an example.
//
// The photo appears at once, from the visitor's own browser, and is sent meanwhile. `props.value.photo` names what was
// sent, and the event "photo" says that there is another one. Until its objects arrive the photo is dimmed. If they do
// not arrive (an error, or Stop), the photo and the objects from before come back.

const MEGABYTE = 1024 * 1024;
const LIMIT_MB = 25;
const OTHERS = { "application/pdf": "a PDF", "image/svg+xml": "an SVG", "text/plain": "text" };

const [drop, fileInput, waiting, message, viewfinder] = ["drop", "file", "waiting", "message", "viewfinder"].map(find);
const video = viewfinder.querySelector("video");

/** What was on the stage before the photo that is being sent: {src, photo}. */
let before = null;
let clock = 0;

// ---- sending ----

/** Sends one file. Several files, and files that are no pictures, get a sentence. */
async function take(files) {
  const [file, ...more] = files;
  if (!file) return;
  if (more.length) return complain(`Please choose one photo at a time. You chose ${more.length + 1} files.`);
  const fault = faultIn(file);
  if (fault) return complain(fault);
  wait("Sending the photo", URL.createObjectURL(file));
  let sent;
  try {
    sent = await upload(file);
  } catch (error) {
    return complain(plainly(error));
  }
  ask({ path: sent.path, orig_name: file.name, meta: { _type: "gradio.FileData" } });
}

/** What is wrong with a file, before it is sent. */
function faultIn(file) {
  if (file.size === 0) return "This file is empty, or it is a folder. Please choose a photo.";
  if (file.size > LIMIT_MB * MEGABYTE)
    return `This file has ${Math.ceil(file.size / MEGABYTE)} MB. Please use a photo of at most ${LIMIT_MB} MB.`;
  if (file.type.startsWith("video/")) return "This is a video. Please choose a photo, or take a picture of one frame.";
  if (file.type in OTHERS) return `This is ${OTHERS[file.type]}, not a photo. Please save it as a JPEG or PNG first.`;
  return null;
}

function plainly(error) {
  const words = String(error?.message ?? error);
  return /^(This|Expected|Please|The server)/.test(words) ? words : "The photo could not be sent. Please check the connection and try again.";
}

/** Tells the server which photo is next. */
function ask(photo_) {
  props.value = { hidden: [], photo: photo_ };
  trigger("photo");
}

// ---- waiting, and coming back ----

function wait(words, src) {
  before ??= { src: photo.getAttribute("src"), photo: props.value?.photo ?? null, empty: root.classList.contains("empty") };
  dismiss();
  select(null);
  root.classList.remove("empty");
  root.classList.add("busy");
  if (src) photo.src = src;
  fit();
  const start = performance.now();
  clearInterval(clock);
  const tell = () => {
    const seconds = Math.floor((performance.now() - start) / 1000);
    waiting.querySelector(".words").textContent = seconds < 1 ? words : `${words} · ${seconds} s`;
  };
  tell();
  clock = setInterval(tell, 1000);
  waiting.hidden = false;
}

function stopWaiting() {
  clearInterval(clock);
  waiting.hidden = true;
  root.classList.remove("busy");
}

/** Brings back the photo and the objects from before the last one was sent. */
function comeBack() {
  stopWaiting();
  if (!before) return;
  if (before.src) photo.src = before.src;
  root.classList.toggle("empty", before.empty);
  props.value = { ...props.value, photo: before.photo };
  before = null;
  placeLabels();
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

/** Follows what the server says of the photo that was sent: {words, kind: error | stopped | waiting}. */
function hear() {
  const { words, kind, src } = props.said ?? {};
  if (kind === "error") complain(words);
  else if (kind === "stopped") comeBack();
  else if (kind === "waiting") wait(words, src);
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
  wait("Fetching the picture");
  ask({ url: address });
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
  observer.disconnect();
}).observe(document.body, { childList: true, subtree: true });

const isField = (target) =>
  target instanceof Element && target.closest("input:not([type=range], [type=checkbox], [type=radio]), textarea, [contenteditable]") !== null;

async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((type) => type.startsWith("image/"));
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

find("example-list").append(
  ...(props.examples ?? []).map(({ name, url }) => {
    const item = make("li", {});
    const button = make("button", { type: "button", "data-example": name, "aria-label": name, title: name });
    button.append(make("img", { src: url, alt: "", loading: "lazy" }));
    item.append(button);
    return item;
  }),
);

function example(name) {
  wait("Reading the example", props.examples.find((one) => one.name === name).url);
  ask({ example: name });
}

// ---- the camera ----

const CAMERA_FAULTS = {
  NotAllowedError: "The browser does not let this page use the camera. Allow it in the address bar, then try again.",
  NotFoundError: "No camera was found. Connect one, or choose a photo.",
  NotReadableError: "The camera is in use by another program. Close that program, then try again.",
};

async function openCamera() {
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

async function shoot() {
  const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  closeCamera();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  take([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
}
