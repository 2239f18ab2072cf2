// Draws a second picture of the same photo on the right side of a line, which can be dragged: an effect or a comparison.

const [rightSide, divider] = ["right-side", "divider"].map(find);
let split = 0.5; // where the line stands, as a share of the stage's width

function showSplit() {
  const { picture, plain } = props.second ?? {};
  rightSide.hidden = divider.hidden = !picture;
  root.classList.toggle("halved", Boolean(picture));
  root.classList.toggle("plain", Boolean(plain));
  if (picture) rightSide.src = picture.url;
  moveLine(split);
}

function moveLine(share) {
  split = clamp(share, 0, 1);
  const { scale, x } = zoom;
  const [width, at] = [stage.clientWidth, split * stage.clientWidth];
  divider.style.left = `${at}px`;
  divider.setAttribute("aria-valuenow", Math.round(100 * split));
  if (width) rightSide.style.clipPath = `inset(0 0 0 ${percent((at - x) / (width * scale))})`;
}

divider.addEventListener("pointerdown", (event) => {
  divider.setPointerCapture(event.pointerId);
  event.preventDefault();
  divider.focus({ preventScroll: true });
});
divider.addEventListener("pointermove", (event) => {
  if (divider.hasPointerCapture(event.pointerId)) moveLine(within(event)[0] / stage.clientWidth);
});
divider.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  event.stopPropagation();
  moveLine(split + steps[event.key]);
});
