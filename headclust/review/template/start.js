// The parts of the page by the address after "#", colors, and the start.
const PARTS = { groups: showGroups, group: showGroup, find: showList, near: showList, moved: showList, questions: showQuestions, changes: showChanges };
const SECTION = { find: "list", near: "list", moved: "list" };

function parsed() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  if (name === "group" && /^\d+$/.test(rest[0])) return { name, id: Number(rest[0]) };
  if (name === "near" && /^\d+$/.test(rest[0])) return { name, id: Number(rest[0]) };
  if (name === "moved" && rest.length === 2) return { name, before: Number(rest[0]), after: Number(rest[1]) };
  if (name === "find" && rest.length > 1) {
    try { return { name, kind: rest[0] === "text" ? "text" : "name", query: decodeURIComponent(rest.slice(1).join("/")) }; } catch { return { name: "groups" }; }
  }
  return { name: name in PARTS && !["group", "near", "moved", "find"].includes(name) ? name : "groups" };
}

// Show the part that the address names; with `stay` it is the same one, after a change.
async function showPart(stay) {
  const section = SECTION[route.name] ?? route.name;
  document.body.dataset.part = section;
  for (const each of selectAll("main > section")) each.hidden = each.id !== `part-${section}`;
  for (const link of selectAll("nav a")) {
    const of = { group: "groups", find: "groups", near: "groups", moved: "changes" }[route.name] ?? route.name;
    if (link.dataset.part === of) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!["group", "find", "near", "moved"].includes(route.name)) grid?.hide();
  try {
    await PARTS[route.name](stay);
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    say(error.message);
  }
  document.title = `${select(`#part-${section} h1`).textContent} – headclust review`;
}

async function go() {
  const before = JSON.stringify(route);
  route = parsed();
  const same = before === JSON.stringify(route);
  for (const each of selectAll("dialog[open]")) each.close();
  if (!same) window.scrollTo({ top: 0, behavior: "instant" });
  sideList();
  await showPart(same);
  const section = SECTION[route.name] ?? route.name;
  if (!same && document.activeElement !== searchField) select(`#part-${section} h1`).focus({ preventScroll: true });
}

for (const theme of selectAll("input[name=theme]")) {
  if (theme.value === withStorage("localStorage", (storage) => storage.getItem("headclust-theme"))) theme.checked = true;
  theme.addEventListener("change", () => withStorage("localStorage", (storage) => storage.setItem("headclust-theme", theme.value)));
}

// A change from elsewhere (another tab, an editor) is shown when the person comes back to this tab.
document.addEventListener("visibilitychange", async () => {
  if (document.visibilityState !== "visible" || !token) return;
  const before = state.version;
  await loadState();
  if (state.version !== before) await refresh();
});
window.addEventListener("hashchange", go);

(async () => {
  document.documentElement.classList.add("scripted");
  if (!token) { banner("Open the address that headclust review has printed: this tab has no token."); return; }
  await loadState();
  await loadGroups();
  select("#run-name").textContent = state.run;
  select("#images-problem").hidden = !state.problem;
  select("#images-problem").textContent = state.images ? state.problem : `Images cannot be shown, only their names: ${state.problem}`;
  select("#search-kind").hidden = Boolean(state.text);
  route = parsed();
  if (route.name === "find") { searchField.value = route.query; if (!state.text) searchKind.value = route.kind; }
  sideList();
  await showPart(false);
  document.documentElement.classList.add("ready");
})().catch((error) => { if (!(error instanceof ServerError)) throw error; });
