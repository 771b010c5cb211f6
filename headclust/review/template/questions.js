// The queue: one image or one pair at a time, answered with a key.
const queue = { questions: [], images: new Map(), at: 0, skipped: new Set(), timer: 0, loaded: false };
const keyOf = (question) => (question.rows ? question.rows.join("-") : String(question.row));

async function loadQuestions() {
  clearTimeout(queue.timer);
  const answer = await read("questions");
  queue.images = new Map(answer.images.map((image) => [image[0], entry(image)]));
  queue.questions = answer.questions.filter((question) => !queue.skipped.has(keyOf(question)));
  queue.at = 0;
  queue.loaded = true;
  const facts = select("#question-facts");
  if (answer.problem) facts.textContent = `Asked by confidence alone: ${answer.problem}`;
  else if (answer.progress < 1) {
    facts.textContent = `Looking for the least sure images and pairs: ${Math.round(100 * answer.progress)} %. Until then, the least sure images.`;
    queue.timer = setTimeout(async () => { if (route.name === "questions" && !document.activeElement?.closest("#question")) { await loadQuestions(); showQuestion(); } else if (route.name === "questions") queue.timer = setTimeout(loadAndShow, 3000); }, 1000);
  } else facts.textContent = "The images and pairs that the run is least sure of. Every answer is a change, which you can undo.";
}
async function loadAndShow() { await loadQuestions(); showQuestion(); }

async function showQuestions(stay) {
  if (!stay || !queue.loaded) await loadQuestions();
  showQuestion();
}

function showQuestion() {
  const place = select("#question"), question = queue.questions[queue.at];
  select("#question-place").textContent = question ? `${count(queue.at + 1)} of the next ${count(queue.questions.length)}` : "";
  if (!question) {
    select("#questions-title").textContent = "No more questions";
    place.replaceChildren(button("Look for more", () => { queue.skipped.clear(); loadAndShow(); }));
    return;
  }
  place.replaceChildren(question.rows ? pairQuestion(question) : imageQuestion(question));
  const next = queue.questions[queue.at + 1];
  for (const row of next ? next.rows ?? [next.row] : []) if (state.images) new Image().src = imageAddress(row, 1);
}

function bigPicture(image) {
  return make("figure", { class: "asked" }, make("button", { type: "button", class: "tile-button", "aria-label": `${describe(image)}: open`, onclick: () => large.open(image) }, picture(image.row, image.name, { side: 1, alt: image.name })), make("figcaption", {}, ending(image.name, 60)));
}

function choice(key, content, action) {
  return make("button", { type: "button", class: "choice", "aria-keyshortcuts": key, onclick: action }, make("kbd", {}, key), ...content);
}

function imageQuestion(question) {
  const image = queue.images.get(question.row);
  select("#questions-title").textContent = "Where does this image belong?";
  const choices = question.groups.map((id, place) => finestOf.get(id)).filter(Boolean)
    .map((group, place) => choice(String(place + 1), [faces(group, 4), make("b", {}, nameOf(group)), make("span", { class: "quiet" }, group.id === image.group ? "where it is now" : "")], () => answer({ action: "move", rows: [image.row], into: group.id })));
  choices.push(choice("g", [make("b", {}, "Another group …")], async () => { if (await moveTo([image.row], null)) answered(); }));
  choices.push(choice("x", [make("b", {}, "Skip")], skip));
  return make("div", { class: "question" }, bigPicture(image), make("div", { class: "answers" }, ...choices));
}

function pairQuestion(question) {
  const pair = question.rows.map((row) => queue.images.get(row));
  select("#questions-title").textContent = "Do these two belong in one group?";
  const choices = [
    choice("y", [make("b", {}, "Yes, together")], () => answer({ action: "together", rows: question.rows })),
    choice("n", [make("b", {}, "No, apart")], () => answer({ action: "apart", rows: question.rows })),
    choice("m", [make("b", {}, "Their groups are one thing"), make("span", { class: "quiet" }, `merge ${labelOf(question.groups[1])} into ${labelOf(question.groups[0])}`)], () => answer({ action: "merge", groups: [question.groups[1]], into: question.groups[0] })),
    choice("x", [make("b", {}, "Skip")], skip),
  ];
  const figures = pair.map((image) => {
    const figure = bigPicture(image);
    figure.append(make("p", { class: "quiet" }, labelOf(image.group)));
    return figure;
  });
  return make("div", { class: "question pair" }, make("div", { class: "asked-pair" }, ...figures), make("div", { class: "answers" }, ...choices));
}

async function answer(values) {
  if (queue.busy) return;
  queue.busy = true;
  try {
    if (await act(values, "", { quiet: true })) answered();
  } finally { queue.busy = false; }
}
function answered() {
  queue.at += 1;
  if (queue.at >= Math.min(15, queue.questions.length)) loadAndShow();  // answers change which questions are next
  else showQuestion();
}
function skip() {
  const question = queue.questions[queue.at];
  if (question) queue.skipped.add(keyOf(question));
  answered();
}
function answerKey(key) {
  const target = selectAll("#question .choice").find((each) => each.getAttribute("aria-keyshortcuts") === key);
  target?.click();
  return Boolean(target);
}
