// Lists of images that are no group: found by name or text, similar to one, or moved by a fit.
async function showList(stay) {
  const heading = select("#list-title"), facts = select("#list-facts");
  const options = { showGroup: true, failed: (line) => { facts.textContent = line; }, counted: (total) => { facts.textContent = `${images(total)}${more}`; } };
  let values = {}, more = "";
  if (route.name === "find") {
    const byText = route.kind === "text";
    heading.textContent = byText ? `Images like “${route.query}”` : `Images named “${route.query}”`;
    values = { [byText ? "text" : "name"]: route.query };
    more = byText ? ", the most similar first" : "";
  } else if (route.name === "near") {
    const answer = await read("image", { row: route.id, level: levelOf() });
    const image = entry(answer.image);
    heading.textContent = `Images similar to ${image.name.slice(image.name.lastIndexOf("/") + 1)}`;
    values = { near: route.id };
    more = ", the most similar first";
  } else {
    heading.textContent = `From ${labelOf(route.before)} to ${movedLabel(route.after)}`;
    values = { moved: `${route.before}-${route.after}` };
    more = ", the surest in the new fit first";
  }
  options.label = heading.textContent;
  facts.textContent = "Looking …";
  await gridIn("list").show(values, options, stay);
}

const searchField = select("#search"), searchKind = select("#search-kind");
function search() {
  const query = searchField.value.trim();
  if (!query) { if (route.name === "find") location.hash = "#groups"; return; }
  const hash = `#find/${searchKind.value}/${encodeURIComponent(query)}`;
  if (route.name === "find") location.replace(hash);
  else location.hash = hash;
}
let searchTimer = 0;
searchField.addEventListener("input", () => {
  clearTimeout(searchTimer);
  if (searchKind.value === "name") searchTimer = setTimeout(search, 250);
});
searchField.form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(searchTimer); search(); });
searchKind.addEventListener("change", () => {
  searchField.placeholder = searchKind.value === "text" ? "a dog on a beach" : "Find images by name";
  search();
});
