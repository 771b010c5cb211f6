"use strict";
// Everything that needs a script: thumbnails beside cluster numbers, sorting and finding clusters, and the map.
(() => {
  const selectAll = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const select = (selector, inside = document) => inside.querySelector(selector);
  const data = JSON.parse(select("#data").textContent);
  document.documentElement.classList.add("scripted");

  const copyOf = (id, alt) => {
    const original = document.getElementById(id);
    if (!original) return null;
    const image = document.createElement("img");
    image.src = original.src;
    image.alt = alt;
    image.className = original.className;
    return image;
  };
  for (const place of selectAll("[data-copy]")) {
    const image = copyOf(place.dataset.copy, place.dataset.alt || "");
    if (!image) continue;
    place.replaceChildren(image);
    place.classList.add("filled");
  }

  const withStorage = (action) => { try { return action(window.localStorage); } catch { return null; } };
  const themes = selectAll("input[name=theme]");
  const chosen = withStorage((storage) => storage.getItem("headclust-theme"));
  for (const theme of themes) {
    if (theme.value === chosen) theme.checked = true;
    theme.addEventListener("change", () => withStorage((storage) => storage.setItem("headclust-theme", theme.value)));
  }

  clusterTools();
  if (select(".plane")) map();

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
        const matches = !query || card.dataset.number === query || (card.dataset.majority || "").toLowerCase().includes(query);
        card.hidden = !matches;
        shown += matches;
      }
      select("#matches").textContent = query ? `${shown} of ${cards.length}` : "";
    };
    find.addEventListener("input", apply);
    sort.addEventListener("change", apply);
    select(".tools").addEventListener("submit", (event) => event.preventDefault());
    // A link to a cluster that the search hides clears the search.
    window.addEventListener("hashchange", () => {
      const card = document.getElementById(location.hash.slice(1));
      if (card?.hidden) { find.value = ""; apply(); card.scrollIntoView(); }
    });
    if (find.value || sort.value !== "number") apply();  // values that the browser kept over a reload
  }

  function map() {
    const plane = select(".plane"), stage = select(".stage"), card = select(".card"), marker = select(".marker"), announcement = select("#announcement");
    const whole = plane.viewBox.baseVal, grid = { width: whole.width, height: whole.height };
    const boxes = selectAll(".choices input");
    const off = new Set();
    const layouts = selectAll(".layout").map((layout) => {
      const points = [];
      for (const group of selectAll(".points", layout)) {
        const cluster = Number(group.dataset.cluster);
        for (const [, x, y] of select("path", group).getAttribute("d").matchAll(/M(\d+) (\d+)/g)) {
          points.push({ x: Number(x), y: Number(y), cluster, index: points.length });
        }
      }
      return points;
    });
    const view = { x: 0, y: 0, width: grid.width, height: grid.height };
    let current = -1, pending = false;

    const points = () => layouts[Number(select("input[name=layout]:checked").value)];
    const unit = () => view.width / plane.getBoundingClientRect().width;
    const hasImage = (point) => data.thumbs[point.index] !== undefined || data.embedded[point.index] !== undefined;

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
        if (off.has(point.cluster)) continue;
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
        if (off.has(point.cluster) || point.index === current || !hasImage(point)) continue;
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
        const confidence = `${(data.confidence[current] / 10).toFixed(1)} %`;
        card.replaceChildren(...picture(point), line(data.names[current]), line(`cluster ${point.cluster}, confidence ${confidence}`));
        if (!hasImage(point)) card.append(line(data.noThumbnail));
        card.hidden = false;
        if (announce) announcement.textContent = `${data.names[current]}, cluster ${point.cluster}, confidence ${confidence}`;
      }
      place();
    }
    function picture(point) {
      const thumb = data.thumbs[point.index], row = data.embedded[point.index];
      if (thumb === undefined && row === undefined) return [];
      const image = thumb === undefined ? copyOf(`t${row}`, data.names[point.index]) : document.createElement("img");
      if (thumb !== undefined) {
        image.src = `data:image/webp;base64,${thumb}`;
        image.alt = data.names[point.index];
        image.className = data.tiny ? "tiny" : "";
      }
      return [image];
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
      for (const box of boxes) if (!box.checked) off.add(Number(box.value));
      for (const part of selectAll("[data-cluster]", plane)) part.classList.toggle("off", off.has(Number(part.dataset.cluster)));
      if (current >= 0 && off.has(points()[current].cluster)) hide();
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
      if (pointers.delete(event.pointerId) && event.type === "pointerup" && !drag.moved) show(nearest(at(event), 24), true);
    };
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
    plane.addEventListener("blur", hide);
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
    filter();
    draw();
  }
})();
