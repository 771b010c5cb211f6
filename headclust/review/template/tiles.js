// Images: a tile that can be chosen, dragged and opened, and the pictures in it.
const MIME = "application/x-headclust-rows";
const share = (mille) => `${(mille / 10).toFixed(1)} %`;
const imageAddress = (row, side = 0) => `/image/${row}?side=${side}&key=${state.key}`;

// The end of a name that is too long: the file, and as many of its folders as there is place for.
function ending(text, length) {
  const letters = [...text];
  if (letters.length <= length) return text;
  const end = letters.slice(1 - length).join(""), slash = end.indexOf("/");
  return `…${slash > 0 ? end.slice(slash) : end}`;
}

function make(tag, values = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function nameBox(name) {
  return make("span", { class: "no-image" }, ending(name, 60));
}

// A small copy, loaded when it is near the window; the name in its place if there is none.
// It is asked for a second time: a server that was busy may have given it up.
function picture(row, name, { side = 0, alt = "", again = false } = {}) {
  if (!state.images) return nameBox(name);
  const image = make("img", { loading: again ? "eager" : "lazy", decoding: "async", alt, draggable: false });
  image.addEventListener("error", () => {
    const box = nameBox(name);
    box.classList.add("damaged");
    image.replaceWith(box);
    if (!again) setTimeout(() => {
      if (!box.isConnected) return;
      const second = picture(row, name, { side, alt, again: true });
      second.addEventListener("load", () => box.replaceWith(second));
    }, 2500);
  });
  image.src = imageAddress(row, side);
  return image;
}

const entry = ([row, name, group, confidence, fixed]) => ({ row, name, group, confidence, fixed: Boolean(fixed) });

function describe(image) {
  return `${image.name}, ${labelOf(image.group)}, ${image.fixed ? "fixed by you" : `confidence ${share(image.confidence)}`}`;
}

// A button with a picture that opens it large.
function smallTile(image, note, open) {
  return make("button", { type: "button", class: "tile-button", title: image.name, "aria-label": describe(image), onclick: open },
    picture(image.row, image.name), make("span", {}, note));
}

// Faces of a group in a row.
function faces(group, number = 3) {
  return make("span", { class: "faces", "aria-hidden": "true" }, ...group.typical.slice(0, number).map((row) => picture(row, "")));
}
