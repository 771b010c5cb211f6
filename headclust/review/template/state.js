// What the page knows of the run: its groups at the level shown, and what has changed since.
const state = { level: null, finest: 0, coarsest: 0, samples: 0, key: "", images: false, text: "-", version: 0, fixes: 0, undo: "", refit: "none", most: 0 };
let route = { name: "groups" };  // the part of the page that is shown
let groups = [];  // at the level shown
let finest = [];  // at the finest level: what changes name
const groupOf = new Map(), finestOf = new Map();  // by id
const watchers = new Set();  // called after groups have changed

const isFinest = () => state.level === null;
const levelOf = () => (isFinest() ? null : state.level);
const nameOf = (group) => group?.name ?? (group ? `Group ${group.id}` : "");
const labelOf = (id) => nameOf(finestOf.get(id) ?? groupOf.get(id)) || `Group ${id}`;

async function loadState() {
  Object.assign(state, await read("state"));
}

async function loadGroups() {
  const all = await read("groups");
  let shown = all;
  finest = all.groups;
  state.finest = finest.length;
  if (!isFinest()) {
    state.level = Math.min(state.level, state.finest);
    if (state.level >= state.finest) state.level = null;
    else shown = await read("groups", { level: state.level });
  }
  groups = shown.groups;
  for (const [map, list] of [[groupOf, groups], [finestOf, finest]]) {
    map.clear();
    for (const group of list) map.set(group.id, group);
  }
  after(all);
  for (const watcher of watchers) watcher();
}

// The parts of the state that come with each answer.
function after(answer) {
  for (const name of ["version", "fixes", "undo", "refit"]) if (name in answer) state[name] = answer[name];
  select("#n-changes").textContent = state.fixes ? `(${count(state.fixes)})` : "";
  const undo = select("#undo");
  undo.disabled = !state.fixes;
  undo.title = state.undo ? `Undo: ${state.undo} (u)` : "";
}
