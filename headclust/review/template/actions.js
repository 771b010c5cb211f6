// What can be done: each function sends one action, says what was done, and shows the groups as they are now.
const chosen = new Map();  // images by row
let chosenChanged = () => {};

async function act(values, text, { quiet = false } = {}) {
  try {
    const answer = await change("fix", values);
    after(answer);
    if (!quiet) say(text, true);
    await refresh();
    return answer;
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    say(error.message);
    return null;
  }
}

async function undoLast() {
  try {
    const answer = await change("undo");
    after(answer);
    say(`Undone: ${answer.undone}`);
    await refresh();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    say(error.message);
  }
}

async function refresh() {
  await loadGroups();
  await showPart(true);
}

// At a coarser level several groups are shown as one; only merging is for all of them.
const partsOf = (id) => (isFinest() ? [id] : groupOf.get(id)?.parts ?? [id]);
function single(id) {
  const parts = partsOf(id);
  if (parts.length === 1) return parts[0];
  say(`These are ${parts.length} groups shown as one: make them one group first, or show all groups.`);
  return null;
}

async function renameGroup(id) {
  const group = single(id);
  if (group === null) return;
  const old = finestOf.get(group);
  const answer = await ask({ title: `Name of group ${group}`, label: "Name", value: old?.name ?? "", ok: "Rename" });
  if (!answer || !answer.text.trim()) return;
  await act({ action: "rename", group, name: answer.text }, `Group ${group} is now “${answer.text.trim()}”.`);
}

// Merge a group into another one of the finest level, or, dropped on one at the level shown, with all its parts.
async function mergeGroup(id, dropped = null) {
  const parts = partsOf(id);
  let into, others = parts;
  if (dropped === null) {
    const title = parts.length > 1 ? `Merge these ${parts.length} groups into` : `Merge ${labelOf(id)} into`;
    const choices = finest.filter((group) => !parts.includes(group.id));
    const answer = await ask({ title, text: "All its images go to that group, and its number ends.", label: "Group", choices, ok: "Merge" });
    if (!answer) return;
    into = answer.group;
  } else {
    into = partsOf(dropped).includes(dropped) ? dropped : partsOf(dropped)[0];
    others = [...parts, ...partsOf(dropped).filter((part) => part !== into)];
  }
  const what = others.length > 1 ? `${others.length} groups are` : `${labelOf(others[0])} is`;
  const done = await act({ action: "merge", groups: others, into }, `${what} now part of ${labelOf(into)}.`);
  if (done && route.name === "group" && route.id === id) location.hash = `#group/${into}`;
}

async function uniteGroup(id) {
  const parts = partsOf(id);
  const into = parts.includes(id) ? id : parts[0];
  await act({ action: "merge", groups: parts.filter((each) => each !== into), into }, `${parts.length} groups are now one: ${labelOf(into)}.`);
}

async function splitGroup(id) {
  const group = single(id);
  if (group === null) return;
  const answer = await ask({ title: `Split ${labelOf(group)}`, text: "The next fit makes this many groups of it.", label: "Groups", type: "number", value: "2", min: 2, max: 50, ok: "Split" });
  if (!answer) return;
  await act({ action: "split", group, parts: Number(answer.text) }, `${labelOf(group)} is ${answer.text} groups in the next fit.`);
}

async function confirmGroup(id) {
  const group = single(id);
  if (group === null) return;
  await act({ action: "right", group }, `${labelOf(group)} is right: its ${images(finestOf.get(group)?.count ?? 0)} stay.`);
}

// Move images to a group at the level shown; of several groups shown as one, the person chooses one.
async function moveTo(rows, into) {
  let target = into;
  if (into === null) {
    const answer = await ask({ title: `Move ${images(rows.length)} to`, label: "Group", choices: finest, extra: { id: "new", text: "A new group", name: true }, ok: "Move" });
    if (!answer) return false;
    target = answer.group;
  } else if (into !== "new" && partsOf(into).length > 1) {
    const parts = partsOf(into).map((id) => finestOf.get(id)).filter(Boolean);
    const answer = await ask({ title: `Move ${images(rows.length)} to which of these?`, label: "Group", choices: parts, ok: "Move" });
    if (!answer) return false;
    target = answer.group;
  }
  const done = await act({ action: "move", rows, into: target }, `${images(rows.length)} moved to ${target === "new" ? "a new group" : labelOf(target)}.`);
  if (!done) return false;
  if (target === "new") say(`The new group is number ${done.group}.`);
  chosen.clear();
  chosenChanged();
  return true;
}

async function relate(action, rows) {
  const text = action === "together" ? `${images(rows.length)} belong together.` : "These two do not belong together.";
  const done = await act({ action, rows }, text);
  if (done) { chosen.clear(); chosenChanged(); }
  return done;
}

// Groups as places to drop images and groups on.
const GROUP_MIME = "application/x-headclust-group";
function dropTarget(element, id) {
  const accepts = (event) => event.dataTransfer.types.includes(MIME) || (id !== "new" && event.dataTransfer.types.includes(GROUP_MIME));
  element.addEventListener("dragover", (event) => {
    if (!accepts(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "move";
    element.classList.add("over");
  });
  element.addEventListener("dragleave", (event) => { if (!element.contains(event.relatedTarget)) element.classList.remove("over"); });
  element.addEventListener("drop", (event) => {
    element.classList.remove("over");
    document.body.classList.remove("dragging");
    const rows = event.dataTransfer.getData(MIME), group = event.dataTransfer.getData(GROUP_MIME);
    if (!rows && !group) return;
    event.preventDefault();
    if (rows) moveTo(JSON.parse(rows), id);
    else if (Number(group) !== id) mergeGroup(Number(group), id);
  });
}
function dragsGroup(element, id) {
  element.draggable = true;
  element.addEventListener("dragstart", (event) => {
    if (event.target.closest(".pick")) return;
    event.dataTransfer.setData(GROUP_MIME, String(id));
    event.dataTransfer.effectAllowed = "move";
  });
}
