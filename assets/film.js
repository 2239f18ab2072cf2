// Plays a video on the stage, and draws the objects of each frame over it.
//
// The browser plays the visitor's own file. `props.clip_scene` holds what was found in its frames so far, and `props.clip_look` says
// which of it is in view, for every frame. So nothing is sent while the clip plays. An instance's id is the number of its
// track: an object keeps its id and its colour from frame to frame.

const CLIP_ENDINGS = /\.(mp4|m4v|mov|webm|avi|mkv)$/i;
const NEAR = 0.75; // a frame that lies further away than so many steps is not the one that is played
const SECONDS = { 2: true, 3: true, 4: true, 6: true }; // the columns of the table of tracks that hold seconds
const MOST_LINES = 5; // the number of kinds in the chart

const [film, player, scrubber, chart, clock_] = ["film", "player", "scrubber", "chart", "time"].map(find);
const playButton = player.querySelector("[data-action=play]");

/** The frame that is drawn, as its place in `props.clip_scene.frames`. -1: none. */
let frameShown = -1;
/** The track that stays selected from frame to frame. */
let followed = null;
/** The rows of the table of tracks, by id. */
let trackRows = new Map();
/** The number of the clip that this browser cannot play. */
let unplayable = 0;
/** The last clip in which something was found: it comes back if what is sent next gets no answer. */
let lastFilm = { number: 0, src: "" };

const isFilm = () => root.classList.contains("filmed");
const isClip = (file) => file.type.startsWith("video/") || CLIP_ENDINGS.test(file.name);
const found = () => (props.clip_scene?.number === number() ? props.clip_scene : { frames: [] });

// ---- sending ----

async function takeClip(file) {
  if (file.size > props.most_clip_bytes)
    return complain(`This clip has ${Math.ceil(file.size / MEGABYTE)} MB. Please use a clip of at most ${Math.floor(props.most_clip_bytes / MEGABYTE)} MB.`);
  const mine = begin("Sending the clip");
  enterFilm(URL.createObjectURL(file));
  try {
    const sent = await upload(file);
    if (number() !== mine) return;
    await send({ clip: { path: sent.path, orig_name: file.name, meta: { _type: "gradio.FileData" } } });
    askForCopy();
  } catch (error) {
    if (number() === mine) complain(plainly(error));
  }
}

function enterFilm(src) {
  root.classList.add("filmed");
  card.classList.add("of-film");
  player.hidden = false;
  film.hidden = false;
  if (film.getAttribute("src") !== src) film.src = src;
  sources.get(number()).src = src;
  frameShown = -1;
}

function leaveFilm() {
  if (!isFilm()) return;
  film.pause();
  root.classList.remove("filmed");
  card.classList.remove("of-film");
  player.hidden = film.hidden = true;
  followed = null;
  trackRows = new Map();
}

/** The browser cannot play the file. The server makes one that it can play. */
film.addEventListener("error", () => {
  if (!isFilm() || film.src === props.playable?.file?.url) return;
  unplayable = number();
  askForCopy();
});

/** Asks for a copy as soon as the server has the clip. */
function askForCopy() {
  if (unplayable === number() && sources.get(unplayable).photo) trigger("unplayable");
}

/** Plays the file that the server has made. */
function playOther() {
  const { number: about, file } = props.playable ?? {};
  if (about !== number() || !isFilm()) return;
  const at = film.currentTime;
  enterFilm(file.url);
  film.currentTime = at;
}

// ---- what the server sends ----

/** Something more was found. */
function followFilm() {
  const { frames, whole, width, height } = found();
  if (!isFilm() || !frames.length) return;
  lastFilm = { number: number(), src: film.src };
  root.classList.remove("busy", "empty");
  if (whole) stopWaiting();
  shape(width / height);
  for (const layer of [halos, outlines]) layer.setAttribute("viewBox", `0 0 ${width} ${height}`);
  redrawFrame();
}

/** Other objects are in view. */
function followFiltered() {
  if (!isFilm() || props.clip_look?.number !== number()) return;
  showTracks();
  drawChart();
  redrawFrame();
}

function showTracks() {
  const { headers, tracks } = props.clip_look;
  table.tHead.replaceChildren(headerRow(headers));
  trackRows = new Map(tracks.map((track) => [track[0], trackRow(track)]));
  table.tHead.querySelectorAll(".extra").forEach((cell) => cell.classList.remove("extra"));
  table.tBodies[0].replaceChildren(...trackRows.values());
  table.hidden = tracks.length === 0;
  details.querySelector(".none").hidden = tracks.length > 0;
  details.querySelector(".more-line").hidden = true;
}

function trackRow(track) {
  const row = make("tr", { "data-id": track[0] });
  const color = colorOf(track[0]);
  row.style.setProperty("--color", color.fill);
  row.append(
    ...track.map((text, column) => {
      const cell = make("td", {}, column === 1 ? undefined : column in SECONDS ? text.toFixed(1) : text);
      if (column === 1) cell.append(make("i", { class: "swatch" }), text);
      return cell;
    }),
  );
  return row;
}

const colorOf = (id, by = "instance") => found().colors?.[by]?.[id] ?? { fill: "#888888", ink: "#000000" };

// ---- drawing one frame ----

/** The place of the frame that is played at a time, or -1 if none near it was looked at. */
function frameAt(seconds) {
  const { frames, step } = found();
  let [low, high] = [0, frames.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frames[middle][0] < seconds) low = middle + 1;
    else high = middle;
  }
  const near = [low - 1, low].filter((k) => frames[k]);
  near.sort((a, b) => Math.abs(frames[a][0] - seconds) - Math.abs(frames[b][0] - seconds));
  return near.length && Math.abs(frames[near[0]][0] - seconds) <= NEAR * step ? near[0] : -1;
}

function redrawFrame() {
  frameShown = -2;
  drawFrame(frameAt(film.currentTime));
}

function drawFrame(k) {
  if (k === frameShown || !isFilm()) return;
  frameShown = k;
  const { frames, width, height } = found();
  drawn = { photo_number: number(), width, height, instances: k < 0 ? [] : frames[k][1].map(instanceOf) };
  parts = new Map();
  selected = null;
  for (const holder of [halos, outlines, spots, labels]) holder.replaceChildren();
  for (const instance of drawn.instances) parts.set(instance.id, makePart(instance, trackRows.get(instance.id) ?? make("tr", {})));
  appendBySize();
  const { ids, ...style } = props.clip_look ?? {};
  show({ ...style, photo_number: number(), ids: k < 0 ? [] : ids?.[k] ?? [] });
  if (followed !== null && inView.includes(followed)) select(followed);
  else {
    for (const [id, row] of trackRows) row.classList.toggle("selected", id === followed);
    card.hidden = true;
  }
}

/** An instance of a frame in the form of a photo's instances. */
function instanceOf([id, kind, score, area, box, path]) {
  const name = found().names[kind];
  const share = ((100 * area) / found().pixels).toFixed(2);
  const numbers = [["Score", (Math.floor(score * 1000) / 1000).toFixed(3)], ["Pixels", area.toLocaleString("en")], ["Of the frame", `${share} %`]];
  const cells = ["", name, "", area.toLocaleString("en"), share];
  const colors = { instance: colorOf(id), category: colorOf(kind, "category") };
  return { id, name, score, area, numbers, row: cells, cells, box, path, colors };
}

/** A small picture of the frame that is shown, for the card of the selected object. */
function still() {
  const scale = Math.min(1, 640 / (film.videoWidth || 640));
  const frame = make("canvas", { width: Math.round(film.videoWidth * scale), height: Math.round(film.videoHeight * scale) });
  frame.getContext("2d").drawImage(film, 0, 0, frame.width, frame.height);
  return frame.toDataURL("image/jpeg", 0.8);
}

// ---- playing ----

const onFrame = (_, { mediaTime }) => {
  drawFrame(frameAt(mediaTime));
  film.requestVideoFrameCallback(onFrame);
};
if (film.requestVideoFrameCallback) film.requestVideoFrameCallback(onFrame);
else film.addEventListener("timeupdate", () => drawFrame(frameAt(film.currentTime)));

function play() {
  if (film.paused) film.play().catch(() => {});
  else film.pause();
}

/** Goes to the next frame that was looked at, or to the one before. */
function stepFrame(by) {
  film.pause();
  const { frames } = found();
  const to = frames[clamp((frameShown < 0 ? frameAt(film.currentTime) : frameShown) + by, 0, frames.length - 1)];
  if (to) film.currentTime = to[0] + 0.001; // a little later: browsers round times down
}

/** Goes to the frame where the model is surest of a track, and selects it there. */
function showTrack(id) {
  const track = props.clip_look.tracks.find(([one]) => one === id);
  film.pause();
  followed = id;
  film.addEventListener("seeked", () => redrawFrame(), { once: true });
  film.currentTime = track.at(-1) + 0.001;
}

/** Hands the frame that is shown to the page as a photo, with all the tools for photos. */
async function takeFrame() {
  film.pause();
  const frame = make("canvas", { width: film.videoWidth, height: film.videoHeight });
  frame.getContext("2d").drawImage(film, 0, 0);
  const blob = await new Promise((done) => frame.toBlob(done, "image/jpeg", 0.95));
  if (blob) take([new File([blob], "frame.jpg", { type: "image/jpeg" })]);
  else complain("This browser cannot take the frame out of the clip. Take a screenshot instead.");
}

const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

/** The length of the clip in seconds, as far as it is known. */
const lengthOf = () => (Number.isFinite(film.duration) ? film.duration : (found().frames.at(-1)?.[0] ?? 0)) || 1;

function showTime() {
  const length = lengthOf();
  scrubber.max = length;
  if (document.activeElement !== scrubber || !film.seeking) scrubber.value = film.currentTime;
  clock_.textContent = `${minutes(film.currentTime)} / ${minutes(length)}`;
}

scrubber.addEventListener("input", () => {
  film.pause();
  film.currentTime = Number(scrubber.value);
});
for (const change of ["timeupdate", "durationchange", "seeked"]) film.addEventListener(change, showTime);
for (const change of ["play", "pause"])
  film.addEventListener(change, () => {
    root.classList.toggle("playing", !film.paused);
    playButton.setAttribute("aria-label", film.paused ? "Play (space key)" : "Pause (space key)");
  });
film.addEventListener("durationchange", () => {
  if (isFilm() && film.videoWidth) shape(film.videoWidth / film.videoHeight);
  if (isFilm() && props.clip_look?.number === number()) drawChart();
});

// ---- the chart ----

/** Draws how many objects of each kind are in view over time, above the scrubber. */
function drawChart() {
  const { counts } = props.clip_look;
  const { frames, names } = found();
  const kinds = Object.entries(counts).slice(0, MOST_LINES);
  const length = lengthOf();
  const most = Math.max(1, ...kinds.flatMap(([, line]) => line));
  const kindOf = Object.fromEntries(Object.entries(names ?? {}).map(([kind, name]) => [name, kind]));
  chart.setAttribute("viewBox", "0 0 1000 40");
  chart.replaceChildren(
    ...kinds.map(([name, line]) => {
      const path = document.createElementNS(SVG, "polyline");
      path.setAttribute("points", line.map((count, k) => `${((1000 * frames[k][0]) / length).toFixed(1)},${(39 - (37 * count) / most).toFixed(1)}`).join(" "));
      path.style.stroke = colorOf(kindOf[name], "category").fill;
      const title = document.createElementNS(SVG, "title");
      title.textContent = `${name}: at most ${Math.max(...line)} at once`;
      path.append(title);
      return path;
    }),
  );
  find("legend").replaceChildren(
    ...kinds.map(([name, line]) => {
      const item = make("span", {}, `${name}, at most ${Math.max(...line)}`);
      item.style.setProperty("--color", colorOf(kindOf[name], "category").fill);
      return item;
    }),
  );
}
