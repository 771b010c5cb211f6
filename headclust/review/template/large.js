// An image opened large: its name, its groups, what can be done with it, and the images most similar to it.
const large = (() => {
  const dialog = select("#large-dialog"), view = select("#large-image");
  let image = null, among = null, place = 0, turn = 0;

  function open(shown, list = null) {
    among = list;
    place = list ? list.place : 0;
    show(shown);
    openDialog(dialog);
  }
  async function step(by) {
    if (!among || place + by < 0 || place + by >= among.total()) return;
    const other = await among.at(place + by);
    if (!other) return;
    place += by;
    show(other);
  }

  function show(shown) {
    image = shown;
    const mine = ++turn, name = image.name;
    select("#large-title").textContent = name.slice(name.lastIndexOf("/") + 1) || name;
    select("#large-path").textContent = name;
    select("#large-place").textContent = among ? `${count(place + 1)} of ${count(among.total())}` : "";
    select(".steps", dialog).hidden = !among;
    select("#large-before").disabled = !among || place === 0;
    select("#large-after").disabled = !among || place >= among.total() - 1;
    facts();
    view.alt = describe(image);
    view.hidden = !state.images;
    select("#large-nothing").textContent = state.images ? "" : "The image cannot be shown: it is not where it was embedded from.";
    if (state.images) view.src = imageAddress(image.row, 1);
    details(mine);
  }
  function facts() {
    const group = select("#large-group");
    group.textContent = labelOf(image.group);
    group.href = `#group/${image.group}`;
    select("#large-confidence").textContent = share(image.confidence);
    select("#large-fixed").hidden = !image.fixed;
    select("#large-near").hidden = true;
    actions([image.group]);
  }
  function actions(candidates) {
    const buttons = [make("button", { type: "button", "aria-keyshortcuts": "g", onclick: () => move(null) }, "Move to …")];
    for (const id of candidates.filter((each) => each !== image.group).slice(0, 3)) {
      buttons.push(make("button", { type: "button", onclick: () => move(id) }, `To ${labelOf(id)}`));
    }
    if (!image.fixed) buttons.push(make("button", { type: "button", "aria-keyshortcuts": "y", onclick: () => move(image.group) }, `It is ${labelOf(image.group)}`));
    select("#large-actions").replaceChildren(...buttons);
  }
  async function move(into) {
    const row = image.row;
    if (!await moveTo([row], into)) return;
    if (!dialog.open || image.row !== row) return;
    await again();
  }
  async function again() {
    const answer = await read("image", { row: image.row, level: levelOf() });
    image = entry(answer.image);
    facts();
    actions(answer.groups);
    select("#large-near").hidden = !select("#near-images").children.length;
  }

  async function details(mine) {
    select("#near-images").replaceChildren();
    try {
      const answer = await read("image", { row: image.row, level: levelOf() });
      if (mine !== turn) return;
      image = entry(answer.image);
      facts();
      actions(answer.groups);
      const near = await read("images", { near: image.row, level: levelOf(), count: 12 });
      if (mine !== turn) return;
      const tiles = near.images.map(entry).map((other) => smallTile(other, labelOf(other.group), () => open(other)));
      select("#near-images").replaceChildren(...tiles);
      select("#near-all").href = `#near/${image.row}`;
      select("#large-near").hidden = !tiles.length;
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;  // without features there are no similar images
    }
  }

  // A picture that is small by itself is enlarged, a tiny one without smoothing.
  view.addEventListener("load", () => {
    const longer = Math.max(view.naturalWidth, view.naturalHeight);
    view.classList.toggle("copy", longer < 480);
    view.classList.toggle("tiny", longer <= 16);
  });
  view.addEventListener("error", async () => {
    if (!dialog.open) return;
    const mine = turn;
    view.hidden = true;
    select("#large-nothing").textContent = "The image cannot be read.";
    const answer = await read("image", { row: image.row });
    if (mine === turn && answer.reason) select("#large-nothing").textContent = `The image cannot be read: ${answer.reason}.`;
  });
  select("#large-before").addEventListener("click", () => step(-1));
  select("#large-after").addEventListener("click", () => step(1));
  for (const link of selectAll("#large-group, #near-all")) link.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { view.removeAttribute("src"); turn += 1; among?.left?.(place); });
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), g: () => move(null), y: () => move(image.group), n: () => { dialog.close(); location.hash = `#near/${image.row}`; }, u: undoLast }[event.key];
    if (!does) return;
    does();
    event.preventDefault();
    event.stopPropagation();
  });
  return { open, isOpen: () => dialog.open, again: () => dialog.open && again() };
})();
