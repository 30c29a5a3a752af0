"""Golden results: what the public functions compute, as plain numbers, recorded before a change and compared after it.

`python -m tests.golden record FILE` writes them and `python -m tests.golden compare FILE` computes them anew. A name is
family/model/prompt/what#part, the part being what it is of a result. The name of an exception is a result, too.
"""

import argparse
import json
import math
import re
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import torch
import transformers
from captum.attr import FeatureAblation, InputXGradient
from torch import nn

import interpret as api
from interpret.corpus import explain_columns, report, write_columns
from nexttoken import NextTokenLM, SymbolVocabulary
from tests.builders import BART_SIZES, marian, random, t5
from tests.conftest import LETTERS, CausalEncoder, gpt2, letters_lm, llama, trained_tokenizer
from tests.tiny_models import build

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where are the keys?"}]
TURNS = [
    {"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."},
    {"role": "user", "content": "And another?"},
]  # fmt: skip
WORDS = {"text": "The keys to the cabinet are", "chat": CHAT[1:], "code": "def add(a, b):\n    return"}
SPELLED = {"text": "abc def", "back": "hgfedcba", "one": "a"}
PAIRS = {"pair": ("The keys to the cabinet", "The cats"), "source": "The cats near the dog"}
ID_PAIRS = {"pair": ([5, 9, 20, 41, 7], [11, 30]), "source": [8, 100, 33, 4]}
BUNDLED = {
    "text": "The keys to the cabinet", "chat": CHAT, "code": "def add(a, b):\n    return a", "turns": TURNS,
    "capital": "The capital of France is", "capital2": "Paris is the capital of", "one": "Hello",
    "mary": "When Mary and John went to the store, John gave a drink to", "ids": [504, 28, 338], "number": "2 + 2 =",
    "list": "Monday, Tuesday, Wednesday,", "lines": "Roses are red,\nViolets are blue,\nSugar is", "not": "I do not",
    "happy": "She opened the letter and smiled, because the news was", "sad": "The film was so boring that I",
    "opposite": "The opposite of hot is", "water": "Water boils at 100 degrees", "quote": 'He said, "I am',
    "long": "In the middle of the night, the old man who lived by the sea woke up, lit a candle and went to the",
    "caps": "THE QUICK BROWN FOX JUMPS OVER THE", "space": "Once upon a time ", "blank": "a\n\nb\n\nc\n\n",
    "french": "La capitale de la France est", "german": "Die Hauptstadt von Deutschland ist", "greek": "Η Αθήνα είναι",
    "russian": "Столица России —", "chinese": "中国的首都是", "japanese": "日本の首都は", "arabic": "عاصمة مصر هي",
    "hindi": "भारत की राजधानी", "emoji": "I love pizza 🍕 and", "accents": "Café, naïve, déjà", "math": "∫ x² dx =",
    "python": "for i in range(10):\n    print(", "json": '{"name": "Ada", "born":', "html": "<p>Hello <b>world</b",
    "sql": "SELECT name FROM users WHERE", "url": "https://www.", "one-turn": [{"role": "user", "content": "Hi"}],
    "empty-system": [{"role": "system", "content": ""}, {"role": "user", "content": "2+2?"}],
    "lines-chat": [{"role": "user", "content": "Translate to French:\n\nGood morning"}], "nothing": "",
}  # fmt: skip
ROWS = [
    {"prompt": "The keys to the cabinet", "target": " are"}, {"prompt": "The keys to the dog", "target": " are"},
    {"prompt": "The cats near", "target": " dog", "contrast": " cats"}, {"messages": CHAT[1:]}, {"prompt": ""},
    {"prompt": "The cats near the dog", "region": "cats"}, {"prompt": "The keys", "continuation": " are on"},
    {"prompt": "The", "target": " not one token at all"},
]  # fmt: skip
METHODS = {
    "default": None, "gxi": api.GradientTimesInput(), "vanilla": api.VanillaGradient(),
    "vanilla-l1": api.VanillaGradient(1), "gim": api.GIM(), "gim-hot": api.GIM(api.PlausibleAlternatives(), 2.0),
    "ig": api.IntegratedGradients(0.1, 64),
    "ig-steps": api.IntegratedGradients(steps=6, rule="gauss-legendre", baseline=api.Zero()),
    "ig-all-move": api.IntegratedGradients(steps=4, fixed=None), "idgi": api.IDGI(8),
    "sequential": api.SequentialIG(3), "discretized": api.DiscretizedIG(6, 20),
}  # fmt: skip
DRAWN = {
    "smoothgrad": api.SmoothGrad(samples=4), "smoothgrad-squared": api.SmoothGradSquared(samples=4),
    "vargrad": api.VarGrad(samples=4, seed=1), "expected": api.ExpectedGradients(samples=6),
    "marginalization": api.Marginalization(samples=3),
}  # fmt: skip
BASELINES = {
    "line-break": api.LineBreak(), "alternatives": api.PlausibleAlternatives(20), "mean": api.MeanEmbedding(),
    "zero": api.Zero(), "unknown": api.Unknown(), "token": api.Token(3), "eos": api.Token(),
    "half": api.PlausibleAlternatives(weight=0.5), "tiny": api.Embeddings(1e-3),
}  # fmt: skip


def words_lm(model):
    """A network with the tests' tokenizer, and a token for unknown words."""
    tokenizer = trained_tokenizer()
    tokenizer.unk_token = "<s>"
    return NextTokenLM.from_pretrained(model, tokenizer)


def lstm():
    torch.manual_seed(5)
    return letters_lm(nn.LSTM(6, 8, batch_first=True, dtype=torch.float64), hidden=8, dropout=0.5)


def encoder():
    torch.manual_seed(7)
    return letters_lm(CausalEncoder(6)).eval()


def own_module():
    torch.manual_seed(0)
    parts = [nn.Embedding(len(LETTERS), 8), nn.GRU(8, 12, batch_first=True), nn.Linear(12, len(LETTERS))]
    module, vocab = nn.ModuleList(parts).double(), SymbolVocabulary(LETTERS, eos=".")
    return NextTokenLM.from_callables(module, vocab, embed=parts[0], contextualize=parts[1], head=parts[2])


def bart():
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = transformers.BartConfig(d_model=16, vocab_size=400, **BART_SIZES, **ids)
    return words_lm(random(transformers.BartForConditionalGeneration, config))


FAMILIES = {
    "mixtral": "MixtralForCausalLM", "mamba": "MambaForCausalLM", "gemma": "Gemma2ForCausalLM",
    "jamba": "JambaForCausalLM",
}  # fmt: skip
MODELS = {
    "gpt2": (lambda: words_lm(gpt2()), WORDS), "llama": (lambda: words_lm(llama()), WORDS),
    **{name: (lambda kind=kind: words_lm(build(kind, sizes={64: 400})), WORDS) for name, kind in FAMILIES.items()},
    "bart": (bart, PAIRS), "t5": (lambda: NextTokenLM.from_pretrained(t5()), ID_PAIRS),
    "marian": (lambda: NextTokenLM.from_pretrained(marian()), ID_PAIRS), "lstm": (lstm, SPELLED),
    "encoder": (encoder, SPELLED), "gru": (own_module, SPELLED), "bundled": (NextTokenLM.from_pretrained, BUNDLED),
}  # fmt: skip


def of_target(target):
    """A target with its foils and those that follow, as texts and numbers."""
    each = [target, *target.foils, *target.following] if target else []
    return [(one.text, one.probability, one.rank) for one in each]


def of_check(found):
    alone = [(each.score, each.change, each.standard_error) for each in (*found.strongest, *found.others)]
    both = [found.deletion and found.deletion.area, found.correlation and found.correlation.value]
    numbers = [found.value, found.fit, found.percentile, found.randomized, found.together.score, found.together.change]
    labels = [each.labels for each in found.strongest]
    return {"check": numbers + both, "alone": alone, "strongest": labels, "cost": found.forwards}


def of_attribution(why):
    gap, path = why.completeness, why.path
    return {
        "scores": ["held" if held else score for score, held in zip(why.scores.tolist(), why.fixed, strict=True)],
        "target": of_target(why.target),
        "ends": gap and [gap.value, gap.baseline_value, gap.gap, gap.certified_gap],
        "errors": [why.standard_error, why.error] if why.standard_error is not None or why.error is not None else None,
        "path": path and [path.alphas[::5], path.values[::5], path.slopes[::5]],
        "cost": [why.gradients_spent, why.forwards_spent],
        **(of_check(why.faithfulness) if why.faithfulness else {}),
    }


def of_flip(found):
    edits = [(each.position, each.old, each.new, each.probability) for each in (*found.edits, *found.closest)]
    says = [(of_target(each.first), of_target(each.target), each.margin) for each in (found.before, found.after)]
    chance = [found.random.edits, found.random.trials, found.random.flipped, found.random.lowest]
    return {"edits": [found.found, found.prompt, edits], "says": says, "chance": chance, "cost": found.forwards}


def of_reduction(found):
    steps = [(each.removed, each.probability, each.rank) for each in found.steps]
    kept = [found.prompt, *(each.text for each in found.kept)]
    return {"kept": kept, "steps": steps, "after": of_target(found.after), "cost": found.forwards}


def of_replacements(found):
    rows = [(each.text, each.id, each.probability, each.value, each.drop, each.first) for each in found]
    return {"rows": rows, "whole": [found.old, found.probability, found.value], "cost": found.forwards}


PARTS = {
    dict: dict, api.Attribution: of_attribution, api.Faithfulness: of_check, api.Flip: of_flip,
    api.Reduction: of_reduction, api.Replacements: of_replacements,
    api.Failure: lambda failure: {"error": type(failure.error).__name__},
}  # fmt: skip


def parts(result):
    """What of a result is compared, by name; the results of a list or a matrix have their number before them."""
    if type(result) in PARTS:
        return PARTS[type(result)](result)
    return {f"{number}.{part}": found for number, one in enumerate(result) for part, found in parts(one).items()}


def flat(value):
    """Any nesting of numbers and texts as one list of both, numbers with eight digits."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [one for each in value for one in flat(each)]
    if isinstance(value, bool | str | None) or not math.isfinite(value):
        return [str(value)]
    return [value if isinstance(value, int) else float(f"{value:.8g}")]


def of_files(result, endings):
    """The numbers that come back from files, and whether the others have a size."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for ending in endings:
            path = Path(result.save(Path(folder) / f"result.{ending}"))
            found[ending] = path.stat().st_size > 0
            if ending in ("csv", "tsv"):
                cells = re.split(r"[\t\n,]", path.read_text("utf-8"))
                found[ending] = [float(cell) for cell in cells if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)]
            if ending == "json":
                found |= {f"json.{part}": value for part, value in parts(type(result).load(path)).items()}
    return found


def of_figures(lm, prompt):
    why, matrix = api.attribute(lm, prompt, method=METHODS["ig"]), api.attribute_candidates(lm, prompt, 2)
    with tempfile.TemporaryDirectory() as folder:
        figures = [why.bars(), why.path_plot(), matrix.heatmap(), api.compare([why, why]), api.aligned([why, why])]
        files = [api.save_figure(figure, Path(folder) / f"{number}.svg") for number, figure in enumerate(figures)]
        files.append(api.page([why, matrix], Path(folder) / "page.html"))
        return {"written": [path.stat().st_size > 0 for path in files]}


def of_corpus(lm, method, check=False):
    columns = {name: [row.get(name) for row in ROWS] for row in ROWS for name in row}
    columns["id"] = [str(number) for number in range(len(ROWS))]
    found = explain_columns(lm, columns, method, check=check)
    with tempfile.TemporaryDirectory() as folder:
        write_columns(found, Path(folder) / "0.parquet")
        said = report(folder, min_rows=2, progress=False).targets
    words = [(each.target, [(word.text, word.mean, word.q) for word in each.words]) for each in said]
    kept = {name: found[name] for name in ("pieces", "target", "target_id", "probability", "rank", "gap")}
    scores = {f"{number}.scores": one for number, one in enumerate(found["scores"])}
    return {**kept, **scores, "failed": [each is not None for each in found["error"]], "words": words}


def of_totals(why):
    divisions = ["word", "sentence", "line", *(["message"] if why.messages else [])]
    roles = why.role_totals() if why.messages else {}
    return {**{by: why.totals(by).scores for by in divisions}, "roles": [*roles.items()], "top": why.top()}


def reading(lm, prompt):
    read = lm.prompt(prompt)
    pieces = [(each.text, each.template) for each in read.pieces]
    return {"ids": read.ids, "pieces": pieces, "next": [*map(of_target, lm.predict(prompt))]}


def questions(lm, prompt):
    """What can be asked about one prompt beside its first choice, as options of `attribute`."""
    one, two, three = (each.id for each in lm.predict(prompt, 3))
    quantities = {"loss": api.LOSS, "probability": api.PROBABILITY, "logit": api.LOGIT, "entropy": api.ENTROPY}
    quantities["odds"] = api.log_odds(lm, [one], [two, three])
    return {
        "second": {"target": two}, "foil": {"contrast": two}, "foils": {"target": two, "contrast": [one, three]},
        "span": {"target": [two, one, three]}, "same": {"target": one, "contrast": one}, "start": {"start": True},
        "characters": {"region": (0, 5)}, "expression": {"region": r"\w+$"}, "chunks": {"batch_size": 2},
        "double": {"precision": "float64"}, "half": {"precision": "bfloat16"},
        **{name: {"quantity": quantity} for name, quantity in quantities.items()},
    }  # fmt: skip


def case(family, prompt, what, function, *given, **options):
    return family, prompt, what.replace(" ", "-"), partial(function, *given, **options)


def cases(lm, prompts, thorough, everywhere):
    """What is computed with a model: family, prompt, what of it, and a function without arguments."""
    for name, prompt in prompts.items():
        yield case("prompts", name, "reading", reading, lm, prompt)
        for what in METHODS if name in thorough else everywhere:
            yield case("methods", name, what, api.attribute, lm, prompt, method=METHODS[what])
    for name in thorough:
        prompt = prompts[name]
        for what, method in DRAWN.items():
            yield case("sampled", name, what, api.attribute, lm, prompt, method=method)
        for what in ("default", "vanilla"):
            own = {"method": METHODS[what]}
            yield case("candidates", name, what, api.attribute_candidates, lm, prompt, 3, **own)
            yield case("continuation", name, what, api.attribute_continuation, lm, prompt, max_new_tokens=3, **own)
        last = [place for piece in lm.prompt(prompt).pieces if not piece.template for place in piece.positions][-1]
        yield case("replacements", name, "last", api.replacements, lm, prompt, last, 4)
        yield case("reductions", name, "first", api.reduce_input, lm, prompt)
        yield case("sampled", name, "check", api.attribute, lm, prompt, check=True)
        yield case("sampled", name, "flip", api.flip, lm, prompt, max_edits=2, candidates=8)
    name, prompt = next(iter(prompts.items()))
    one, two = (each.id for each in lm.predict(prompt, 2))
    for method in api.CONVENTIONS:
        family = "sampled" if method.stochastic else "conventions"
        yield case(family, name, method.name, api.attribute, lm, prompt, method=method)
    for what, baseline in {**BASELINES, "text": api.Text(lm.prompt(prompt).ids[::-1])}.items():
        path = api.IntegratedGradients(steps=3, baseline=baseline)
        for kind, method in (("gxi", api.GradientTimesInput(baseline)), ("ig", path)):
            yield case("baselines", name, f"{what} {kind}", api.attribute, lm, prompt, method=method)
    for what, options in questions(lm, prompt).items():
        for kind in ("default", "ig-steps"):
            yield case("questions", name, f"{what} {kind}", api.attribute, lm, prompt, method=METHODS[kind], **options)
    if "chat" in prompts:
        yield case("questions", "chat", "message", api.attribute, lm, prompts["chat"], region=-1)
    yield case("candidates", name, "given", api.attribute_candidates, lm, prompt, [two, one], METHODS["ig-steps"])
    yield case("continuation", name, "given", api.attribute_continuation, lm, prompt, [one, two], METHODS["idgi"])
    yield case("reductions", name, "half", api.reduce_input, lm, prompt, keep=0.5)
    yield case("replacements", name, "foil", api.replacements, lm, prompt, 1, 3, contrast=two)
    for what, options in {"flip-to": {"to": two}, "flip-foil": {"contrast": two}}.items():
        yield case("sampled", name, what, api.flip, lm, prompt, candidates=6, max_edits=1, **options)
    some = [*(prompts[each] for each in thorough), ""]
    for what in ("default", "gxi", "ig-steps"):
        many = partial(api.attribute_many, lm, some, method=METHODS[what], progress=False)
        yield case("many", "all", what, lambda many=many: list(many()))


def cases_of_text(lm, prompts):
    """What needs a tokenizer of words: totals, files, figures, corpora, and another library's methods."""
    prompt = prompts["text"]
    for kind in (InputXGradient, FeatureAblation):
        yield case("methods", "text", kind.__name__, api.attribute, lm, prompt, method=api.Captum(kind))
    for name in ("text", "chat", "code"):
        yield case("totals", name, "default", lambda name=name: of_totals(api.attribute(lm, prompts[name])))
    results = {
        "attribution": partial(api.attribute, lm, prompt), "matrix": partial(api.attribute_candidates, lm, prompt, 3),
        "replacements": partial(api.replacements, lm, prompt, 1, 3), "reduction": partial(api.reduce_input, lm, prompt),
    }  # fmt: skip
    for what, result in results.items():
        endings = ("json", "html", *(("csv", "tsv", "png", "pdf", "svg") if what in ("attribution", "matrix") else ()))
        yield case("files", "text", what, lambda result=result, endings=endings: of_files(result(), endings))
    yield case("files", "text", "figures", of_figures, lm, prompt)
    for what in ("default", "gxi", "ig-steps"):
        yield case("corpus", "rows", what, of_corpus, lm, METHODS[what])
    yield case("sampled", "rows", "corpus-check", of_corpus, lm, None, check=True)
    control = {"method": METHODS["gxi"], "weights": "random", "seed": 1}
    yield case("sampled", "text", "weights", lambda: api.check(lm, api.attribute(lm, prompt), **control))


def computed(models, only):
    """The parts of all results, by name."""
    found, began = {}, time.perf_counter()
    for model in filter(lambda model: chosen(model, models), MODELS):
        load, prompts = MODELS[model]
        lm, bundled = load(), model == "bundled"
        thorough = ("text", "chat", "code") if bundled else tuple(prompts)[:2]
        asked = [*cases(lm, prompts, thorough, ("default", "gxi", "vanilla") if bundled else ())]
        asked += cases_of_text(lm, prompts) if model in ("gpt2", "bundled") else []
        for family, prompt, what, compute in asked:
            name = f"{family}/{model}/{prompt}/{what}"
            if only in name:
                torch.manual_seed(0)
                try:
                    own = {part: flat(value) for part, value in parts(compute()).items()}
                    found[name] = {part: value for part, value in own.items() if value not in ([], ["None"])}
                except Exception as error:
                    found[name] = {"error": [f"error: {type(error).__name__}"]}
        print(f"{model}: {len(found)} results, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return found


def named_parts(results):
    return {f"{name}#{part}": value for name, own in results.items() for part, value in own.items()}


def chosen(model, models):
    return models == "all" or (model == "bundled") == (models == "bundled")


def difference(one, other):
    """The largest relative difference of two lists; infinite where their lengths or texts differ."""
    numbers = [abs(each) for each in (*one, *other) if not isinstance(each, str)]
    least = max(1e-3 * max(numbers, default=0.0), 1e-6)
    differences = [0.0] if len(one) == len(other) else [math.inf]
    for a, b in zip(one, other, strict=False):
        text = isinstance(a, str) or isinstance(b, str)
        differences.append((0.0 if a == b else math.inf) if text else abs(a - b) / max(abs(a), abs(b), least))
    return max(differences)


def compared(before, now):
    """Print how far the results are from those recorded. Whether all are there and close."""
    apart = {name: difference(before[name], now[name]) for name in before if name in now}
    families = {}
    for name, each in apart.items():
        family = "cost" if name.endswith("cost") else name.partition("/")[0]
        families.setdefault(family, []).append(each)
    for family, each in sorted(families.items()):
        note = "; drawn: may change within standard errors where draws change" if family == "sampled" else ""
        print(f"{family}: {len(each)} results, largest relative difference {max(each):.1e}{note}")
    far = [name for name, each in apart.items() if each > 1e-5]
    missing = [name for name in before if name not in now]
    for name in far:
        print(f"{apart[name]:.1e}  {name}: {str(before[name])[:70]} -> {str(now[name])[:70]}")
    print(*(f"missing  {name}" for name in missing), f"{len(now.keys() - before.keys())} new", sep="\n")
    return not far and not missing


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="", help="a part of the names that are computed, before their #")
    parser.add_argument("--models", choices=("tiny", "bundled", "all"), default="all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    now = computed(given.models, given.only)
    if given.action == "record":
        text = json.dumps(now, ensure_ascii=False, separators=(",", ":"))
        given.file.write_text(text.replace('},"', '},\n"'), "utf-8")
        return 0
    before = json.loads(given.file.read_text("utf-8"))
    asked = {name: own for name, own in before.items() if given.only in name}
    asked = {name: own for name, own in asked.items() if chosen(name.split("/")[1], given.models)}
    return 0 if compared(named_parts(asked), named_parts(now)) else 1


if __name__ == "__main__":
    sys.exit(main())
