"""How many prompts flip, and after how many passes: ours beside HotFlip and random words. `python -m benchmarks.flips`.

On the evidence sets, four examples of each kind that count: which fewest words changed make the model prefer the foil?
An attempt counts for each rival only if its ids are what the tokenizer makes of its text, as ours do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import torch

from benchmarks.evidence.examples import examples
from interpret.engine.evaluate import gradients, log_likelihoods
from interpret.engine.run import Counts, Run
from interpret.methods.baselines import every_embedding
from interpret.replacement.editing import Edited, Editing, quiet
from interpret.replacement.flip import Edits, Search
from nexttoken import NextTokenLM

A_KIND = 4
CANDIDATES = 32
BUDGET = 256  # forward passes of a rival that verifies
LOOKED_AT = 20_000  # pairs of a position and a word at most, most of which make no prompt
COUNTS = Path(__file__).parent / "results" / "evidence_counts.json"
RESULTS = Path(__file__).parent / "results" / "flips.jsonl"


def questions(lm: NextTokenLM) -> Iterator[tuple[str, Search]]:
    """The kinds and searches: each example's target, and the foil that is to be preferred."""
    for kind, numbers in json.loads(COUNTS.read_text()).items():
        every = list(examples(kind))
        for number in numbers[:A_KIND]:
            example = every[number]
            prompt = lm.prompt(example.prompt)
            target, foil = (lm.vocab.one_id(word) for word in (example.target, example.foil))
            yield kind, Search(Editing(lm, prompt), Run(), target, None, [foil])


def ours(search: Search) -> dict[int, int] | None:
    """The words that our flip changes; None where it finds none."""
    found, _ = search.found(3, 4, CANDIDATES)
    return None if found is None else dict(found)


def hotflip(search: Search) -> dict[int, int] | None:
    """HotFlip as it is usually written: where the gradient is longest, the word of the largest first-order gain.

    One word a step, up to three, each run; ids are changed as they are, and only then is the text looked at.
    """
    editing, edits = search.editing, {}
    embeddings = every_embedding(search.objective(search.prompt), hotflip)
    for _ in range(min(3, len(editing.words))):
        row, _ = raw(editing, edits)
        objective = search.objective(editing.as_prompt(Edited(row, [search.prompt.text], {})))
        gradient = gradients(objective, objective.x[None])[1][0]
        column = {position: number for number, position in enumerate(objective.positions)}
        free = [number for number, word in enumerate(editing.words) if number not in edits and len(word.positions) == 1]
        if not free:
            return None
        number = max(free, key=lambda each: float(gradient[column[editing.words[each].positions[0]]].norm()))
        gains = embeddings @ gradient[column[editing.words[number].positions[0]]]
        edits[number] = int(gains.argmin())
        row, legal = raw(editing, edits)
        if search.margins([row])[0] < 0:
            return edits if legal else None
    return None


def first_order(search: Search) -> dict[int, int] | None:
    """Single words in the order of their first-order gain, wherever they stand, each run, until one will do."""
    editing, objective = search.editing, search.objective(search.prompt)
    gradient = gradients(objective, objective.x[None])[1][0]
    embeddings = every_embedding(objective, first_order)
    column = {position: number for number, position in enumerate(objective.positions)}
    gains = torch.stack(
        [
            embeddings @ gradient[column[word.positions[0]]] - embeddings[editing.row[word.positions[0]]]
            @ gradient[column[word.positions[0]]] for word in editing.words
        ]
    )  # fmt: skip
    order = gains.flatten().argsort().tolist()
    return one_word(search, (divmod(pair, gains.shape[1]) for pair in order))


def random_words(search: Search) -> dict[int, int] | None:
    """Single words drawn at random, wherever they stand, each run, until one will do."""
    chance, editing = torch.Generator().manual_seed(0), search.editing
    size = search.lm.vocab.size()

    def drawn() -> Iterator[tuple[int, int]]:
        while True:
            number = int(torch.randint(len(editing.words), (1,), generator=chance))
            yield number, int(torch.randint(size, (1,), generator=chance))

    return one_word(search, drawn())


def one_word(search: Search, order: Iterator[tuple[int, int]]) -> dict[int, int] | None:
    """The first pairs of a word and a token that make a prompt, as many as we may run, in rounds."""
    some: list[Edits] = []
    for number, token_id in islice(order, LOOKED_AT):
        if search.editing.edited({number: token_id}) is not None:
            some.append(((number, token_id),))
        if len(some) == BUDGET:
            break
    found = search.first_success(some)[1]
    return dict(found[0]) if found else None


def raw(editing: Editing, edits: dict[int, int]) -> tuple[list[int], bool]:
    """The ids with some of them changed, and whether the tokenizer writes their text so."""
    row = list(editing.row)
    texts = [piece.text for piece in editing.prompt.pieces]
    for number, token_id in edits.items():
        if len(editing.words[number].positions) > 1:
            made = editing.edited(edits)
            assert made is not None
            return made.row, True
        (position,) = editing.words[number].positions
        row[position] = token_id
        changed = next(at for at, piece in enumerate(editing.prompt.pieces) if position in piece.positions)
        texts[changed] = editing.text_of(token_id)
    return row, editing.rewritten(texts) == row and set(edits.values()) <= editing.usable


RIVALS = {"ours": ours, "HotFlip": hotflip, "first order, each run": first_order, "random, each run": random_words}


def main() -> None:
    """Measure what is missing in the results, and print the table."""
    lm = NextTokenLM.from_pretrained()
    known = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = {(line["number"], line["rival"]) for line in known}
    for number, (kind, search) in enumerate(questions(lm)):
        for rival, algorithm in RIVALS.items():
            if (number, rival) in done:
                continue
            search.counts, search.seen = Counts(), {}
            search.generator.manual_seed(0)
            begun = time.perf_counter()
            with quiet():
                edits = algorithm(search)
            counts = search.counts
            spent, less = time.perf_counter() - begun, None
            forwards = counts.forwards
            if edits:
                rows = [search.editing.row, raw(search.editing, edits)[0]]
                whole, changed = log_likelihoods(lm, rows, search.prompt, Run(), Counts()).tolist()
                less = round((whole - changed) / len(edits), 2)
            line = {
                "number": number, "kind": kind, "tokens": len(search.prompt), "rival": rival,
                "edits": None if edits is None else len(edits), "forwards": forwards, "gradients": counts.gradients,
                "seconds": round(spent, 1), "less_likely": less,
            }  # fmt: skip
            known.append(line)
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
    print(f"{len({line['number'] for line in known})} prompts")
    heads = ["", "one word", "up to two", "up to three", "median passes of a flip by one word", "of all"]
    heads += ["median nats by which a word makes the prompt less likely"]
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for rival in RIVALS:
        own = [line for line in known if line["rival"] == rival]
        shares = [sum((line["edits"] or 9) <= most for line in own) / len(own) for most in (1, 2, 3)]
        passes = [line["forwards"] + line["gradients"] for line in own if line["edits"] == 1]
        every = [line["forwards"] + line["gradients"] for line in own]
        less = [line["less_likely"] for line in own if line["less_likely"] is not None]
        cells = [f"{share:.0%}" for share in shares]
        cells += [f"{median(passes or [0]):g}", f"{median(every):g}", f"{median(less or [0]):.1f}"]
        print(f"| {rival} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
