// The level: the groups of the page, or fewer, as they join from fine to coarse.
const PART_TILES = [2, 24];  // least number of images per part of a group, and most per group

let partsOf = new Map(), joinedTo = new Map(), namesNow = new Map();
const groupNow = (number) => joinedTo.get(number) ?? number;
const partsNow = (number) => partsOf.get(number) ?? [number];
const nameNow = (number) => namesNow.get(number) ?? "";
const titleNow = (number) => nameNow(number) ? `${number} (${nameNow(number)})` : `${number}`;
const atLevel = [];
const onLevel = (action) => atLevel.push(action);

const finestNames = new Map(Object.entries(data.groupNames).map(([number, name]) => [Number(number), name]));
namesNow = finestNames;

// The groups after so many joins that `left` are left.
function cut(all, left) {
  partsOf = new Map(all.map((number) => [number, [number]]));
  namesNow = new Map(finestNames);
  for (const [kept, joined, name] of data.unions.slice(0, all.length - left)) {
    partsOf.set(kept, [...partsOf.get(kept), ...partsOf.get(joined)]);
    partsOf.delete(joined);
    namesNow.delete(joined);
    if (name === null) namesNow.delete(kept);
    else namesNow.set(kept, name);
  }
  joinedTo = new Map([...partsOf].flatMap(([kept, parts]) => parts.map((part) => [part, kept])));
  groups.clear();
}

function levelSlider() {
  const slider = select("#level"), field = select("#level-number");
  if (!slider) return;
  const cards = new Map(selectAll(".cluster").map((card) => [Number(card.dataset.number), card]));
  const all = [...cards.keys()], most = all.length;
  const own = new Map([...cards].map(([number, card]) => [number, { size: Number(card.dataset.size), confidence: Number(card.dataset.confidence) }]));
  const total = [...own.values()].reduce((sum, { size }) => sum + size, 0);
  const share = (value) => `${(100 * value).toFixed(1)} %`;
  const texts = new WeakMap();
  // The text of an element, or its first one again where that is null.
  const put = (element, text) => {
    if (!element) return;
    if (!texts.has(element)) texts.set(element, element.textContent);
    element.textContent = text ?? texts.get(element);
  };
  let left = most, pending = false;

  function sums() {
    return new Map([...partsOf].map(([number, parts]) => {
      const size = parts.reduce((sum, part) => sum + own.get(part).size, 0);
      const confidence = parts.reduce((sum, part) => sum + own.get(part).size * own.get(part).confidence, 0) / size;
      return [number, { size, confidence, isUnion: parts.length > 1 }];
    }));
  }
  function showCards(now) {
    for (const [number, card] of cards) {
      const group = now.get(number);
      card.classList.toggle("joined", !group);
      if (!group) continue;
      const text = (value) => group.isUnion ? value : null, button = select("[data-group]", card);
      card.classList.toggle("is-union", group.isUnion);
      card.dataset.size = group.size;
      card.dataset.confidence = group.confidence;
      put(select(".name", card), nameNow(number));
      put(select(".amount", card), text(`${count(group.size)} images, ${share(group.size / total)}`));
      put(select(".sure", card), text(`mean confidence ${share(group.confidence)}`));
      button.firstChild.data = group.size > 1 ? `All ${count(group.size)} images` : "The image";
      near.unobserve(card);
      near.observe(card);  // which fills it when it is near the window
    }
  }
  // In place of its own pictures a group of several shows typical ones of each, in turn.
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) showParts(target);
  }, { rootMargin: "800px" });
  function showParts(card) {
    const number = Number(card.dataset.number), parts = partsNow(number), key = parts.length > 1 ? parts.join() : "";
    if ((card.dataset.parts ?? "") === key) return;
    card.dataset.parts = key;
    select(".union", card)?.remove();
    if (!key) return;
    const box = document.createElement("div"), text = document.createElement("p"), tiles = document.createElement("div");
    const each = Math.max(PART_TILES[0], Math.floor(PART_TILES[1] / parts.length));
    const rows = parts.map((part) => selectAll(".typical figure[data-row]", cards.get(part)).slice(0, each).map((figure) => Number(figure.dataset.row)));
    const turns = Array.from({ length: each }, (_, turn) => rows.flatMap((row) => row.slice(turn, turn + 1))).flat();
    box.className = "union";
    text.className = "quiet";
    const listed = parts.slice(0, PART_TILES[1]).map((part) => finestNames.has(part) ? `${part} (${finestNames.get(part)})` : part);
    text.textContent = `It joins the groups ${listed.join(", ")}${parts.length > listed.length ? ` and ${parts.length - listed.length} more` : ""}.`;
    tiles.className = "tiles-grid";
    tiles.append(...turns.slice(0, PART_TILES[1]).map((row) => tileOf(row, confidenceOf(row))));
    tiles.addEventListener("click", (event) => openTile(event, () => rowsOfGroup(number)));
    box.append(text, tiles);
    card.append(box);
    rove(tiles);
  }
  function showSizes(now) {
    const largest = Math.max(...[...now.values()].map(({ size }) => size)), lines = selectAll(".sizes li");
    for (const line of lines) {
      const number = Number(line.dataset.number), group = now.get(number);
      line.classList.toggle("joined", !group);
      if (!group) continue;
      put(select("i", line), group.isUnion ? nameNow(number) : null);
      put(select(".count", line), count(group.size));
      select(".fill", line).setAttribute("width", (100 * group.size / largest).toFixed(2));
      select("a", line).title = `Group ${titleNow(number)}: ${count(group.size)} images, ${share(group.size / total)}`;
    }
    const size = (line) => now.get(Number(line.dataset.number))?.size ?? 0;
    select(".sizes").append(...lines.sort((a, b) => size(b) - size(a) || a.dataset.number - b.dataset.number));
    for (const box of selectAll(".choices input")) {
      const number = Number(box.value), group = now.get(number), label = box.closest("label");
      label.classList.toggle("joined", !group);
      put(select("i", label), group?.isUnion ? nameNow(number) : null);
      put(select(".count", label), group ? count(group.size) : null);
    }
    put(select("#even"), left < most ? count(Math.round(total / left)) : null);
  }
  function showTiles(now) {
    const isFinest = left === most, shares = [...now.values()].map(({ size }) => size / total);
    const tile = (name, value, text) => {
      const box = select(`[data-tile="${name}"]`);
      put(select("strong", box), isFinest ? null : value);
      put(select("dd > span", box), isFinest ? null : text);
    };
    tile("Groups", count(left), `of ${count(most)} at the finest level`);
    tile("Largest group", share(Math.max(...shares)), `${share(1 / left)} would be even`);
    tile("Evenness", share(shares.reduce((sum, part) => sum - part * Math.log(part), 0) / Math.log(left)), "100 % if all groups have the same size");
    put(select('[data-tile="Agreement"] dd > span'), isFinest ? null : "at the finest level");
    put(select("#overview-title"), isFinest ? null : `${count(data.n)} images in ${count(left)} groups`);
  }
  function show() {
    pending = false;
    cut(all, left);
    const now = sums();
    document.documentElement.classList.toggle("coarser", left < most);
    showCards(now);
    showSizes(now);
    showTiles(now);
    for (const action of atLevel) action();
    select("#level-status").textContent = `${count(left)} groups`;
  }
  function choose(value) {
    left = Math.min(most, Math.max(Number(slider.min), Math.round(value) || left));
    slider.value = left;
    field.value = left;
    slider.setAttribute("aria-valuetext", `${count(left)} of ${count(most)} groups`);
    if (!pending) { pending = true; requestAnimationFrame(show); }
  }
  slider.addEventListener("input", () => choose(Number(slider.value)));
  field.addEventListener("change", () => choose(Number(field.value)));
  slider.form.addEventListener("submit", (event) => { event.preventDefault(); choose(Number(field.value)); });
  if (Number(slider.value) !== most) choose(Number(slider.value));  // a value that the browser kept over a reload
}
