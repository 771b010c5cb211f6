// All changes, and another fit with them.
let refitLabels = {}, refitTimer = 0, changesShown = 0, lastStage = "";
const movedLabel = (id) => (finestOf.get(id)?.name ? labelOf(id) : refitLabels[id] && !/^cluster-\d+$/.test(refitLabels[id]) ? refitLabels[id] : `Group ${id}`);

async function showChanges() {
  changesShown = 0;
  select("#changes-list").replaceChildren();
  await moreChanges();
  await showRefit();
}

async function moreChanges() {
  const answer = await read("changes", { start: changesShown });
  const items = answer.changes.map(([number, text]) => { const item = make("li", {}, text); item.value = number; return item; });
  select("#changes-list").append(...items);
  changesShown += items.length;
  select("#changes-more").hidden = changesShown >= answer.total;
  select("#changes-facts").textContent = answer.total ? `${count(answer.total)} in ${answer.file}` : "None yet. What you change is written to a file in the run folder at once.";
}
select("#changes-more").addEventListener("click", moreChanges);

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

async function showRefit() {
  clearTimeout(refitTimer);
  const answer = await read("refit");
  state.refit = answer.stage;
  refitLabels = answer.labels;
  if (answer.stage === "running") refitTimer = setTimeout(showRefit, 700);
  if (lastStage === "running" && answer.stage === "done") say("The new fit is ready: see what it moved.");
  lastStage = answer.stage;
  if (route.name !== "changes") return;
  const place = select("#refit"), parts = { none: refitNone, running: refitRunning, failed: refitFailed, done: refitDone }[answer.stage](answer);
  const focused = place.contains(document.activeElement) && document.activeElement.textContent;
  place.replaceChildren(...parts.filter(Boolean));
  if (focused) (selectAll("button, a", place).find((each) => each.textContent === focused) ?? select("button, a", place))?.focus();
}

async function refitStep(step) {
  try {
    const answer = await change("refit", { step });
    after(answer);
    if (step === "keep") {
      say(`These are your groups now. Those before are in ${answer.old}.`);
      queue.loaded = false;
      await loadState();
      await refresh();
    }
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    say(error.message);
  }
  await showRefit();
}

const startButton = () => button("Fit again", () => refitStep("start"), "", "f");
function refitNone(answer) {
  const time = answer.before ? ` The last fit took ${clock(answer.before)}.` : "";
  const text = `The new fit learns from your changes and undoes none of them; numbers and names of groups stay. Your groups are replaced only if you then say so.${time}`;
  const method = answer.method ? make("p", { class: "remark" }, `These groups are by ${answer.method}, which keeps no changes: the new fit is by the default method.`) : null;
  return [make("p", { class: "measure" }, text), method, answer.fixes ? startButton() : make("p", { class: "quiet" }, "There are no changes yet.")];
}
function refitRunning(answer) {
  const bar = make("progress", { "aria-label": "Fit" });
  const [step, done, total] = answer.step ?? ["", 0, 0];
  if (total) { bar.max = total; bar.value = done; }
  return [make("p", { role: "status" }, `Fitting with ${count(answer.fitted)} changes: ${clock(answer.seconds)}${answer.before ? ` (the last fit took ${clock(answer.before)})` : ""}`),
    bar, make("p", { class: "quiet" }, step ? `${step}: ${count(done)} of ${count(total)}` : answer.lines.at(-1) ?? "starting"), button("Stop", () => refitStep("stop"))];
}
function refitFailed(answer) {
  return [make("p", { class: "remark", role: "alert" }, answer.lines.at(-1) ?? "The fit failed."), answer.lines.length > 1 ? make("pre", {}, answer.lines.join("\n")) : null, startButton()];
}
function refitDone(answer) {
  const moved = answer.moved === 0 ? "It moved no other image." : `It moved ${images(answer.moved)} of ${count(answer.images)}, besides those that you moved.`;
  const rows = answer.moves.slice(0, 60).map(([before, next, number]) => make("tr", {},
    make("td", { class: "text" }, labelOf(before)), make("td", { class: "text" }, movedLabel(next)), make("td", {}, make("a", { href: `#moved/${before}/${next}`, "aria-label": `Show ${images(number)} from ${labelOf(before)} to ${movedLabel(next)}` }, images(number)))));
  const table = rows.length ? make("div", { class: "scroll" }, make("table", { class: "list" }, make("thead", {}, make("tr", {}, make("th", {}, "From"), make("th", {}, "To"), make("th", {}, "Images"))), make("tbody", {}, ...rows))) : null;
  const more = answer.fixes - answer.fitted;
  const later = more > 0 ? make("p", { class: "quiet" }, `${count(more)} ${more === 1 ? "change" : "changes"} since then will go along.`) : null;
  return [make("p", { role: "status" }, `The new fit is ready (${clock(answer.seconds)}). ${moved}`), later, table,
    make("p", { class: "bar-tools" }, mainButton("Take the new groups", () => refitStep("keep")), button("Drop them", () => refitStep("drop")), startButton())];
}
function mainButton(text, action) {
  const element = button(text, action);
  element.className = "main";
  return element;
}
