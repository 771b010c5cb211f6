// Lines that pass by, and dialogs that ask for a name, a number or a group.
function say(text, undo = false) {
  const line = make("p", { class: "toast" }, make("span", {}, text));
  if (undo) line.append(make("button", { type: "button", onclick: () => { line.remove(); undoLast(); } }, "Undo"));
  const place = select("#toasts");
  while (place.children.length > 2) place.firstChild.remove();
  place.append(line);
  if (place.matches(":popover-open")) place.hidePopover();
  place.showPopover();  // above a dialog, too
  setTimeout(() => line.remove(), undo ? 9000 : 6000);
}

function openDialog(dialog, focus = dialog) {
  if (!dialog.open) dialog.showModal();
  focus.focus();
}

// Ask for a text, and optionally a group. Resolves with {text, group}, or null if it was canceled.
function ask({ title, text = "", label, value = "", type = "text", ok = "OK", choices = null, extra = null, min = null, max = null }) {
  const dialog = select("#ask-dialog"), field = select("#ask-field"), list = select("#ask-choices"), form = select("form", dialog);
  select("#ask-title").textContent = title;
  select("#ask-text").textContent = text;
  select("#ask-label span").textContent = label;
  select("#ask-ok").textContent = ok;
  field.type = type;
  for (const [name, limit] of [["min", min], ["max", max]]) if (limit === null) field.removeAttribute(name); else field.setAttribute(name, limit);
  field.value = value;
  field.maxLength = 200;
  list.hidden = !choices;
  for (const [name, given] of [["role", "combobox"], ["aria-controls", "ask-choices"], ["aria-expanded", "true"]]) if (choices) field.setAttribute(name, given); else field.removeAttribute(name);
  field.removeAttribute("aria-activedescendant");
  let active = 0, offered = [];
  const fill = () => {
    const query = field.value.trim().toLowerCase();
    const matches = (group) => !query || String(group.id) === query || nameOf(group).toLowerCase().includes(query);
    offered = choices.filter(matches);
    offered.sort((a, b) => (String(b.id) === query) - (String(a.id) === query));
    offered = offered.slice(0, 60).map((group) => ({ id: group.id, text: nameOf(group), note: images(group.count), group }));
    if (extra) offered.push(extra);
    active = Math.min(active, Math.max(0, offered.length - 1));
    list.replaceChildren(...offered.map((choice, place) => make("li", { role: "option", id: `choice-${place}`, "aria-selected": String(place === active), onclick: () => { active = place; finish(true); } },
      choice.group ? faces(choice.group, 2) : make("span", { class: "faces" }), make("b", {}, choice.text), choice.name ? null : make("span", { class: "count" }, choice.note))));
    if (offered.length) field.setAttribute("aria-activedescendant", `choice-${active}`);
    list.children[active]?.scrollIntoView({ block: "nearest" });
  };
  return new Promise((resolve) => {
    let result = null;
    const finish = (accepted) => {
      if (accepted) {
        if (choices && !offered.length) return;
        result = { text: field.value, group: choices ? offered[active].id : null };
      }
      dialog.close();
    };
    form.onsubmit = (event) => { event.preventDefault(); if (form.reportValidity()) finish(true); };
    field.oninput = choices ? () => { active = 0; fill(); } : null;
    field.onkeydown = choices ? (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || !offered.length) return;
      active = (active + step + offered.length) % offered.length;
      fill();
      event.preventDefault();
    } : null;
    dialog.addEventListener("close", () => resolve(result), { once: true });
    if (choices) fill();
    openDialog(dialog, field);
    field.select();
  });
}

for (const button of selectAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
