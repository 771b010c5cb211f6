// An image opened large, with its name, group, confidence and nearest images.
const large = (() => {
  const dialog = select("#large-dialog"), image = document.createElement("img"), file = select("#large-file");
  let rows = [], at = 0, turn = 0;
  select(".stand", dialog).prepend(image);

  function open(row, among) {
    rows = among;
    at = Math.max(0, rows.indexOf(row));
    show();
    openDialog(dialog);
  }
  function step(by) {
    if (rows[at + by] === undefined) return;
    at += by;
    show();
  }

  function show() {
    const row = rows[at], name = nameOf(row), folder = data.files?.shown;
    select("#large-title").textContent = name.slice(name.lastIndexOf("/") + 1) || name;
    select("#large-path").textContent = folder && !name.startsWith("/") ? `${folder}/${name}` : name;
    select("#large-group").textContent = `Group ${titleNow(groupOf(row))}`;
    select("#large-group").href = `#cluster-${groupOf(row)}`;
    select("#large-confidence").textContent = confidenceOf(row);
    select("#large-place").textContent = `${count(at + 1)} of ${count(rows.length)}`;
    select("#large-before").disabled = at === 0;
    select("#large-after").disabled = at === rows.length - 1;
    image.alt = `${name}, group ${titleNow(groupOf(row))}, confidence ${confidenceOf(row)}`;
    picture(row);
    const near = nearestOf(row);
    select("#large-near").hidden = !near.length;
    select("#near-images").replaceChildren(...near.map((other) => tileOf(other, `group ${groupOf(other)}`)));
  }

  // The small copy at once, then the file in its place when that can be read.
  function picture(row) {
    const thumb = thumbOf(row), addresses = filesOf(row), mine = ++turn;
    const use = (address, note) => {
      image.hidden = !address;
      if (address) image.src = address;
      else image.removeAttribute("src");
      image.classList.toggle("tiny", Boolean(data.tiny) && address === thumb);
      image.classList.toggle("copy", address === thumb);
      select("#large-nothing").textContent = address ? "" : note;
      select("#large-note").textContent = address ? note : "";
    };
    const attempt = () => {
      if (mine !== turn) return;
      const address = addresses.shift();
      if (!address) {
        const reason = data.files && location.protocol === "file:" ? "The file is not at this place, or the browser cannot show it." : "The image file cannot be reached from this page.";
        use(thumb, thumb ? `${reason} This is a small copy.` : `${reason} This page has no small copy of it.`);
        return;
      }
      const probe = new Image();
      probe.addEventListener("error", attempt);
      probe.addEventListener("load", () => {
        if (mine !== turn) return;
        use(address, "");
        // Only names of images become links: a list may name anything, and the browser may take it for a page.
        file.href = address;
        file.hidden = !/\.(jpe?g|jfif|png|webp|gif|bmp|avif)$/i.test(address);
      });
      probe.src = address;
    };
    file.hidden = true;
    use(thumb, "");
    attempt();
  }

  select("#large-before").addEventListener("click", () => step(-1));
  select("#large-after").addEventListener("click", () => step(1));
  select("#large-group").addEventListener("click", () => { for (const each of selectAll("dialog[open]")) each.close(); });
  select("#near-images").addEventListener("click", (event) => openTile(event, () => {
    return rowsOfGroup(groupOf(Number(event.target.closest("[data-row]").dataset.row)));
  }));
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    step(by);
    event.preventDefault();
  });
  return { open };
})();
