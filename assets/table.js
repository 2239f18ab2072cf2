// Draws the table in the tab "Objects": a row for each instance. "More numbers" shows pixels and boxes.

const HIDDEN_AT_FIRST = 3; // the column of the area in pixels; those of the box come after the percentage
let order = { column: -1, descending: false }; // -1: in the order in which the model gave them

const OF_BOX = 4; // the columns of the box; those in cm or m come after them, if there is a scale
const isMore = (column) => column === HIDDEN_AT_FIRST || (column > HIDDEN_AT_FIRST + 1 && column <= HIDDEN_AT_FIRST + 1 + OF_BOX);

function headerRow(headers) {
  const row = make("tr", {});
  row.append(
    ...headers.map((header, column) => {
      const cell = make("th", { scope: "col" });
      if (isMore(column)) cell.className = "extra";
      cell.append(make("button", { type: "button", "data-column": column, title: "Sort" }, header));
      return cell;
    }),
  );
  return row;
}

function makeRow(instance) {
  const row = make("tr", {});
  row.append(
    ...instance.cells.map((text, column) => {
      const cell = make("td", isMore(column) ? { class: "extra" } : {}, column === 1 ? undefined : text);
      if (column === 1) cell.append(thumbnail(instance), make("i", { class: "swatch" }), text);
      return cell;
    }),
  );
  return row;
}

/** A small picture of an object: its box, with a little around it. */
function thumbnail({ box: [x1, y1, x2, y2] }) {
  const { width, height } = drawn;
  const side = Math.max((x2 - x1) * width, (y2 - y1) * height) * 1.1;
  const [left, top] = [((x1 + x2) / 2) * width - side / 2, ((y1 + y2) / 2) * height - side / 2];
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `${left} ${top} ${side} ${side}`);
  picture.setAttribute("class", "thumbnail");
  picture.setAttribute("aria-hidden", "true");
  const image = document.createElementNS(SVG, "image");
  for (const [name, value] of Object.entries({ width, height, preserveAspectRatio: "none" })) image.setAttribute(name, value);
  picture.append(image);
  return picture;
}

/** Gives the thumbnails the photo, which may come after them. */
function showThumbnails() {
  for (const image of table.querySelectorAll(".thumbnail image")) image.setAttribute("href", photo.src);
}

function sortRows() {
  const { column, descending } = order;
  const sign = descending ? -1 : 1;
  const compare = (a, b) => (a < b ? -sign : a > b ? sign : 0);
  const all = [...parts.values()];
  if (column >= 0) all.sort((a, b) => compare(a.instance.row[column], b.instance.row[column]));
  table.tBodies[0].append(...all.map((part) => part.row));
  table.querySelectorAll("th").forEach((cell, i) => {
    if (i === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
}

/** Scrolls the table so far that a row is in its frame. */
function reveal(row) {
  const box = row.closest(".frame");
  const above = row.offsetTop - table.tHead.offsetHeight;
  if (above < box.scrollTop) box.scrollTop = above;
  else if (row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = row.offsetTop + row.offsetHeight - box.clientHeight;
}

table.addEventListener("pointerover", (event) => highlight(idOf(event.target) ?? selected));
table.addEventListener("pointerleave", () => highlight(selected));
details.querySelector(".more").addEventListener("change", ({ target }) => details.classList.toggle("all", target.checked));
