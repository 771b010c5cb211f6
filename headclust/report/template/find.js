// Images found by a part of their name.
const MAX_SHOWN = 60;  // of the images that match

function imageSearch() {
  const field = select("#find-image"), matches = select("#image-matches"), tiles = select("#found-images");
  // Composed characters, as some systems store "é" as two.
  const plain = (text) => text.normalize("NFC").toLowerCase();
  let texts = null, rows = [], pending = false;
  const search = () => {
    pending = false;
    const query = plain(field.value.trim());
    texts ??= names().map(plain);
    rows = query ? listed.filter((_, place) => texts[place].includes(query)) : [];
    tiles.replaceChildren(...rows.slice(0, MAX_SHOWN).map((row) => {
      const tile = tileOf(row, ""), caption = tile.lastElementChild, group = document.createElement("span");
      caption.textContent = ending(nameOf(row), 44);
      caption.className = "path";
      group.textContent = `group ${titleNow(groupOf(row))}, ${confidenceOf(row)}`;
      tile.append(group);
      return tile;
    }));
    rove(tiles);
    const found = `${count(rows.length)} ${rows.length === 1 ? "image" : "images"}`;
    matches.textContent = !query ? "" : rows.length > MAX_SHOWN ? `${found}, the first ${MAX_SHOWN} are shown` : found;
  };
  field.addEventListener("input", () => {
    if (!pending) { pending = true; requestAnimationFrame(search); }
  });
  field.form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (rows.length) large.open(rows[0], rows);
  });
  tiles.addEventListener("click", (event) => openTile(event, () => rows));
  onLevel(() => { if (field.value) search(); });
  if (field.value) search();
}
