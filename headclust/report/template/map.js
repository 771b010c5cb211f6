// The map: dots to point at, to zoom and to filter.
const ENDING = 30;  // characters of a name on the card

function map() {
  const plane = select(".plane"), stage = select(".stage"), card = select(".card"), marker = select(".marker"), announcement = select("#announcement");
  const whole = plane.viewBox.baseVal, grid = { width: whole.width, height: whole.height };
  const boxes = selectAll(".choices input");
  const off = new Set();
  const css = new Map(selectAll(".points", plane).map((group) => [Number(group.dataset.cluster), group.getAttribute("class")]));
  const layouts = selectAll(".layout").map((layout) => {
    const points = [];
    for (const group of selectAll(".points", layout)) {
      const cluster = Number(group.dataset.cluster);
      for (const [, x, y] of select("path", group).getAttribute("d").matchAll(/M(\d+) (\d+)/g)) {
        points.push({ x: Number(x), y: Number(y), cluster, index: points.length, row: data.points[points.length] });
      }
    }
    return points;
  });
  const view = { x: 0, y: 0, width: grid.width, height: grid.height };
  let current = -1, pending = false;

  const points = () => layouts[Number(select("input[name=layout]:checked").value)];
  const unit = () => view.width / plane.getBoundingClientRect().width;
  const hasImage = (point) => hasThumb(point.row);

  function draw() {
    pending = false;
    plane.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
    plane.style.setProperty("--unit", `${unit()}px`);
    plane.classList.toggle("close", view.width < grid.width / 2.5);
    place();
  }
  function redraw() {
    if (!pending) { pending = true; requestAnimationFrame(draw); }
  }
  function zoom(factor, x = view.x + view.width / 2, y = view.y + view.height / 2) {
    const width = Math.min(grid.width, Math.max(grid.width / 80, view.width * factor)), scale = width / view.width;
    view.x = x - (x - view.x) * scale;
    view.y = y - (y - view.y) * scale;
    view.width = width;
    view.height = width * grid.height / grid.width;
    keepIn();
  }
  function keepIn() {
    view.x = Math.min(grid.width - view.width, Math.max(0, view.x));
    view.y = Math.min(grid.height - view.height, Math.max(0, view.y));
    redraw();
  }
  function showAll() {
    Object.assign(view, { x: 0, y: 0, width: grid.width, height: grid.height });
    redraw();
  }
  function at(event) {
    const box = plane.getBoundingClientRect();
    return {
      x: view.x + (event.clientX - box.left) * unit(),
      y: view.y + (event.clientY - box.top) * unit(),
    };
  }

  function nearest(where, reach) {
    let best = null, distance = reach * unit();
    for (const point of points()) {
      if (off.has(groupNow(point.cluster))) continue;
      // Prefer a dot that has an image in the page.
      const d = Math.hypot(point.x - where.x, point.y - where.y) + (hasImage(point) ? 0 : 7 * unit());
      if (d < distance) { distance = d; best = point; }
    }
    return best;
  }
  function toward(key) {
    const from = points()[current], [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    let best = null, least = Infinity;
    for (const point of points()) {
      if (off.has(groupNow(point.cluster)) || point.index === current || !hasImage(point)) continue;
      const along = (point.x - from.x) * dx + (point.y - from.y) * dy;
      const across = Math.abs((point.x - from.x) * dy) + Math.abs((point.y - from.y) * dx);
      if (along > 0 && across <= 2 * along + 40 && along + 2 * across < least) { least = along + 2 * across; best = point; }
    }
    return best;
  }
  function first() {
    const middle = { x: view.x + view.width / 2, y: view.y + view.height / 2 };
    return nearest(middle, 1e6);
  }

  function show(point, announce) {
    if (!point) { hide(); return; }
    if (current !== point.index) {
      current = point.index;
      const name = nameOf(point.row), text = `group ${titleNow(groupNow(point.cluster))}, confidence ${confidenceOf(point.row)}`;
      const image = imageOf(point.row, name);
      card.replaceChildren(...(image ? [image] : []), line(ending(name, ENDING)), line(text));
      if (!image) card.append(line(data.noThumbnails ? "the images are not available" : "no small copy in this page"));
      card.hidden = false;
      if (announce) announcement.textContent = `${name}, ${text}`;
    }
    place();
  }
  function line(text) {
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    return paragraph;
  }
  function hide() {
    current = -1;
    card.hidden = true;
    marker.setAttribute("r", 0);
  }
  function place() {
    const point = points()[current];
    if (!point) return;
    marker.setAttribute("cx", point.x);
    marker.setAttribute("cy", point.y);
    marker.setAttribute("r", 8 * unit());
    const frame = plane.getBoundingClientRect(), around = stage.getBoundingClientRect();
    const x = (point.x - view.x) / unit() + frame.left - around.left, y = (point.y - view.y) / unit() + frame.top - around.top;
    const right = x + 16 + card.offsetWidth < stage.clientWidth;
    card.style.left = `${Math.max(0, right ? x + 16 : x - 16 - card.offsetWidth)}px`;
    card.style.top = `${Math.max(0, Math.min(y - 30, frame.bottom - around.top - card.offsetHeight))}px`;
  }

  function filter() {
    off.clear();
    for (const box of boxes) if (!box.checked && groupNow(Number(box.value)) === Number(box.value)) off.add(Number(box.value));
    for (const part of selectAll("[data-cluster]", plane)) part.classList.toggle("off", off.has(groupNow(Number(part.dataset.cluster))));
    if (current >= 0 && off.has(groupNow(points()[current].cluster))) hide();
  }

  // The colors, shapes and numbers of the groups of the level now.
  function regroup() {
    hide();
    for (const group of selectAll(".points", plane)) {
      group.setAttribute("class", css.get(groupNow(Number(group.dataset.cluster))));
      if (group.classList.contains("ring") && !select(".hole", group)) {
        const hole = group.firstElementChild.cloneNode();
        hole.classList.add("hole");
        group.append(hole);
      }
    }
    selectAll(".layout").forEach((layout, place) => number(selectAll("text", layout), layouts[place]));
    filter();
  }
  // Each number at the median of its dots, the largest group first, as in layouts.py.
  function number(texts, points) {
    const dots = Map.groupBy ? Map.groupBy(points, (point) => groupNow(point.cluster)) : new Map();
    if (!Map.groupBy) for (const point of points) dots.set(groupNow(point.cluster), [...dots.get(groupNow(point.cluster)) ?? [], point]);
    const textOf = new Map(texts.map((text) => [Number(text.dataset.cluster), text])), placed = [];
    for (const text of texts) text.classList.toggle("joined", !dots.has(Number(text.dataset.cluster)));
    for (const [group, own] of [...dots].sort((a, b) => b[1].length - a[1].length || a[0] - b[0])) {
      const [x, y] = ["x", "y"].map((axis) => median(own.map((point) => point[axis]))), text = textOf.get(group);
      const free = placed.every((other) => Math.abs(x - other.x) > 150 || Math.abs(y - other.y) > 90);
      text.setAttribute("x", x);
      text.setAttribute("y", y);
      text.classList.toggle("crowded", !free);
      if (free) placed.push({ x, y });
    }
  }
  function median(values) {
    values.sort((a, b) => a - b);
    return Math.trunc((values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2);
  }

  let drag = null;
  const pointers = new Map();
  plane.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    drag = { x: event.clientX, y: event.clientY, moved: false };
    plane.setPointerCapture(event.pointerId);
  });
  plane.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") show(nearest(at(event), 20), false);
      return;
    }
    const others = [...pointers.values()].filter((pointer) => pointer.pointerId !== event.pointerId);
    if (others.length) {
      const spread = (pointer) => Math.hypot(pointer.clientX - others[0].clientX, pointer.clientY - others[0].clientY) || 1;
      const middle = at({ clientX: (event.clientX + others[0].clientX) / 2, clientY: (event.clientY + others[0].clientY) / 2 });
      zoom(spread(before) / spread(event), middle.x, middle.y);
    } else if (drag.moved || Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4) {
      drag.moved = true;
      view.x -= (event.clientX - before.clientX) * unit();
      view.y -= (event.clientY - before.clientY) * unit();
      keepIn();
    }
    pointers.set(event.pointerId, event);
  });
  const release = (event) => {
    if (pointers.delete(event.pointerId) && event.type === "pointerup" && !drag.moved) tap(nearest(at(event), 24), event.pointerType);
  };
  // A click opens the image; the first tap of a finger shows its card, as there is no pointing.
  function tap(point, pointer) {
    const shown = point && current === point.index;
    show(point, true);
    if (point && (shown || pointer === "mouse")) large.open(point.row, rowsOfGroup(groupNow(point.cluster)));
  }
  plane.addEventListener("pointerup", release);
  plane.addEventListener("pointercancel", release);
  plane.addEventListener("pointerleave", () => { if (!pointers.size && document.activeElement !== plane) hide(); });
  plane.addEventListener("wheel", (event) => {
    if (!(event.ctrlKey || event.metaKey || document.activeElement === plane)) return;
    event.preventDefault();
    const where = at(event);
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 250), where.x, where.y);
  }, { passive: false });

  plane.setAttribute("tabindex", "0");
  plane.setAttribute("role", "application");
  plane.addEventListener("focus", () => { if (current < 0 && plane.matches(":focus-visible")) show(first(), true); });
  plane.addEventListener("blur", () => { if (!select("dialog[open]")) hide(); });  // an image opened from here keeps its place
  plane.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.startsWith("Arrow")) {
      const next = current < 0 ? first() : toward(event.key);
      if (next) {
        show(next, true);
        const edge = view.width * 0.08;
        if (next.x < view.x + edge || next.x > view.x + view.width - edge) view.x = next.x - view.width / 2;
        if (next.y < view.y + edge || next.y > view.y + view.height - edge) view.y = next.y - view.height / 2;
        keepIn();
      }
    } else if (event.key === "+" || event.key === "=") zoom(0.7, points()[current]?.x, points()[current]?.y);
    else if (event.key === "-") zoom(1 / 0.7);
    else if (event.key === "0") showAll();
    else if (event.key === "Enter" && current >= 0) large.open(points()[current].row, rowsOfGroup(groupNow(points()[current].cluster)));
    else if (event.key === "Escape") hide();
    else return;
    event.preventDefault();
  });
  for (const button of selectAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      if (button.dataset.zoom === "all") showAll();
      else zoom(button.dataset.zoom === "in" ? 0.6 : 1 / 0.6);
    });
  }
  for (const box of boxes) box.addEventListener("change", filter);
  for (const button of selectAll("[data-filter]")) {
    button.addEventListener("click", () => {
      for (const box of boxes) box.checked = button.dataset.filter === "all";
      filter();
    });
  }
  for (const link of selectAll("[data-only]")) {
    link.addEventListener("click", () => {
      for (const box of boxes) box.checked = box.value === link.dataset.only;
      showAll();
      filter();
    });
  }
  for (const radio of selectAll("input[name=layout]")) radio.addEventListener("change", () => { hide(); showAll(); });
  new ResizeObserver(redraw).observe(plane);
  onLevel(regroup);
  filter();
  draw();
}
