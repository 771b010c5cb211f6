// The groups: the list beside the page, and cards with typical images.
const GROUP_ORDERS = {
  number: (a, b) => a.id - b.id,
  size: (a, b) => b.count - a.count || a.id - b.id,
  confidence: (a, b) => a.confidence - b.confidence || a.id - b.id,
  open: (a, b) => a.right - b.right || a.confidence - b.confidence || a.id - b.id,
};

function sideList() {
  const query = select("#side-find").value.trim().toLowerCase();
  const matches = groups.filter((group) => !query || String(group.id) === query || nameOf(group).toLowerCase().includes(query));
  const list = select("#side-list"), focused = document.activeElement?.closest?.("#side-list a")?.dataset.group;
  list.replaceChildren(...matches.map((group) => {
    const link = make("a", { href: `#group/${group.id}` }, faces(group, 1),
      make("span", { class: "who" }, make("b", {}, nameOf(group)), group.right ? make("span", { class: "mark-right", title: "Right" }, "✓") : null),
      make("span", { class: "count" }, count(group.count)));
    link.dataset.group = group.id;
    link.setAttribute("aria-label", `${nameOf(group)}${group.name ? `, number ${group.id}` : ""}, ${images(group.count)}${group.right ? ", right" : ""}`);
    if (route.name === "group" && route.id === group.id) link.setAttribute("aria-current", "page");
    dropTarget(link, group.id);
    dragsGroup(link, group.id);
    return make("li", {}, link);
  }));
  if (focused) select(`#side-list a[data-group="${focused}"]`)?.focus({ preventScroll: true });
}

function groupCard(group) {
  const several = group.parts.length > 1;
  const open = () => { location.hash = `#group/${group.id}`; };
  const title = make("a", { href: `#group/${group.id}` }, nameOf(group));
  const facts = [images(group.count), `confidence ${share(1000 * group.confidence)}`];
  if (several) facts.push(`${group.parts.length} groups`);
  if (group.proposed) facts.push("a proposed name");
  const card = make("article", { class: "panel group-card", "aria-label": nameOf(group) },
    make("header", {}, make("h2", {}, title, group.name ? make("span", { class: "number" }, String(group.id)) : null), group.right ? make("span", { class: "badge" }, "✓ right") : group.split ? make("span", { class: "badge" }, `split into ${group.split}`) : null),
    make("p", { class: "quiet" }, facts.join(" · ")),
    make("div", { class: "shots-row" }, ...group.typical.map((row) => make("button", { type: "button", class: "tile-button", tabIndex: -1, "aria-hidden": "true", onclick: open }, picture(row, "")))),
    make("div", { class: "card-buttons" },
      ...(several ? [button("Make it one group", () => uniteGroup(group.id), nameOf(group))] : [
        button("Rename", () => renameGroup(group.id), nameOf(group)),
        group.right ? null : button("Right", () => confirmGroup(group.id), nameOf(group)),
      ]),
      button("Merge into …", () => mergeGroup(group.id), nameOf(group))));
  card.dataset.group = group.id;
  dropTarget(card, group.id);
  dragsGroup(card, group.id);
  return card;
}

function button(text, action, of = "", keys = "") {
  const element = make("button", { type: "button", onclick: action }, text);
  if (of) element.append(make("span", { class: "unseen" }, ` ${of}`));
  if (keys) { element.setAttribute("aria-keyshortcuts", keys); element.title = `Key ${keys}`; }
  return element;
}

// Cards are added as they are scrolled to.
const CARDS = 24;
let cardsShown = 0, cardOrder = [];
function moreCards() {
  const next = cardOrder.slice(cardsShown, cardsShown + CARDS);
  select("#group-cards").append(...next.map(groupCard));
  cardsShown += next.length;
}
const nearEnd = () => select("#group-cards").getBoundingClientRect().bottom < window.innerHeight + 900;
window.addEventListener("scroll", () => {
  if (route.name === "groups" && cardsShown < cardOrder.length && nearEnd()) moreCards();
}, { passive: true });

function showGroups(stay) {
  const again = stay ? cardsShown : 0, focused = document.activeElement?.closest?.(".group-card")?.dataset.group;
  const label = document.activeElement?.closest?.(".group-card") && document.activeElement.firstChild?.textContent;
  cardOrder = [...groups].sort(GROUP_ORDERS[select("#groups-order").value]);
  select("#group-cards").replaceChildren();
  cardsShown = 0;
  do moreCards(); while (cardsShown < cardOrder.length && (cardsShown < again || nearEnd()));
  if (focused) {
    const card = select(`.group-card[data-group="${focused}"]`);
    (selectAll("button", card ?? document.body).find((each) => card && each.firstChild?.textContent === label) ?? select("a", card ?? select("#main")))?.focus({ preventScroll: true });
  }
  select("#groups-title").textContent = `${count(groups.length)} ${groups.length === 1 ? "group" : "groups"}`;
  const right = groups.filter((group) => group.right).length;
  select("#groups-text").textContent = `${images(state.samples)}${right ? `, ${count(right)} of ${count(groups.length)} groups right` : ""}`;
  levels();
}

function levels() {
  const slider = select("#level");
  select("#level-label").hidden = state.coarsest >= state.finest;
  slider.min = Math.max(1, state.coarsest);
  slider.max = state.finest;
  slider.value = isFinest() ? state.finest : state.level;
  shownLevel();
}
function shownLevel() {
  const value = Number(select("#level").value);
  const text = value >= state.finest ? `all ${count(state.finest)}` : `${count(value)} of ${count(state.finest)}`;
  select("#level-out").textContent = text;
  select("#level").setAttribute("aria-valuetext", `${text} groups`);
}

async function setLevel(value) {
  state.level = value >= state.finest ? null : Math.max(value, state.coarsest, 1);
  await refresh();
}
select("#level").addEventListener("input", shownLevel);
select("#level").addEventListener("change", (event) => setLevel(Number(event.target.value)));
select("#groups-order").addEventListener("change", () => showGroups(false));
select("#side-find").addEventListener("input", sideList);
select("#side-find").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  const first = select("#side-list a");
  if (first) location.hash = first.getAttribute("href");
});
dropTarget(select("#drop-new"), "new");
select("#drop-new").addEventListener("click", () => {
  if (chosen.size) moveTo([...chosen.keys()], "new");
  else say("Choose images first, with Space or the circle in their corner; or drag them here.");
});
watchers.add(sideList);
