// Plays the visitor's camera on the stage, and draws the objects of its frames over the running video.
//
// One frame is on its way at a time: the next one is taken when the last answer has been drawn. So nothing queues, and a
// slow server means fewer frames and not a growing delay. The answers are data (`ui/live.py`), never pictures.

const FRAME_SIDE = 640; // longest side of a frame, in pixels
const FRAME_QUALITY = 0.8;
const IDLE_MS = 2 * 60_000;
const RECENT = 12; // frames over which the rate and the delay are told
const LIVE_SETTINGS = { score_threshold: "#threshold input[type=number]", mask_threshold: "#mask-threshold input[type=number]", model: "#model input:checked", detail: "#detail input:checked", without: null, thresholds: null };
const CONNECTION_LOST = "The live camera has lost the server. Press “Live” to try again.";
const WAS_HIDDEN = "Live stopped because this tab was hidden. Press “Live” to go on.";
const WAS_IDLE = "Live stopped after two minutes without a touch or a key. Press “Live” to go on.";
const CAMERA_ENDED = "The camera stopped. Press “Live” to try again.";

const [liveView, liveOutlines, liveLabels, liveModel, liveRates] = ["live-view", "live-outlines", "live-labels", "live-model", "live-rates"].map(find);
const liveVideo = liveView.querySelector("video");
const switcher = liveView.querySelector("[data-action=live-switch]");

/** The run that goes on now (null: none), the visitor's place at the server, and which camera is wanted. */
const live = { run: null, place: "", wanted: { facingMode: window.matchMedia("(pointer: coarse)").matches ? "environment" : "user" }, touched: 0, sending: Promise.resolve() };

/** Asks for the camera and starts. */
async function startLive() {
  leaveAdding();
  stopMeasuring();
  stopLive();
  closeCamera();
  film.pause();
  dismiss();
  const run = { aborter: new AbortController(), times: [], delays: [], stream: null, fresh: () => {} };
  live.run = run;
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "NotAllowedError");
    const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
    run.stream = await navigator.mediaDevices.getUserMedia({ video: { ...size, ...live.wanted } });
    if (live.run !== run) return endStream(run.stream);
    await showCamera(run.stream);
  } catch (error) {
    if (live.run === run) endLive(CAMERA_FAULTS[error.name] ?? "The camera could not be opened. Please choose a photo instead.");
    return;
  }
  live.touched = performance.now();
  watchFrames(run);
  live.sending = live.sending.catch(() => {}).then(() => sendFrames(run)); // the last run may still wait for an answer
}

async function showCamera(stream) {
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", () => live.run?.stream === stream && endLive(CAMERA_ENDED));
  liveVideo.srcObject = stream;
  await liveVideo.play();
  const facing = track.getSettings().facingMode ?? live.wanted.facingMode;
  root.classList.toggle("mirrored", facing === "user");
  root.classList.add("live");
  root.classList.remove("zoomed");
  shapeLive();
  liveModel.textContent = "Starting…";
  liveRates.textContent = "";
  liveView.hidden = false;
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
  switcher.hidden = cameras.length < 2;
  placeLive();
}

const shapeLive = () => shape(liveVideo.videoWidth / liveVideo.videoHeight);
liveVideo.addEventListener("resize", () => live.run && shapeLive()); // a phone was turned

/** Notes when the camera has a new picture, which may be while the last one is looked at. */
function watchFrames(run) {
  if (live.run !== run) return;
  run.fresh();
  const next = () => watchFrames(run);
  if (liveVideo.requestVideoFrameCallback) liveVideo.requestVideoFrameCallback(next);
  else requestAnimationFrame(next);
}

/** Sends one frame after the other while this run goes on. */
async function sendFrames(run) {
  const canvasOfFrame = document.createElement("canvas");
  while (live.run === run) {
    const scale = Math.min(1, FRAME_SIDE / Math.max(liveVideo.videoWidth, liveVideo.videoHeight));
    canvasOfFrame.width = Math.round(liveVideo.videoWidth * scale);
    canvasOfFrame.height = Math.round(liveVideo.videoHeight * scale);
    const newer = new Promise((done) => (run.fresh = done));
    const taken = performance.now();
    canvasOfFrame.getContext("2d").drawImage(liveVideo, 0, 0, canvasOfFrame.width, canvasOfFrame.height);
    const answer = await askLive(run, await jpegOf(canvasOfFrame, FRAME_QUALITY));
    if (live.run !== run) {
      if (answer.place) leavePlace(answer.place); // stopped before the place was known
      return;
    }
    if (typeof answer === "string") return endLive(answer);
    live.place = answer.place;
    run.answer = answer;
    drawLive();
    await new Promise((done) => requestAnimationFrame(done));
    tellRates(run, taken);
    if (performance.now() - live.touched > IDLE_MS) return endLive(WAS_IDLE);
    await newer;
  }
}

const jpegOf = (picture, quality) => new Promise((done) => picture.toBlob(done, "image/jpeg", quality));
const liveAddress = (path, query) => `${window.gradio_config?.root ?? ""}${path}?${query}`;

/** Returns the answer to a frame, or a sentence that says why there is none. */
async function askLive(run, frame) {
  try {
    const request = { method: "POST", body: frame, headers: { "Content-Type": "image/jpeg" }, signal: run.aborter.signal };
    const response = await fetch(liveAddress("/live", liveSettings()), request);
    const answer = await response.json();
    return response.ok ? answer : String(answer.detail ?? CONNECTION_LOST);
  } catch {
    return CONNECTION_LOST;
  }
}

/** The settings as the page's controls show them, or as the page's address holds them where a control is not built yet. */
function liveSettings() {
  const address = new URLSearchParams(window.location.search);
  const query = new URLSearchParams({ place: live.place });
  for (const [name, selector] of Object.entries(LIVE_SETTINGS)) {
    const value = (selector && document.querySelector(selector)?.value) || address.get(name);
    if (value) query.set(name, value);
  }
  return query;
}

// ---- drawing ----

function drawLive() {
  const { answer } = live.run;
  liveOutlines.setAttribute("viewBox", `0 0 ${answer.width} ${answer.height}`);
  const shapes = answer.objects.flatMap((object) => {
    const outline = document.createElementNS(SVG, "path");
    outline.setAttribute("d", object.path);
    const box = document.createElementNS(SVG, "rect");
    const [x1, y1, x2, y2] = object.box;
    const sides = { x: x1 * answer.width, y: y1 * answer.height, width: (x2 - x1) * answer.width, height: (y2 - y1) * answer.height };
    for (const [name, side] of Object.entries(sides)) box.setAttribute(name, side);
    for (const piece of [outline, box]) piece.style.setProperty("--color", object.fill);
    return [outline, box];
  });
  liveOutlines.replaceChildren(...shapes);
  if (liveModel.textContent !== answer.words) liveModel.textContent = answer.words;
  liveLabels.replaceChildren(...answer.objects.map(({ name, track, fill }) => {
    const label = make("span", {}, track ? `${name} ${track}` : name);
    label.style.setProperty("--color", fill);
    return label;
  }));
  placeLive();
  root.dataset.live = answer.objects.length;
}

/** Moves the labels to their places. Text is never mirrored, so the places are. */
function placeLive() {
  const answer = live.run?.answer;
  if (!answer) return;
  const size = [stage.clientWidth, stage.clientHeight];
  const mirrored = root.classList.contains("mirrored");
  const boxes = answer.objects.map(({ box: [x1, y1, x2, y2] }) => {
    const [left, right] = mirrored ? [1 - x2, 1 - x1] : [x1, x2];
    return [left * size[0], y1 * size[1], right * size[0], y2 * size[1]];
  });
  const tags = [...liveLabels.children];
  const texts = tags.map((label) => [label.offsetWidth, label.offsetHeight]);
  const priorities = answer.objects.map(({ score }, i) => Math.sqrt((boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1])) * score);
  const places = root.classList.contains("no-boxes") ? MIDDLES : CORNERS;
  placements(boxes, texts, priorities, size, places).forEach(({ label }, i) => {
    tags[i].classList.toggle("without-place", !label);
    if (label) tags[i].style.transform = `translate(${label[0]}px, ${label[1]}px)`;
  });
}

/** Tells how many frames a second were answered lately, and the median time from the camera to the drawing. */
function tellRates(run, taken) {
  const now = performance.now();
  run.times = [...run.times, now].slice(-RECENT);
  run.delays = [...run.delays, now - taken].slice(-RECENT);
  if (run.times.length < 3) return;
  const rate = (1000 * (run.times.length - 1)) / (now - run.times[0]);
  const delay = run.delays.toSorted((a, b) => a - b)[run.delays.length >> 1];
  liveRates.textContent = `${rate.toFixed(rate < 10 ? 1 : 0)} frames per second · ${Math.round(delay)} ms behind`;
  Object.assign(liveView.dataset, { rate, delay });
}

// ---- the end ----

const endStream = (stream) => stream?.getTracks().forEach((track) => track.stop());

const leavePlace = (place) => navigator.sendBeacon(liveAddress("/live/stop", new URLSearchParams({ place })));

/** Stops, and frees the visitor's place at the server. The photo from before is on the stage again. */
function stopLive() {
  const { run } = live;
  if (!run) return;
  live.run = null;
  if (live.place) run.aborter.abort();
  endStream(run.stream);
  liveVideo.srcObject = null;
  liveView.hidden = true;
  root.classList.remove("live", "mirrored");
  delete root.dataset.live;
  for (const holder of [liveOutlines, liveLabels]) holder.replaceChildren();
  if (live.place) leavePlace(live.place);
  live.place = "";
  if (drawn.instances) shape(drawn.width / drawn.height);
  placeLabels();
}

function endLive(sentence) {
  stopLive();
  message.querySelector("p").textContent = sentence;
  message.hidden = false;
}

/** Uses the front camera in place of the back camera, or the next one where cameras do not say where they look. */
async function switchCamera() {
  const { facingMode, deviceId } = live.run.stream.getVideoTracks()[0].getSettings();
  if (facingMode) live.wanted = { facingMode: facingMode === "user" ? "environment" : "user" };
  else {
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
    const next = cameras[(cameras.findIndex((one) => one.deviceId === deviceId) + 1) % cameras.length];
    live.wanted = { deviceId: { exact: next.deviceId } };
  }
  await startLive();
}

document.addEventListener("visibilitychange", () => document.hidden && live.run && endLive(WAS_HIDDEN), outside);
window.addEventListener("pagehide", stopLive, outside);
for (const sign of ["pointerdown", "pointermove", "keydown"])
  document.addEventListener(sign, () => (live.touched = performance.now()), outside);
new ResizeObserver(placeLive).observe(stage);
