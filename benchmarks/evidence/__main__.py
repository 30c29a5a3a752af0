"""`make evidence`: run what is missing, then write the tables and the figure of docs/evidence.md.

Results are kept in benchmarks/results, a file for each part, so that an interrupted run goes on where it stopped;
delete the files to begin anew. "plain", "contrastive" and "ordinary" as arguments run only those parts.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

from benchmarks.evidence.contenders import CONTENDERS
from benchmarks.evidence.examples import KINDS, examples
from benchmarks.evidence.kept import RESULTS, pack, path_of, read
from benchmarks.evidence.measure import Replacing, counting, judge, ordinary, ranks
from nexttoken import NextTokenLM

PARTS = ("contrastive", "plain", "ordinary")
MOST_PLAIN = 20  # examples of each kind, without foils


def run(lm: NextTokenLM, part: str) -> None:
    """Run what is missing of a part."""
    known = {(line["method"], line["kind"], line["number"]) for line in read(part)}
    with path_of(part).open("a") as file:

        def keep(name: str, kind: str, number: int, found: dict[str, Any]) -> None:
            file.write(json.dumps({"method": name, "kind": kind, "number": number, **_rounded(found)}) + "\n")
            file.flush()

        if part == "ordinary":
            prompts = list(ordinary(max(each.ordinary for each in CONTENDERS.values())))
            for kind, number, prompt in prompts:
                missing = [
                    (name, each)
                    for name, each in CONTENDERS.items()
                    if number < each.ordinary and (name, kind, number) not in known
                ]
                replacing = Replacing.of(lm, prompt) if missing else None
                for name, each in missing:
                    assert replacing is not None
                    keep(name, kind, number, judge(replacing, each, prompt))
            return
        counts = counting(lm)
        (RESULTS / "evidence_counts.json").write_text(json.dumps(counts) + "\n")
        for name, each in sorted(CONTENDERS.items(), key=lambda item: -item[1].number):  # what costs little comes first
            for kind in KINDS:
                most = each.number if part == "contrastive" else min(each.number, MOST_PLAIN)
                numbers = [number for number in counts[kind][:most] if (name, kind, number) not in known]
                chosen = [example for number, example in enumerate(examples(kind)) if number in numbers]
                for number, found in zip(numbers, ranks(lm, each, chosen, part == "contrastive"), strict=True):
                    keep(name, kind, number, found)
            print(f"{part}: {name}", flush=True)


def _rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def main() -> None:
    """Run what is missing, then write the tables."""
    from benchmarks.evidence.report import write

    parts = [each for each in PARTS if each in (sys.argv[1:] or PARTS)]
    lm = NextTokenLM.from_pretrained()
    warnings.simplefilter("ignore")
    for part in parts:
        run(lm, part)
        pack(part)
    write()


if __name__ == "__main__":
    main()
