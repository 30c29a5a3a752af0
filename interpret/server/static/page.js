// The page: what is asked is one plain state, which the address holds; every change of it asks anew.
import { ask, get, token } from "./ask.js";
import { alert, code, drawEdits, drawMap, downloads, make } from "./draw.js";

const TYPING = 350; // milliseconds without a key after which work begins
const LONG = 2400; // characters from which a map is made, and checked, only when asked for
const EXAMPLES = [
  ["Who gave to whom", { prompt: "When Mary and John went to the store, John gave a drink to" }],
  ["Agreement across a distractor", { prompt: "The keys to the cabinet" }],
  ["A fact", { prompt: "The capital of France is" }],
  ["A pattern", { prompt: "red is to stop as green is to" }],
  ["Code", { prompt: "def area(width, height):\n    return width *" }],
  ["A system prompt", { messages: [
    { role: "system", content: "You are a pirate. Always begin with Arrr." }, { role: "user", content: "How are you?" },
  ] }],
];
const NEW = {
  mode: "text", prompt: EXAMPLES[0][1].prompt, messages: EXAMPLES.at(-1)[1].messages, target: null, foils: [],
  methods: [{ name: "", settings: {} }], by: "piece", tab: "why", second: "",
};
const $ = (id) => document.getElementById(id);
let state = structuredClone(NEW);
let about = { methods: [], chats: false, max_tokens: 4096 };
let candidates = [];
let strongest = Infinity;
const past = [];

// The address

const encoded = (value) => btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(value))))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const decoded = (text) => JSON.parse(new TextDecoder().decode(
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0))));

const remember = () => {
  const parts = new URLSearchParams();
  if (token) parts.set("token", token);
  parts.set("s", encoded(state));
  history.replaceState(null, "", `#${parts}`);
};

// What an address may hold is what this page would have put there; anything else is not taken.
const isToken = (value) => value && typeof value.text === "string" && Number.isInteger(value.id);
const isMessage = (value) => value && typeof value.role === "string" && typeof value.content === "string";
const isMethod = (value) => value && typeof value.name === "string" && value.settings && typeof value.settings === "object";
const restored = () => {
  try {
    const given = decoded(new URLSearchParams(location.hash.slice(1)).get("s"));
    const kept = structuredClone(NEW);
    for (const name of ["prompt", "second"]) if (typeof given[name] === "string") kept[name] = given[name];
    for (const [name, choices] of [["mode", ["text", "chat"]], ["by", ["piece", "word", "sentence", "line", "message"]],
      ["tab", ["why", "continuation", "flip", "reduce", "two"]]]) if (choices.includes(given[name])) kept[name] = given[name];
    if (isToken(given.target)) kept.target = given.target;
    if (Array.isArray(given.foils) && given.foils.every(isToken)) kept.foils = given.foils;
    if (Array.isArray(given.messages) && given.messages.length && given.messages.every(isMessage)) kept.messages = given.messages;
    if (Array.isArray(given.methods) && given.methods.length && given.methods.every(isMethod)) kept.methods = given.methods;
    return kept;
  } catch {
    return structuredClone(NEW);
  }
};

// What is asked

const chat = () => state.mode === "chat";
const question = () => ({
  prompt: chat() ? state.messages : state.prompt, target: state.target?.id ?? null, contrast: state.foils.map((foil) => foil.id),
});
const by = () => (state.by === "piece" ? null : state.by);
const method = ({ name, settings }) => ({ method: name || null, settings });
const length = () => (chat() ? state.messages.reduce((sum, each) => sum + each.content.length, 0) : state.prompt.length);

// A place on the page where one question at a time is answered.
class Answer {
  constructor(parent, name) {
    this.progress = make("progress", { hidden: true, "aria-label": `Progress of ${name}` });
    this.said = make("span", { className: "soft", role: "status" });
    this.stop = make("button", { type: "button", textContent: "Cancel", hidden: true, onclick: () => this.cancel("cancelled") });
    this.status = make("div", { className: "status" }, this.stop, this.progress, this.said);
    this.content = make("div");
    parent.append(this.status, this.content);
  }

  cancel(words = "") {
    this.controller?.abort();
    this.controller = undefined;
    this.working(false, words);
  }

  working(on, words = "") {
    this.stop.hidden = this.progress.hidden = !on;
    if (on) this.progress.removeAttribute("value");
    this.said.textContent = words;
    this.content.classList.toggle("stale", on && this.content.childElementCount > 0);
  }

  refuse(message) {
    this.cancel();
    this.content.replaceChildren(alert(message));
  }

  // Ask; `draw` gets the answer, `hear` what comes before it.
  async ask(kind, body, draw, hear) {
    this.cancel();
    const controller = (this.controller = new AbortController());
    this.working(true, "working");
    const listen = (event) => {
      if (controller !== this.controller) return;
      if (event.event === "waiting") {
        this.said.textContent = event.ahead === 1 ? "waiting: one question comes first" : `waiting: ${event.ahead} questions come first`;
      } else if (event.event === "started") this.said.textContent = "working";
      else if (event.event === "progress") this.said.textContent = `${event.done} passes done`;
      else hear?.(event);
    };
    try {
      const found = await ask(kind, body, listen, controller.signal);
      if (controller !== this.controller) return;
      this.controller = undefined;
      this.working(false);
      draw(found);
    } catch (error) {
      if (controller.signal.aborted || controller !== this.controller) return;
      this.refuse(error.message);
    }
  }

  show(parts) {
    this.content.classList.remove("stale");
    this.content.replaceChildren(...parts);
  }
}

// The next tokens

const named = (text) => JSON.stringify(text);
const drawCandidates = () => {
  const roles = new Map(state.foils.map((foil) => [foil.id, "foil"]));
  const explained = state.target ?? candidates[0];
  if (explained) roles.set(explained.id, "target");
  const focus = document.activeElement?.dataset?.id;
  $("candidates").replaceChildren(...candidates.map((each) => {
    const role = roles.get(each.id);
    const button = make("button", { type: "button", className: "token", data: { id: each.id, ...(role ? { role } : {}) },
      "aria-pressed": String(Boolean(role)) },
      { target: "✓ ", foil: "≠ " }[role] ?? "", each.name, make("small", { textContent: each.written }));
    button.title = `${role ?? "next token"}: id ${each.id}, rank ${each.rank}`;
    button.style.setProperty("--share", `${100 * each.probability}%`);
    button.addEventListener("click", () => take(each));
    return button;
  }));
  if (focus) $("candidates").querySelector(`[data-id="${CSS.escape(focus)}"]`)?.focus();
  $("forget").hidden = !state.target && !state.foils.length;
};

const take = (each) => {
  const role = document.querySelector("[name=role]:checked").value;
  const own = { id: each.id, text: each.text };
  if (role === "append") {
    past.push(structuredClone(state));
    if (chat()) {
      if (state.messages.at(-1).role !== "assistant") state.messages.push({ role: "assistant", content: "" });
      state.messages.at(-1).content += each.text;
    } else state.prompt += each.text;
    state.target = null;
    state.foils = [];
    write();
  } else if (role === "target") {
    state.target = state.target?.id === own.id ? null : own;
    state.foils = state.foils.filter((foil) => foil.id !== own.id);
  } else {
    const known = state.foils.some((foil) => foil.id === own.id);
    state.foils = known ? state.foils.filter((foil) => foil.id !== own.id) : [...state.foils, own];
    if (state.target?.id === own.id) state.target = null;
  }
  drawCandidates();
  changed(0);
};

// The maps

let cards = [];
class Card {
  constructor(place) {
    this.place = place;
    this.article = make("article", { "aria-label": `Map ${place + 1}` });
    this.select = make("select", { onchange: () => this.choose() },
      make("option", { value: "", textContent: "the default: one gradient" }),
      ...about.methods.map((each) => make("option", { value: each.name, textContent: each.name.replaceAll("-", " "), title: each.help })));
    this.select.value = this.method.name;
    this.settings = make("div", { className: "settings" });
    const head = make("div", { className: "row" }, make("label", {}, "Method ", this.select));
    if (place) head.append(make("button", { type: "button", textContent: "Remove", "aria-label": `Remove map ${place + 1}`, onclick: () => remove(this) }));
    this.article.append(head, this.settings);
    this.answer = new Answer(this.article, `map ${place + 1}`);
    this.drawSettings();
  }

  get method() { return state.methods[this.place]; }

  choose() {
    state.methods[this.place] = { name: this.select.value, settings: {} };
    this.drawSettings();
    remember();
    this.run();
  }

  drawSettings() {
    const listed = about.methods.find((each) => each.name === this.method.name);
    this.settings.replaceChildren(...(listed?.settings ?? []).map((each) => {
      const value = this.method.settings[each.name] ?? each.value;
      const field = each.choices.length
        ? make("select", {}, ...each.choices.map((label) => make("option", { value: label, textContent: label })))
        : make("input", { size: 8, spellcheck: false });
      field.value = value;
      field.addEventListener("change", () => {
        this.method.settings[each.name] = field.value;
        remember();
        this.run();
      });
      return make("label", {}, `${each.name.replaceAll("_", " ")} `, field);
    }));
  }

  run() {
    const body = { ...question(), ...method(this.method), by: by(), check: length() < LONG };
    this.answer.ask("explain", body, (found) => this.draw(found), (event) => {
      if (event.event === "candidates") {
        candidates = event.candidates;
        size(event);
        drawCandidates();
      } else if (event.event === "map") {
        this.draw(event);
        this.answer.content.classList.remove("stale");
      }
    });
  }

  draw(found) {
    this.found = found;
    scale();
    this.answer.show(drawMap(found, strongest));
    if (found.map.by !== state.by) this.again();
  }

  // The same scores, added up otherwise; what has been found meanwhile is not overwritten.
  async again() {
    const found = this.found;
    if (!found) return;
    try {
      const map = await get(`/api/result/${found.id}?by=${state.by}`);
      if (this.found === found) this.draw({ ...found, map });
    } catch (error) {
      this.answer.refuse(error.message);
    }
  }
}

// The others go on with what they are at.
const remove = (card) => {
  card.answer.cancel();
  card.article.remove();
  state.methods.splice(card.place, 1);
  cards.splice(card.place, 1);
  cards.forEach((each, place) => { each.place = place; });
  $("add-method").disabled = false;
  remember();
  scale();
};

const add = () => {
  const card = new Card(cards.length);
  cards.push(card);
  $("maps").append(card.article);
  $("add-method").disabled = cards.length >= 4;
  return card;
};

const drawCards = () => {
  cards.forEach((card) => card.answer.cancel());
  cards = [];
  $("maps").replaceChildren();
  state.methods.forEach(add);
};

// The slider counts the pieces of the largest map.
const scale = () => {
  const most = Math.max(1, ...cards.map((card) => card.found?.map.pieces.length ?? 0));
  const slider = $("strongest");
  const whole = strongest >= Number(slider.max);
  slider.max = most;
  if (whole || strongest > most) strongest = Infinity;
  slider.value = Math.min(strongest, most);
  $("strongest-shown").textContent = strongest >= most ? `all ${most}` : `${strongest} of ${most}`;
};

// What was changed is asked anew.

let timer;
const likely = new Answer(make("div"), "the next tokens");
const other = new Answer($("other-answer"), "another token");
const size = (found) => { $("size").textContent = `${found.tokens} token${found.tokens === 1 ? "" : "s"}`; };
const changed = (delay = TYPING) => {
  remember();
  clearTimeout(timer);
  timer = setTimeout(run, delay);
};

let asked = ""; // the question that the maps answer, however their scores are added up
const unique = () => JSON.stringify(question());
const run = () => {
  if (state.tab === "two") return;
  if (state.tab === "why") asked = unique();
  const empty = chat() ? !state.messages.some((each) => each.content) : state.prompt === "";
  if (empty) {
    candidates = [];
    drawCandidates();
    $("size").textContent = "";
    cards.forEach((card) => card.answer.refuse("the prompt is empty; give at least one character"));
    return;
  }
  const long = length() >= LONG;
  $("explain").hidden = !long;
  other.show([]);
  if (state.tab === "why" && !long) return cards.forEach((card) => card.run());
  likely.ask("predict", question(), (found) => {
    size(found);
    candidates = found.candidates;
    drawCandidates();
  });
  if (long) cards.forEach((card) => card.answer.cancel("a long prompt: its map is made when you ask for it"));
};

// Writing the state into the fields

const write = () => {
  $("prompt").value = state.prompt;
  $("second").value = state.second;
  $("by").value = state.by;
  $("text-mode").hidden = chat();
  $("chat-mode").hidden = !chat();
  document.querySelector(`[name=mode][value=${state.mode}]`).checked = true;
  $("undo").disabled = !past.length;
  $("messages").replaceChildren(...state.messages.map((message, place) => {
    const role = make("select", { "aria-label": `Role of message ${place + 1}`, onchange: () => { message.role = role.value; changed(0); } },
      ...[...new Set(["system", "user", "assistant", message.role])].map((name) => make("option", { value: name, textContent: name })));
    role.value = message.role;
    const content = make("textarea", { rows: 2, dir: "auto", spellcheck: false, value: message.content, "aria-label": `Message ${place + 1}` });
    content.addEventListener("input", () => { message.content = content.value; forget(); });
    const gone = make("button", { type: "button", textContent: "Remove", "aria-label": `Remove message ${place + 1}`, disabled: state.messages.length < 2,
      onclick: () => { state.messages.splice(place, 1); write(); changed(0); } });
    return make("li", {}, role, content, gone);
  }));
};

// A target belongs to its prompt: where that is written anew, the first choice is explained again.
const forget = () => {
  state.target = null;
  state.foils = [];
  changed();
};

const open = (tab) => {
  state.tab = tab;
  for (const each of document.querySelectorAll("[role=tab]")) {
    const own = each.id === `tab-${tab}`;
    each.setAttribute("aria-selected", String(own));
    each.tabIndex = own ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !own;
  }
};

const useEdited = (found) => {
  past.push(structuredClone(state));
  if (chat() && found.messages.length) state.messages = structuredClone(found.messages);
  else if (!chat()) state.prompt = found.prompt;
  state.target = null;
  state.foils = [];
  open("why");
  write();
  changed(0);
  $("answers").focus();
};

// Wiring

$("prompt").addEventListener("input", () => { state.prompt = $("prompt").value; forget(); });
$("mode").addEventListener("change", (event) => { state.mode = event.target.value; write(); forget(); });
$("add-message").addEventListener("click", () => {
  state.messages.push({ role: state.messages.at(-1).role === "user" ? "assistant" : "user", content: "" });
  write();
  $("messages").lastElementChild.querySelector("textarea").focus();
});
$("undo").addEventListener("click", () => { state = { ...past.pop(), tab: state.tab, methods: state.methods }; write(); changed(0); });
$("copy-link").addEventListener("click", async () => {
  remember();
  try {
    await navigator.clipboard.writeText(location.href);
    $("copied").textContent = "copied";
  } catch {
    $("copied").textContent = "the address of this page is the link";
  }
});
$("other").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("other-token").value;
  if (!text) return;
  const known = candidates.find((each) => each.text === text);
  if (known) {
    $("other-token").value = "";
    return void take(known);
  }
  other.ask("token", { prompt: question().prompt, target: text }, (found) => {
    other.show([]);
    candidates = [...candidates, ...found.candidates.filter((each) => !candidates.some((one) => one.id === each.id))];
    $("other-token").value = "";
    take(found.candidates[0]);
  });
});
$("forget").addEventListener("click", () => { state.target = null; state.foils = []; drawCandidates(); changed(0); });
$("by").addEventListener("change", () => { state.by = $("by").value; remember(); cards.forEach((card) => card.again()); });
$("strongest").addEventListener("input", () => {
  const value = Number($("strongest").value);
  strongest = value >= Number($("strongest").max) ? Infinity : value;
  scale();
  cards.forEach((card) => card.found && card.answer.show(drawMap(card.found, strongest)));
});
$("explain").addEventListener("click", () => cards.forEach((card) => card.run()));
$("add-method").addEventListener("click", () => {
  state.methods.push({ name: about.methods[0].name, settings: {} });
  remember();
  add().run();
});

const tabs = [...document.querySelectorAll("[role=tab]")];
tabs.forEach((tab, place) => {
  tab.addEventListener("click", () => {
    open(tab.id.slice(4));
    remember();
    if (state.tab === "why" && asked !== unique()) changed(0);
  });
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(place + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
});

const answers = Object.fromEntries(["continuation", "flip", "reduce"].map((name) => [name, new Answer($(`${name}-answer`), name)]));

$("continue").addEventListener("submit", (event) => {
  event.preventDefault();
  const answer = answers.continuation;
  const text = $("continuation").value;
  const length = text ? { continuation: text } : { generate: Number($("count").value) };
  const body = { prompt: question().prompt, ...method(state.methods[0]), ...length };
  answer.ask("continuation", body, (found) => {
    const place = make("div");
    const buttons = found.tokens.map((each, row) => make("button", {
      type: "button", className: "token", "aria-pressed": "false", title: `p = ${each.written}, rank ${each.rank}`, onclick: () => show(row),
    }, each.name, make("small", { textContent: each.written })));
    const show = async (row) => {
      buttons.forEach((button, each) => button.setAttribute("aria-pressed", String(each === row)));
      try {
        const map = await get(`/api/result/${found.id}?row=${row}&by=${state.by}`);
        place.replaceChildren(...drawMap({ map, id: found.id }, strongest, `&row=${row}`));
      } catch (error) {
        place.replaceChildren(alert(error.message));
      }
    };
    answer.show([
      make("div", { className: "tokens", role: "group", "aria-label": "The continuation: a click shows a token's reasons" }, ...buttons),
      place, code(found.code), downloads(`/api/result/${found.id}`, ["png", "pdf", "html", "json"]),
    ]);
    show(0);
  });
});

$("aim").addEventListener("change", () => { $("to").disabled = $("aim").value !== "to"; });
$("flip").addEventListener("submit", (event) => {
  event.preventDefault();
  const aim = $("aim").value;
  if (aim === "foil" && !state.foils.length) return answers.flip.refuse("choose a foil first: a click that contrasts");
  if (aim === "to" && !$("to").value) return answers.flip.refuse("write the token that it is to say, with its leading space");
  const own = question();
  const body = { ...own, contrast: aim === "foil" ? own.contrast : [], to: aim === "to" ? $("to").value : null,
    max_edits: Number($("max-edits").value), ignore: $("ignore").value || null };
  answers.flip.ask("flip", body, (found) => answers.flip.show(drawEdits(found, () => useEdited(found))));
});
$("reduce").addEventListener("submit", (event) => {
  event.preventDefault();
  const share = Number($("share").value);
  answers.reduce.ask("reduce", { ...question(), keep: share ? share / 100 : "first" },
    (found) => answers.reduce.show(drawEdits(found, () => useEdited(found))));
});

$("second").addEventListener("input", () => { state.second = $("second").value; remember(); });
let compared = [];
$("two").addEventListener("submit", async (event) => {
  event.preventDefault();
  compared.forEach((answer) => answer.cancel());
  const articles = ["First", "Second"].map((name) => make("article", { "aria-label": `${name} prompt` }));
  $("two-answer").replaceChildren(...articles);
  compared = articles.map((article, place) => new Answer(article, ["the first prompt", "the second prompt"][place]));
  const body = { ...question(), ...method(state.methods[0]), by: by() };
  await compared[0].ask("explain", body, (found) => compared[0].show(drawMap(found, strongest)), (heard) => {
    if (heard.event === "candidates" && heard.asked) body.target = heard.asked[0];
    if (heard.event === "map") compared[0].show(drawMap(heard, strongest));
  });
  compared[1].ask("explain", { ...body, prompt: state.second }, (found) => compared[1].show(drawMap(found, strongest)), (heard) => {
    if (heard.event === "map") compared[1].show(drawMap(heard, strongest));
  });
});

const begin = async () => {
  state = restored();
  write(); // before anybody types
  open(state.tab);
  try {
    about = await get("/api/about");
  } catch (error) {
    document.querySelector("main").prepend(alert(error.message));
    $("model").textContent = "";
    return;
  }
  $("model").textContent = `asks ${about.model}`;
  $("mode").hidden = !about.chats;
  if (!about.chats && chat()) {
    state.mode = "text";
    write();
  }
  const usable = EXAMPLES.filter(([, example]) => example.prompt || about.chats);
  $("examples").replaceChildren(make("option", { value: "", textContent: "choose one" }),
    ...usable.map(([name], place) => make("option", { value: place, textContent: name })));
  $("examples").addEventListener("change", () => {
    const chosen = usable[$("examples").value]?.[1];
    if (!chosen) return;
    past.push(structuredClone(state));
    Object.assign(state, structuredClone(chosen), { mode: chosen.messages ? "chat" : "text" });
    write();
    forget();
  });
  drawCards();
  run();
};
begin();
