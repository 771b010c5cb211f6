// The start: images in all their places, colors, and the parts of the page.
document.documentElement.classList.add("scripted");

for (const place of selectAll("[data-copy]")) {
  const image = imageOf(place.dataset.copy.slice(1), place.dataset.alt || "");
  if (!image) continue;
  place.replaceChildren(image);
  place.classList.add("filled");
}

const withStorage = (action) => { try { return action(window.localStorage); } catch { return null; } };
const chosen = withStorage((storage) => storage.getItem("headclust-theme"));
for (const theme of selectAll("input[name=theme]")) {
  if (theme.value === chosen) theme.checked = true;
  theme.addEventListener("change", () => withStorage((storage) => storage.setItem("headclust-theme", theme.value)));
}

// The images of a group or of the pairs open large, and the others beside them are the next ones.
for (const part of selectAll(".cluster, .pairs")) {
  for (const figure of selectAll("figure[data-row]", part)) {
    const opener = figure.firstElementChild;
    opener.classList.add("opener");
    opener.setAttribute("role", "button");
    opener.addEventListener("click", (event) => {
      event.preventDefault();
      large.open(Number(figure.dataset.row), [...new Set(selectAll("figure[data-row]", part).map((each) => Number(each.dataset.row)))]);
    });
    opener.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); opener.click(); }
    });
  }
  for (const shots of part.matches(".pairs") ? [part] : selectAll(".shots", part)) rove(shots);
}
for (const button of selectAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());

clusterTools();
groupDialog();
imageSearch();
if (select(".plane")) map();
levelSlider();
