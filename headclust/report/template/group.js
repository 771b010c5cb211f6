// The groups: sorted, searched, and all images of one in a dialog.
const CHUNK = 120;  // images that are added at once

function clusterTools() {
  const cards = selectAll(".cluster"), find = select("#find"), sort = select("#sort");
  const orders = {
    number: (card) => Number(card.dataset.number),
    size: (card) => -Number(card.dataset.size),
    confidence: (card) => Number(card.dataset.confidence),
    purity: (card) => Number(card.dataset.purity ?? 2),
  };
  const apply = () => {
    const key = orders[sort.value], query = find.value.trim().toLowerCase();
    cards.sort((a, b) => key(a) - key(b) || a.dataset.number - b.dataset.number);
    select(".cards").append(...cards);
    let shown = 0;
    for (const card of cards) {
      const matches = !query || partsNow(Number(card.dataset.number)).some((part) => isCalled(part, query)) || nameNow(Number(card.dataset.number)).toLowerCase().includes(query);
      card.hidden = !matches;
      shown += matches && isShown(card);
    }
    select("#matches").textContent = query ? `${shown} of ${cards.filter(isShown).length}` : "";
  };
  const isShown = (card) => !card.classList.contains("joined");
  const byNumber = new Map(cards.map((card) => [Number(card.dataset.number), card]));
  const isCalled = (number, query) => {
    const { name = "", majority = "" } = byNumber.get(number).dataset;
    return String(number) === query || `${name}\n${majority}`.toLowerCase().includes(query);
  };
  find.addEventListener("input", apply);
  sort.addEventListener("change", apply);
  select(".tools").addEventListener("submit", (event) => event.preventDefault());
  // A link to a group that is part of another leads to that one; to one that the search hides, it clears the search.
  window.addEventListener("hashchange", () => {
    let card = document.getElementById(location.hash.slice(1));
    if (card?.classList.contains("joined")) {
      card = byNumber.get(groupNow(Number(card.dataset.number)));
      history.replaceState(null, "", `#${card.id}`);
      card.scrollIntoView();
    }
    if (card?.hidden) { find.value = ""; apply(); card.scrollIntoView(); }
  });
  onLevel(apply);
  if (find.value || sort.value !== "number") apply();  // values that the browser kept over a reload
}

const ORDERS = {
  sure: (rows) => rows.sort((a, b) => confidenceAt(b) - confidenceAt(a) || a - b),
  unsure: (rows) => rows.sort((a, b) => confidenceAt(a) - confidenceAt(b) || a - b),
  name: (rows) => {
    const collator = new Intl.Collator("en", { numeric: true });
    return rows.sort((a, b) => collator.compare(nameOf(a), nameOf(b)) || a - b);
  },
};

function groupDialog() {
  const dialog = select("#group-dialog"), order = select("#group-order"), tiles = select("#group-images"), more = select("#group-more");
  let rows = [], shown = 0;
  const add = () => {
    const first = shown === 0, next = rows.slice(shown, shown + CHUNK);
    tiles.append(...next.map((row) => tileOf(row, confidenceOf(row))));
    shown += next.length;
    more.hidden = shown >= rows.length;
    more.textContent = `Show more: ${count(rows.length - shown)} of ${count(rows.length)}`;
    rove(tiles, first);
  };
  const fill = () => {
    ORDERS[order.value](rows);
    tiles.replaceChildren();
    shown = 0;
    dialog.scrollTop = 0;
    add();
  };
  for (const button of selectAll("[data-group]")) {
    button.addEventListener("click", () => {
      const size = Number(button.closest(".cluster").dataset.size);
      rows = rowsOfGroup(Number(button.dataset.group)).slice();
      select("#group-title").textContent = `Group ${titleNow(Number(button.dataset.group))}: ${count(size)} ${size === 1 ? "image" : "images"}`;
      select("#group-text").textContent = rows.length < size ? `${count(rows.length)} of them are in this page.` : "";
      openDialog(dialog);
      fill();
    });
  }
  order.addEventListener("change", fill);
  more.addEventListener("click", () => {
    const next = shown;
    add();
    tiles.children[next]?.focus();
  });
  const near = new IntersectionObserver((entries) => {
    if (!(dialog.open && !more.hidden && entries.some((entry) => entry.isIntersecting))) return;
    add();
    near.unobserve(more);
    near.observe(more);  // tells again where it is: it tells changes only, and after fast scrolling there is none
  }, { root: dialog, rootMargin: "800px" });
  near.observe(more);
  tiles.addEventListener("click", (event) => openTile(event, () => rows));
  dialog.addEventListener("close", () => tiles.replaceChildren());
}
