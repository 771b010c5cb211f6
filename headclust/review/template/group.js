// One group: its name, what can be done with it, and all its images; and the images that are chosen.
let grid = null;
const homeOf = (name) => select(`#part-${name} .grid-home`);

function gridIn(name) {
  grid ??= imageGrid(homeOf(name));
  if (grid.element.parentNode !== homeOf(name)) homeOf(name).append(grid.element);
  return grid;
}

function showGroup(stay) {
  const group = groupOf.get(route.id);
  if (!group) {
    const whole = groups.find((each) => each.parts.includes(route.id));
    if (whole) { location.replace(`#group/${whole.id}`); return; }
    say(`There is no group ${route.id} now.`);
    location.replace("#groups");
    return;
  }
  const several = group.parts.length > 1, order = groups.map((each) => each.id), at = order.indexOf(group.id);
  select("#group-title").textContent = nameOf(group);
  const facts = [group.name ? `Number ${group.id}` : null, images(group.count), `mean confidence ${share(1000 * group.confidence)}`, group.right ? "right" : null, group.split ? `${group.split} groups in the next fit` : null];
  select("#group-facts").textContent = facts.filter(Boolean).join(" · ");
  for (const [id, other] of [["#group-before", order[at - 1]], ["#group-after", order[at + 1]]]) {
    const link = select(id);
    if (other === undefined) link.removeAttribute("href");
    else link.href = `#group/${other}`;
  }
  const buttons = several
    ? [button("Make it one group", () => uniteGroup(group.id)), button("Merge into …", () => mergeGroup(group.id), "", "m")]
    : [button("Rename", () => renameGroup(group.id), "", "r"), button(group.right ? "Right again" : "It is right", () => confirmGroup(group.id), "", "c"), button("Merge into …", () => mergeGroup(group.id), "", "m"), button("Split", () => splitGroup(group.id), "", "s")];
  if (group.proposed) buttons.splice(1, 0, button("Keep the proposed name", () => act({ action: "rename", group: group.id, name: group.name }, `Group ${group.id} is now “${group.name}”.`)));
  const focused = document.activeElement?.closest?.("#group-actions") && document.activeElement.textContent;
  select("#group-actions").replaceChildren(...buttons);
  if (focused) (buttons.find((each) => each.textContent === focused) ?? buttons[0]).focus();
  const remark = select("#group-remark");
  remark.hidden = !several;
  remark.replaceChildren();
  if (several) {
    remark.append(`${group.parts.length} groups shown as one: `);
    group.parts.forEach((part, place) => remark.append(place ? ", " : "", button(labelOf(part), async () => { state.level = null; await loadGroups(); location.hash = `#group/${part}`; await showPart(false); })));
  }
  return gridIn("group").show({ group: group.id, order: select("#group-order").value }, { label: `Images of ${nameOf(group)}`, failed: say }, stay);
}
select("#group-order").addEventListener("change", () => showGroup(false));

// The bar of the chosen images.
chosenChanged = () => {
  const bar = select("#chosen"), rows = [...chosen.keys()];
  bar.hidden = !rows.length;
  document.body.classList.toggle("choosing", rows.length > 0);
  grid?.mark();
  select("#drop-new").classList.toggle("ready", rows.length > 0);
  if (!rows.length) { bar.replaceChildren(); return; }
  const focused = bar.contains(document.activeElement) && document.activeElement.textContent;
  const buttons = [button("Move to …", () => moveTo(rows, null), "", "g"), button("New group", () => moveTo(rows, "new"), "", "w")];
  if (rows.length > 1) buttons.push(button("They belong together", () => relate("together", rows), "", "t"));
  if (rows.length === 2) buttons.push(button("They do not", () => relate("apart", rows), "", "a"));
  buttons.push(button("Clear", () => { chosen.clear(); chosenChanged(); grid?.focus(); }, "", "Escape"));
  bar.replaceChildren(make("b", {}, `${images(rows.length)} chosen`), ...buttons);
  if (focused) buttons.find((each) => each.textContent === focused)?.focus();
};
