// What a reader can do with results on a page: look at one piece, choose one of several, copy. All can be read without.
(() => {
  "use strict";
  const HINT = "Point at a piece, or go to the text with Tab and along it with the arrow keys.";

  const make = (name, parent, properties = {}) => {
    const element = Object.assign(document.createElement(name), properties);
    parent.append(element);
    return element;
  };

  // The panel tells what is known of one piece. It keeps its room, so that nothing moves.
  const panelBefore = (element, hint) => {
    const panel = make("p", element, { className: "panel", id: `why-${Math.random().toString(36).slice(2)}` });
    element.before(panel);
    const tell = (name, facts) => {
      panel.replaceChildren();
      if (name === undefined) return void (panel.textContent = hint);
      make("b", panel, { textContent: name });
      facts.forEach((fact, place) => make("span", panel, { className: place ? "" : "score", textContent: fact }));
    };
    tell();
    return { panel, tell };
  };

  // The item in the next line up or down that is nearest from side to side.
  const inNextLine = (items, from, down) => {
    const middle = (box) => (box.left + box.right) / 2;
    const boxOf = (item) => item.getClientRects()[0] ?? item.getBoundingClientRect();
    const here = boxOf(from);
    const beyond = items.map((item) => [item, boxOf(item)])
      .filter(([, box]) => (down ? box.top >= here.bottom - 2 : box.bottom <= here.top + 2));
    const line = down ? Math.min(...beyond.map(([, box]) => box.top)) : Math.max(...beyond.map(([, box]) => box.top));
    const distance = ([, box]) => Math.abs(middle(box) - middle(here));
    return beyond.filter(([, box]) => Math.abs(box.top - line) < here.height / 2)
      .sort((one, other) => distance(one) - distance(other))[0]?.[0];
  };

  // One of the items can be reached by Tab, the others from there by arrow keys; `tell` hears which is looked at.
  const explore = (container, items, tell) => {
    let current = items[0];
    items.forEach((item) => { item.tabIndex = item === current ? 0 : -1; });
    container.setAttribute("data-lm-suppress-shortcuts", "true"); // the arrow keys are not the notebook's here
    const at = (event) => items.includes(event.target) ? event.target : undefined;
    const focused = () => (items.includes(document.activeElement) ? document.activeElement : undefined);
    container.addEventListener("focusin", (event) => {
      const item = at(event);
      if (!item) return;
      for (const each of [current, item]) {
        each.tabIndex = each === item ? 0 : -1;
        if (each.role === "option") each.ariaSelected = String(each === item);
      }
      current = item;
      tell(item);
    });
    container.addEventListener("focusout", () => tell());
    container.addEventListener("pointerover", (event) => tell(at(event) ?? focused()));
    container.addEventListener("pointerleave", () => tell(focused()));
    container.addEventListener("click", (event) => at(event)?.focus());
    container.addEventListener("keydown", (event) => {
      const item = at(event);
      if (!item || event.altKey || event.ctrlKey || event.metaKey) return;
      const onward = getComputedStyle(container).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
      const step = (by) => items[items.indexOf(item) + by];
      const moves = {
        ArrowRight: () => step(onward === "ArrowRight" ? 1 : -1),
        ArrowLeft: () => step(onward === "ArrowLeft" ? 1 : -1),
        ArrowDown: () => inNextLine(items, item, true),
        ArrowUp: () => inNextLine(items, item, false),
        Home: () => items[0],
        End: () => items.at(-1),
        Escape: () => { item.blur(); },
      };
      if (!Object.hasOwn(moves, event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      moves[event.key]()?.focus();
    });
  };

  // A title becomes what the panel tells: a tooltip beside it would say it twice.
  const takeFacts = (items) => new Map(items.map((item) => {
    const facts = item.title.split("; ");
    item.removeAttribute("title");
    return [item, facts];
  }));

  // A piece with the spaces before it, which stand outside its colour.
  const nameOf = (piece) => `'${piece.previousSibling?.nodeType === 3 ? piece.previousSibling.data : ""}${piece.textContent}'`;

  const exploreText = (text, { panel, tell }) => {
    const pieces = [...text.querySelectorAll(".piece")];
    const facts = takeFacts(pieces);
    text.role = "listbox";
    text.ariaOrientation = "horizontal";
    for (const piece of pieces) {
      piece.role = "option";
      piece.ariaSelected = "false";
      piece.setAttribute("aria-describedby", panel.id);
    }
    explore(text, pieces, (piece) => (piece ? tell(nameOf(piece), facts.get(piece)) : tell()));
  };

  const exploreMatrix = (section, table) => {
    const cells = [...table.querySelectorAll("td.cell")];
    const titles = new Map(cells.map((cell) => [cell, cell.title]));
    const facts = takeFacts(cells);
    const columns = [...table.tHead.rows[0].cells];
    const reading = make("div", section, { className: "chosen" });
    section.querySelector(".legend").before(reading);
    const { panel, tell } = panelBefore(table.closest(".scroll"), "Choose a target to read its text; point at a cell or a piece.");
    const target = (row) => row.querySelector(".target").textContent;
    table.role = "grid";
    cells.forEach((cell) => cell.setAttribute("aria-describedby", panel.id));
    explore(table, cells, (cell) => (cell
      ? tell(`'${columns[cell.cellIndex].textContent}' → '${target(cell.parentElement)}'`, facts.get(cell)) : tell()));

    const choose = (row) => {
      for (const each of table.tBodies[0].rows) {
        each.cells[0].querySelector("button").ariaPressed = String(each === row);
      }
      reading.replaceChildren();
      const caption = make("p", reading, { className: "reading", textContent: "The text, by its scores for " });
      make("b", caption, { textContent: `'${target(row)}'` });
      const text = make("div", reading, { className: "text", dir: "auto", lang: "", translate: false });
      text.ariaLabel = `The prompt, each piece with its score for ${target(row)}`;
      for (const cell of row.querySelectorAll("td.cell")) {
        const name = columns[cell.cellIndex].textContent;
        text.append(name.match(/^ */)[0]);
        const piece = make("span", text, { className: cell.className.replace("cell", "piece"), title: titles.get(cell) });
        piece.style.cssText = cell.style.cssText;
        for (const part of name.replace(/^ */, "").split(/(?<=↵)/)) {
          piece.append(part);
          if (part.endsWith("↵")) make("br", piece);
        }
      }
      exploreText(text, { panel, tell });
    };
    for (const row of table.tBodies[0].rows) {
      const head = row.cells[0];
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => choose(row));
      head.append(button);
    }
    choose(table.tBodies[0].rows[0]);
  };

  const asText = (section) => {
    const words = (element) => element.textContent.trim();
    const plain = (cell) => (cell.tagName === "TD" ? cell.textContent.replaceAll("−", "-") : cell.textContent);
    const rows = [...section.querySelector("table").rows].map((row) => [...row.cells].flatMap(
      (cell) => [plain(cell), ...Array(cell.colSpan - 1).fill("")]).join("\t"));
    return [words(section.querySelector(".title")), words(section.querySelector(".facts")), "", ...rows, ""].join("\n");
  };

  const copy = async (text, parent) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // where a page may not use the clipboard, the browser's own command may
      const area = make("textarea", parent, { value: text });
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };

  const offerCopy = (section) => {
    const text = asText(section);
    const tools = make("div", section, { className: "tools" });
    const button = make("button", tools, { type: "button", textContent: "Copy as text" });
    const done = make("span", tools, { role: "status" });
    button.addEventListener("click", async () => {
      await copy(text, tools);
      done.textContent = "Copied.";
    });
    section.querySelector("details")?.before(tools);
  };

  const offerChoice = (root, sections) => {
    const label = make("label", root, { className: "choose", textContent: "Show" });
    const select = make("select", label);
    let group = select;
    sections.forEach((section, place) => {
      const { name } = section.dataset;
      const title = section.querySelector(".title").textContent;
      if (!name.startsWith(`${title} · `)) return void make("option", select, { value: place, textContent: name });
      if (group.label !== title) group = make("optgroup", select, { label: title }); // said once for all that follow
      make("option", group, { value: place, textContent: name.slice(title.length + 3) });
    });
    make("option", select, { value: "all", textContent: "all, below each other" });
    const show = () => sections.forEach((section, place) => {
      section.hidden = select.value !== "all" && select.value !== String(place);
    });
    select.addEventListener("change", show);
    sections[0].before(label);
    show();
  };

  for (const root of document.querySelectorAll(".nexttoken-why:not([data-ready])")) {
    root.dataset.ready = "";
    const sections = [...root.querySelectorAll("section")];
    for (const section of sections) {
      offerCopy(section);
      const matrix = section.querySelector("table.matrix"), text = section.querySelector(".text:has(.piece)");
      if (matrix) exploreMatrix(section, matrix);
      else if (text) exploreText(text, panelBefore(text, HINT)); // changed prompts have no scores to be looked at
    }
    if (sections.length > 1) offerChoice(root, sections);
  }
})();
