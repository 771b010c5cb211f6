// The samples of the page, by row: name, group, confidence, small copy and file.
const selectAll = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const select = (selector, inside = document) => inside.querySelector(selector);
const data = JSON.parse(select("#data").textContent);
const count = (number) => number.toLocaleString("en");

const listed = data.rows || Array.from({ length: data.n }, (_, row) => row);
const placeOf = ((places) => (row) => places ? places.get(row) : row)(data.rows && new Map(data.rows.map((row, place) => [row, place])));
const groupOf = (row) => groupNow(data.clusters[placeOf(row)]);
const confidenceAt = (row) => data.confidence[placeOf(row)];
const confidenceOf = (row) => `${(confidenceAt(row) / 10).toFixed(1)} %`;
const nameOf = (row) => names()[placeOf(row)] ?? "";
const nearestOf = (row) => data.nearest[row] || [];

let decoded = null;
function names() {
  if (decoded) return decoded;
  let before = "";
  decoded = data.names.split("\n").map((line) => {
    const bar = line.indexOf("|");
    return before = before.slice(0, Number(line.slice(0, bar))) + line.slice(bar + 1);
  });
  return decoded;
}

const groups = new Map();  // of the level now
function rowsOfGroup(number) {
  if (!groups.size) {
    listed.forEach((row, place) => {
      const group = groupNow(data.clusters[place]);
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(row);
    });
  }
  return groups.get(number) || [];
}

// The end of a name that is too long: the file, and as many of its folders as there is place for.
function ending(text, length) {
  const letters = [...text];
  if (letters.length <= length) return text;
  const end = letters.slice(1 - length).join(""), slash = end.indexOf("/");
  return `…${slash > 0 ? end.slice(slash) : end}`;
}

function thumbOf(row) {
  if (data.thumbs[row] !== undefined) return `data:image/webp;base64,${data.thumbs[row]}`;
  return document.getElementById(`t${row}`)?.src;
}
const hasThumb = (row) => data.thumbs[row] !== undefined || document.getElementById(`t${row}`) !== null;
function imageOf(row, alt) {
  const address = thumbOf(row);
  if (!address) return null;
  const image = document.createElement("img");
  image.decoding = "async";
  image.alt = alt;
  image.src = address;
  if (data.tiny || document.getElementById(`t${row}`)?.classList.contains("tiny")) image.className = "tiny";
  return image;
}

// Addresses of an image's file. A page that was not opened from a disk must load nothing, so there are none then.
function filesOf(row) {
  const name = nameOf(row), own = data.files?.addresses[row];
  if (!data.files || !name || own === null || location.protocol !== "file:") return [];
  const address = own ?? name.split("/").map(encodeURIComponent).join("/");
  const addresses = address.startsWith("/")
    ? [`/${address.replace(/^\/+/, "")}`]
    : data.files.folders.map((folder) => `${folder}/${address}`);
  return addresses.map((each) => new URL(each, location.href)).filter((url) => url.protocol === "file:" && !url.host).map(String);
}

// A button that opens an image. Without a small copy it shows the file, when it is scrolled to, or else the name.
function tileOf(row, note) {
  const tile = document.createElement("button"), name = nameOf(row), caption = document.createElement("span");
  tile.type = "button";
  tile.className = "tile-button";
  tile.dataset.row = row;
  tile.title = name;
  tile.setAttribute("aria-label", `${name}, group ${titleNow(groupOf(row))}, confidence ${confidenceOf(row)}`);
  caption.textContent = note;
  tile.append(imageOf(row, "") ?? fileOf(row) ?? nameBox(name), caption);
  return tile;
}
function fileOf(row) {
  const addresses = filesOf(row);
  if (!addresses.length) return null;
  const image = document.createElement("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = "";
  image.addEventListener("error", () => {
    const next = addresses.shift();
    if (next) image.src = next;
    else image.replaceWith(nameBox(nameOf(row)));
  });
  image.src = addresses.shift();
  return image;
}
function nameBox(name) {
  const box = document.createElement("span");
  box.className = "no-image";
  box.textContent = ending(name, 40);
  return box;
}
function openTile(event, rows) {
  const tile = event.target.closest("[data-row]");
  if (tile) large.open(Number(tile.dataset.row), rows());
}

// The dialog itself gets the focus, so that no key changes one of its controls by mistake.
function openDialog(dialog) {
  if (dialog.open) return;
  dialog.showModal();
  dialog.focus();
}

// One stop of the Tab key per group of images; arrow keys move inside it.
function rove(container, begin = true) {
  const items = () => selectAll(".tile-button, .opener", container);
  for (const item of items()) if (begin || item.tabIndex !== 0) item.tabIndex = -1;
  const first = begin ? items()[0] : null;
  if (first) first.tabIndex = 0;
  if (container.dataset.roves) return;
  container.dataset.roves = "yes";
  container.addEventListener("focusin", (event) => {
    const item = event.target.closest(".tile-button, .opener");
    for (const other of item ? items() : []) other.tabIndex = other === item ? 0 : -1;
  });
  container.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const all = items(), at = all.indexOf(event.target.closest(".tile-button, .opener"));
    if (at < 0) return;
    const top = (item) => item.getBoundingClientRect().top;
    const across = Math.max(1, all.findIndex((item) => top(item) > top(all[0]) + 1));
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, Home: -at, End: all.length - 1 - at };
    if (!(event.key in steps)) return;
    all[at + steps[event.key]]?.focus();
    event.preventDefault();
  });
}
