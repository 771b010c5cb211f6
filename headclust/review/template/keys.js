// The keyboard. Every key is listed in the dialog of the key "?", and in docs/how-to/review.md.
const KEYS = [
  ["Everywhere", [["?", "these keys"], ["/", "find images"], ["h", "all groups"], ["q", "questions"], ["e", "changes"], ["u", "undo the last change"], ["− and +", "show fewer or more groups"], ["Escape", "let go of the chosen images, close a dialog"]]],
  ["A group", [["r", "rename it"], ["c", "confirm that it is right"], ["m", "merge it into another"], ["s", "split it"], ["[ and ]", "the group before or after"], ["i", "go to its images"]]],
  ["Images", [["arrows, Home, End, Page", "move"], ["Enter", "open large"], ["Space", "choose or let go"], ["Shift with arrows", "choose several"], ["Ctrl A", "choose all"], ["n", "similar images"]]],
  ["The chosen images, or that in focus", [["g", "move to a group"], ["w", "move to a new group"], ["t", "they belong together"], ["a", "two do not belong together"]]],
  ["An image opened large", [["left and right arrow", "the one before or after"], ["g", "move to a group"], ["y", "it belongs where it is"], ["n", "similar images"]]],
  ["Questions", [["1 to 4", "the group it belongs to"], ["g", "another group"], ["y and n", "together, or apart"], ["m", "merge their groups"], ["x", "skip"]]],
  ["Changes", [["f", "fit again"]]],
];

function showKeys() {
  if (!select("#keys-list").children.length) {
    select("#keys-list").append(...KEYS.map(([part, keys]) => make("section", {}, make("h3", {}, part), make("dl", {}, ...keys.flatMap(([key, text]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, text)])))));
  }
  openDialog(select("#keys-dialog"));
}

const inFocus = () => (document.activeElement?.closest?.(".pick") ? grid?.current() : null);
function targetRows() {
  const image = inFocus();
  return chosen.size ? [...chosen.keys()] : image ? [image.row] : [];
}

const EVERYWHERE = {
  "?": showKeys,
  "/": () => { searchField.focus(); searchField.select(); },
  h: () => { location.hash = "#groups"; },
  q: () => { location.hash = "#questions"; },
  e: () => { location.hash = "#changes"; },
  u: undoLast,
  "-": () => setLevel((state.level ?? state.finest) - 1),
  "+": () => setLevel((state.level ?? state.finest) + 1),
  Escape: () => { if (chosen.size) { chosen.clear(); chosenChanged(); } },
  g: () => { const rows = targetRows(); if (rows.length) moveTo(rows, null); },
  w: () => { const rows = targetRows(); if (rows.length) moveTo(rows, "new"); },
  t: () => { if (chosen.size > 1) relate("together", [...chosen.keys()]); },
  a: () => { if (chosen.size === 2) relate("apart", [...chosen.keys()]); },
  n: () => { const image = inFocus(); if (image) location.hash = `#near/${image.row}`; },
  i: () => grid?.focus(),
};
const currentGroup = () => {
  if (route.name === "group") return route.id;
  const card = document.activeElement?.closest?.("[data-group]");
  return card ? Number(card.dataset.group) : null;
};
const OF_GROUP = {
  r: renameGroup, c: confirmGroup, m: (id) => mergeGroup(id), s: splitGroup,
  "[": () => select("#group-before").click(), "]": () => select("#group-after").click(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target, typing = target.matches?.("input:not([type=radio]):not([type=range]), select, textarea");
  if (typing && event.key === "Escape") target.blur();
  if (typing || select("dialog[open]")) return;
  let done = false;
  if (route.name === "questions") done = answerKey(event.key);
  if (!done && route.name === "changes" && event.key === "f") { selectAll("#refit button").find((each) => each.getAttribute("aria-keyshortcuts") === "f")?.click(); done = true; }
  const group = done ? null : currentGroup();
  if (!done && event.key in OF_GROUP && group !== null) { OF_GROUP[event.key](group); done = true; }
  if (!done && event.key in EVERYWHERE) { EVERYWHERE[event.key](); done = true; }
  if (done) event.preventDefault();
});
select("#help").addEventListener("click", showKeys);
select("#undo").addEventListener("click", undoLast);
