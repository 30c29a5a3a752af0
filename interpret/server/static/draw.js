// What is seen: every text that comes from a prompt or a model becomes a text node, never markup.
import { file } from "./ask.js";

export const make = (name, properties = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "role" || key === "for") element.setAttribute(key, value);
    else if (key === "data") Object.assign(element.dataset, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
};

const both = ([day, night]) => `light-dark(${day},${night})`;

// A text on which line ends are seen and are line ends.
const broken = (text) => text.split("↵").flatMap((part, place) => (place ? ["↵", make("br"), part] : [part]));

export const table = (heads, rows, numbers = []) =>
  make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "table" },
    make("table", {},
      make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col", textContent: head })))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, place) =>
        make("td", { className: numbers.includes(place) ? "number" : "", textContent: cell })))))));

export const more = (summary, ...children) => make("details", {}, make("summary", { textContent: summary }), ...children);

export const alert = (message) => make("p", { className: "alert", role: "alert", textContent: message });

// The buttons that save a result as a file.
export const downloads = (path, endings) => {
  const said = make("span", { className: "soft", role: "status" });
  const save = async (ending) => {
    try {
      said.textContent = "";
      const url = URL.createObjectURL(await file(`${path}${path.includes("?") ? "&" : "?"}as=${ending}`));
      make("a", { href: url, download: `why.${ending}` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    } catch (error) {
      said.textContent = error.message;
    }
  };
  const buttons = endings.map((ending) => make("button", {
    type: "button", textContent: ending.toUpperCase(), "aria-label": `Save as ${ending.toUpperCase()}`,
    onclick: () => save(ending),
  }));
  return make("div", { className: "row" }, make("span", { className: "soft", textContent: "Save as" }), ...buttons, said);
};

export const code = (text) => more("The Python that gives the same", make("pre", { textContent: text, tabIndex: 0 }));

// The pieces of a map: pointed at, or walked along with the arrow keys once the text has the focus.
const pieces = (map, strongest) => {
  const limit = map.pieces.map((piece) => piece.size).sort((one, other) => other - one)[strongest - 1] ?? 0;
  const panel = make("p", { className: "looked-at", "aria-live": "polite" });
  const hint = "Point at a piece, or give the text the focus and use the arrow keys.";
  const text = make("div", {
    className: "text", dir: "auto", translate: false, tabIndex: 0, role: "group",
    "aria-label": `The prompt in ${map.pieces.length} ${map.by}s with their scores`,
  });
  const spans = map.pieces.map((piece, place) => {
    const shown = piece.name.trimStart();
    text.append(piece.name.slice(0, piece.name.length - shown.length));
    const span = make("span", { className: `piece ${piece.mark}`, title: `${piece.number}; ${piece.says}` }, ...broken(shown));
    span.classList.toggle("template", piece.template);
    span.classList.toggle("weak", piece.size < limit);
    span.style.backgroundColor = both([piece.day, piece.night]);
    span.style.color = both(piece.ink);
    span.addEventListener("pointerenter", () => look(place));
    text.append(span);
    return span;
  });
  let at = -1;
  const look = (place) => {
    spans[at]?.classList.remove("looked");
    at = place;
    if (at < 0) return void (panel.textContent = hint);
    const piece = map.pieces[at];
    spans[at].classList.add("looked");
    panel.replaceChildren(make("b", { textContent: piece.name }), piece.role ? `${piece.role}; ` : "", piece.says);
  };
  text.addEventListener("pointerleave", () => look(-1));
  text.addEventListener("blur", () => look(-1));
  text.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const end = { Home: 0, End: spans.length - 1 }[event.key];
    if (step === undefined && end === undefined) return;
    event.preventDefault();
    look(end ?? Math.min(spans.length - 1, Math.max(0, at + step)));
    spans[at].scrollIntoView({ block: "nearest" });
  });
  look(-1);
  return [text, panel];
};

const legend = (map) => {
  const bar = make("span", { className: "bar" });
  bar.style.backgroundImage = `linear-gradient(to right, ${map.legend.stops.map(both).join(",")})`;
  return make("p", { className: "legend" },
    make("span", {}, `${map.legend.low} `, bar, ` ${map.legend.high} ${map.unit}`),
    ...map.legend.notes.map((note) => make("span", { textContent: note })));
};

// A whole map. `found` is an answer of the server; the check may still be on its way.
export const drawMap = (found, strongest = Infinity, suffix = "") => {
  const { map } = found;
  const rows = map.pieces.map((piece) => [piece.name, ...(piece.role ? [piece.role] : []), piece.number, piece.share, piece.note]);
  const chat = map.pieces.some((piece) => piece.role);
  const heads = [map.by, ...(chat ? ["role"] : []), `score, ${map.unit}`, "share", "note"];
  const parts = [
    make("h3", { textContent: map.title, dir: "auto" }),
    make("p", { className: "soft", textContent: [map.facts, found.cost].filter(Boolean).join("; ") }),
    ...(found.warnings ?? []).map((text) => make("p", { className: "note", textContent: text })),
    ...pieces(map, strongest),
    legend(map),
  ];
  if (map.check) {
    parts.push(make("p", { className: `check ${map.check.verdict}`, textContent: map.check.sentence }),
      more("How it was checked", make("p", { className: "soft", textContent: map.check.details })));
  } else if (found.checking) parts.push(make("p", { className: "soft", textContent: "Checking the map against the model …" }));
  else if (found.unchecked) parts.push(make("p", { className: "note", textContent: `Not checked: ${found.unchecked}` }));
  parts.push(more("Scores as a table", table(heads, rows, [heads.length - 3, heads.length - 2])));
  if (found.code) parts.push(code(found.code));
  if (found.id) parts.push(downloads(`/api/result/${found.id}?by=${map.by}${suffix}`, ["png", "pdf", "svg", "html", "json", "csv"]));
  return parts;
};

// A flip or a reduction.
export const drawEdits = (found, use) => {
  const text = make("div", { className: "text", dir: "auto", translate: false, tabIndex: 0, role: "group", "aria-label": "The prompt with its changes" });
  for (const [kind, part] of found.parts) {
    text.append(kind === "same" ? part : make(kind === "old" ? "del" : "ins", { textContent: part }));
  }
  return [
    make("h3", { textContent: found.sentence, dir: "auto" }),
    text,
    make("p", { className: "legend" }, make("span", {}, make("del", { textContent: "struck" }), ": taken out"),
      make("span", {}, make("ins", { textContent: "underlined" }), ": put in")),
    ...(found.rows.length ? [table(found.heads, found.rows)] : []),
    make("p", { className: "soft", textContent: found.facts }),
    make("div", { className: "row" }, make("button", {
      type: "button", textContent: "Go on with this prompt", onclick: use, disabled: !found.found,
    })),
    code(found.code),
    downloads(`/api/result/${found.id}`, ["html", "json"]),
  ];
};
