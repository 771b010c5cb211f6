// A list of any number of images: only those near the window are in the document, and asked for, a block at a time.
const BLOCK = 120, MOST_BLOCKS = 60, NOTE = 22;

function imageGrid(home) {
  const list = make("div", { class: "grid", role: "listbox", "aria-multiselectable": "true", tabIndex: -1 });
  const inner = make("div", { class: "grid-inner", role: "presentation" });
  list.append(inner);
  home.append(list);
  let query = null, total = 0, focus = 0, anchor = 0, blocks = new Map(), shown = new Map(), turn = 0, pending = false, options = {};

  const columns = () => Math.max(1, Math.floor((list.clientWidth + 8) / (tileSize() + 8)));
  const tileSize = () => Math.min(150, Math.max(96, Math.floor((list.clientWidth - 16) / 3)));
  const rowHeight = () => Math.floor((list.clientWidth + 8) / columns()) + NOTE;  // a square picture, its note, a gap
  const at = (place) => blocks.get(Math.floor(place / BLOCK))?.[place % BLOCK] ?? null;

  async function fetchBlock(number) {
    if (blocks.has(number)) return;
    blocks.set(number, []);
    const mine = turn;
    try {
      const answer = await read("images", { ...query, level: levelOf(), start: number * BLOCK, count: BLOCK });
      if (mine !== turn) return;
      blocks.set(number, answer.images.map(entry));
      if (answer.total !== total) setTotal(answer.total);
      while (blocks.size > MOST_BLOCKS) blocks.delete(blocks.keys().next().value);
      draw();
    } catch (error) {
      if (mine === turn) blocks.delete(number);
      if (error instanceof ServerError) options.failed?.(error.message);
    }
  }

  function setTotal(number) {
    total = number;
    focus = Math.max(0, Math.min(focus, total - 1));
    options.counted?.(total);
  }

  function draw() {
    pending = false;
    if (!query || !list.isConnected || !list.clientWidth) return;
    const across = columns(), height = rowHeight(), width = (list.clientWidth + 8) / across - 8;
    inner.style.height = `${Math.ceil(total / across) * height}px`;
    const top = -inner.getBoundingClientRect().top, extra = window.innerHeight * 0.75;
    const first = Math.max(0, Math.floor((top - extra) / height)) * across;
    const last = Math.min(total, Math.ceil((top + window.innerHeight + extra) / height) * across);
    const places = new Set();
    for (let place = first; place < last; place += 1) places.add(place);
    if (total) places.add(focus);  // the focus stays in the document
    let refocus = false;
    for (const [place, tile] of shown) {
      if (places.has(place) && (tile.dataset.row !== "" || !at(place))) continue;
      refocus ||= tile === document.activeElement;
      tile.remove();
      shown.delete(place);
    }
    for (let block = Math.floor(first / BLOCK); block <= Math.floor(Math.max(first, last - 1) / BLOCK); block += 1) fetchBlock(block);
    let next = null;  // in the document, images are in the order of their places
    for (const place of [...places].sort((a, b) => b - a)) {
      let tile = shown.get(place);
      if (!tile) {
        tile = tileAt(place);
        shown.set(place, tile);
        inner.insertBefore(tile, next);
      }
      next = tile;
      tile.style.transform = `translate(${(place % across) * (width + 8)}px, ${Math.floor(place / across) * height}px)`;
      tile.style.width = `${width}px`;
      tile.tabIndex = place === focus ? 0 : -1;
    }
    if (refocus) shown.get(focus)?.focus({ preventScroll: true });
    mark();
  }
  const later = () => { if (!pending) { pending = true; requestAnimationFrame(draw); } };

  function tileAt(place) {
    const image = at(place);
    const tile = make("div", { class: "pick", role: "option", draggable: Boolean(image), "aria-posinset": String(place + 1), "aria-setsize": String(total), "aria-selected": "false" });
    tile.dataset.place = place;
    tile.dataset.row = image ? image.row : "";
    if (!image) return tile;
    tile.title = image.name;
    tile.setAttribute("aria-label", describe(image));
    const note = options.showGroup ? labelOf(image.group) : image.fixed ? "fixed by you" : share(image.confidence);
    tile.append(picture(image.row, image.name), make("span", { class: "tick", "aria-hidden": "true" }), make("span", { class: image.fixed ? "note fixed" : "note" }, note));
    return tile;
  }

  function mark() {
    for (const tile of shown.values()) {
      const is = tile.dataset.row !== "" && chosen.has(Number(tile.dataset.row));
      tile.setAttribute("aria-selected", String(is));
    }
  }

  // Where the focus goes; with `extend`, everything from the anchor to it is chosen.
  function go(place, extend = false) {
    if (!total) return;
    focus = Math.max(0, Math.min(total - 1, place));
    if (extend) range(anchor, focus);
    else anchor = focus;
    const across = columns(), height = rowHeight(), head = select(".top").offsetHeight + 8;
    const top = inner.getBoundingClientRect().top + Math.floor(focus / across) * height;
    if (top < head) window.scrollBy({ top: top - head, behavior: "instant" });
    else if (top + height > window.innerHeight - 70) window.scrollBy({ top: top + height - window.innerHeight + 70, behavior: "instant" });
    draw();
    shown.get(focus)?.focus({ preventScroll: true });
  }

  async function range(from, to) {
    const [first, last] = from < to ? [from, to] : [to, from];
    if (last - first >= state.most) { say(`At most ${count(state.most)} images can be chosen at once.`); return; }
    const mine = turn;
    for (let start = first; start <= last; start += 500) {
      const known = Array.from({ length: Math.min(500, last - start + 1) }, (_, step) => at(start + step));
      let part = known;
      if (known.some((image) => !image)) part = (await read("images", { ...query, level: levelOf(), start, count: known.length })).images.map(entry);
      if (mine !== turn) return;
      for (const image of part) chosen.set(image.row, image);
    }
    chosenChanged();
  }

  function toggle(place) {
    const image = at(place);
    if (!image) return;
    if (!chosen.delete(image.row)) chosen.set(image.row, image);
    anchor = place;
    chosenChanged();
  }

  async function open(place) {
    const image = at(place);
    if (!image) return;
    large.open(image, {
      total: () => total,
      place,
      at: async (other) => { if (!at(other)?.name) { blocks.delete(Math.floor(other / BLOCK)); await fetchBlock(Math.floor(other / BLOCK)); } return at(other); },
      left: (other) => go(other),
    });
  }

  list.addEventListener("click", (event) => {
    const tile = event.target.closest(".pick");
    if (!tile) return;
    const place = Number(tile.dataset.place);
    if (event.shiftKey) go(place, true);
    else if (event.ctrlKey || event.metaKey || event.target.closest(".tick")) { focus = place; toggle(place); draw(); tile.focus({ preventScroll: true }); }
    else { focus = anchor = place; draw(); open(place); }
  });
  list.addEventListener("focusin", (event) => {
    const tile = event.target.closest(".pick");
    if (!tile || Number(tile.dataset.place) === focus) return;
    focus = Number(tile.dataset.place);
    later();
  });
  list.addEventListener("keydown", (event) => {
    const tile = event.target.closest(".pick");
    if (!tile || event.altKey) return;
    const across = columns(), page = Math.max(1, Math.floor(window.innerHeight / rowHeight()) - 1) * across;
    const control = event.ctrlKey || event.metaKey;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, PageUp: -page, PageDown: page, Home: -total, End: total };
    if (event.key in steps && !control) go(focus + steps[event.key], event.shiftKey);
    else if (event.key === " ") toggle(focus);
    else if (event.key === "Enter") open(focus);
    else if (control && event.key === "a") range(0, total - 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  list.addEventListener("dragstart", (event) => {
    const tile = event.target.closest(".pick"), image = tile && at(Number(tile.dataset.place));
    if (!image) { event.preventDefault(); return; }
    if (!chosen.has(image.row)) { chosen.clear(); chosen.set(image.row, image); chosenChanged(); }
    event.dataTransfer.setData(MIME, JSON.stringify([...chosen.keys()]));
    event.dataTransfer.effectAllowed = "move";
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragend", () => document.body.classList.remove("dragging"));
  window.addEventListener("scroll", later, { passive: true });
  new ResizeObserver(later).observe(list);

  return {
    element: list,
    // A new list; with `stay`, at the same place as before.
    show(values, more = {}, stay = false) {
      query = values;
      options = more;
      turn += 1;
      blocks = new Map();
      for (const tile of shown.values()) tile.remove();
      shown = new Map();
      list.setAttribute("aria-label", more.label || "Images");
      if (!stay) { focus = 0; anchor = 0; total = 0; inner.style.height = "0"; }
      return fetchBlock(stay ? Math.floor(focus / BLOCK) : 0).then(draw);
    },
    hide() { query = null; turn += 1; for (const tile of shown.values()) tile.remove(); shown = new Map(); },
    focus() { if (total) go(focus); },
    current: () => at(focus),
    place: () => focus,
    mark,
    draw: later,
  };
}
