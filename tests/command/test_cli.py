"""The command: what it prints and saves, and one line for every mistake."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interpret import (
    CONVENTIONS,
    GIM,
    IDGI,
    Flip,
    GradientTimesInput,
    PlausibleAlternatives,
    SmoothGrad,
    Token,
    attribute,
    check,
    cli,
    convention,
    flip,
    reduce_input,
)
from interpret.cli import app
from interpret.command.options import settings_of
from interpret.command.terminal import errors_in_one_line
from interpret.engine.progress import progress
from interpret.methods.listed import BASELINES, METHODS
from interpret.question.question import Question
from interpret.session.answer import named_method

ROOT = Path(__file__).parents[2]


def run(*words, status=0, stdin=None):
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin, env={"COLUMNS": "200"})
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_predict(lm, folder):
    result = run("predict", "The keys", "--top", 3, "--model", folder)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["rank", "token", "id", "probability"]
    for line, target in zip(lines[1:], lm.predict("The keys", 3), strict=True):
        assert line.split()[0] == str(target.rank)
        assert line.split()[-2:] == [str(target.id), f"{target.probability:.4f}"]


def test_predict_reads_standard_input(folder):
    assert (
        run("predict", "-", "--model", folder, stdin="The keys").stdout
        == run("predict", "The keys", "--model", folder).stdout
    )


@pytest.mark.parametrize("method", ["integrated-gradients", "smoothgrad"])
@pytest.mark.filterwarnings("ignore")
def test_explain_saves_and_prints(folder, method, tmp_path):
    picture, data = tmp_path / "why.png", tmp_path / "why.json"
    result = run(
        "explain", "The keys", "--target", " cat", "--contrast", " dog", "--method", method,
        "--save", picture, "--json", data, "--model", folder,
    )  # fmt: skip
    saved = json.loads(data.read_text())
    assert saved["target"]["text"] == " cat"
    assert saved["target"]["foils"][0]["text"] == " dog"
    assert "rather than ' dog'" in result.stdout
    for piece in saved["tokens"]:
        assert piece in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"saved {picture}" in result.stderr


def test_settings_reach_the_method(folder):
    words = ("explain", "The keys", "--model", folder, "--format", "json", "--method", "smoothgrad")
    made = json.loads(run(*words, "--set", "samples=4", "--set", "sigma=0.5", "--set", "seed=7").stdout)
    names = {"SmoothGrad": SmoothGrad, "GradientTimesInput": GradientTimesInput}
    assert eval(made["method"], names) == SmoothGrad(samples=4, sigma=0.5, seed=7)
    nested = ["method=idgi", "method.steps=3", "method.baseline=token", "method.baseline.token= a=b"]
    asked = Question(method="smoothgrad", settings=settings_of(["samples=4", *nested]))
    assert named_method(asked) == SmoothGrad(IDGI(steps=3, baseline=Token(" a=b")), samples=4)
    assert named_method(Question()) is None
    assert named_method(Question(settings={"temperature": "2"})) == GIM(
        PlausibleAlternatives(weight=0.5), temperature=2.0
    )
    assert named_method(Question(method="inseq:gradient-x-input")) == convention("inseq", "gradient x input")


@pytest.mark.filterwarnings("ignore")
def test_a_map_is_checked_unless_it_is_not_to_be(lm, folder, tmp_path):
    words = ("explain", "The keys to the cat and the dog", "--target", " the", "--model", folder, "--format", "json")
    checked, plain = run(*words), run(*words, "--no-check")
    why = attribute(lm, words[1], " the")
    found = json.loads(checked.stdout)
    assert found["method"] == why.method == repr(GIM(PlausibleAlternatives(weight=0.5)))
    assert found["faithfulness"]["sentence"] == check(lm, why).sentence
    assert json.loads(plain.stdout)["faithfulness"] is None
    assert check(lm, why).sentence in " ".join(run(*words[:-2]).stdout.split())
    behind = json.loads(run(*words, "--start", "auto").stdout)
    assert behind["start"] == "<s>"
    assert behind["scores"] == pytest.approx(attribute(lm, words[1], " the", start=True).scores.tolist())
    by = json.loads(run(*words, "--by", "word").stdout)
    assert set(by["faithfulness"]["strongest"][0]["labels"]) <= set(by["labels"])
    matrix = json.loads(run("explain", words[1], "--candidates", 2, *words[4:]).stdout)
    assert matrix["attributions"][0]["faithfulness"] is None


def test_every_method_is_listed_with_its_settings():
    listing = run("methods").stdout
    for each in METHODS:
        assert f"\n{each.slug}\n  {each.help}\n" in "\n" + listing
    assert "settings: tolerance=0.05, max_gradients=256, baseline=alternatives, fixed=template, steps=none" in listing
    assert "midpoint, gauss-legendre, trapezoid, left, right" in listing
    assert all(f"  {each.slug} " in listing for each in BASELINES)
    assert len(re.findall(r"^  \w+:[\w-]+$", listing, re.M)) == len(CONVENTIONS)


def test_the_help_names_every_method():
    printed = " ".join(run("explain", "--help").stdout.split()).replace("- ", "-")  # where a line ends at a hyphen
    assert all(each.slug in printed for each in METHODS)
    assert "--set NAME=VALUE" in printed


PATH_METHOD = ("explain", "The keys", "--method", "integrated-gradients")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", ""], "the prompt is empty"),
        (["explain", "The keys", "--target", " zebra"], "pass one of them"),
        (["explain", "x" * 200], "reads at most 64"),
        (
            ["explain", "The keys", "--method", "magic"],
            "there is no method 'magic'; the methods are integrated-gradients",
        ),
        (
            ["explain", "The keys", "--method", "vanilla-gradient", "--set", "steps=3"],
            "vanilla-gradient has no setting 'steps'; it has norm",
        ),
        (["explain", "The keys", "--method", "vanilla-gradient", "--set", "norm=3"], "norm is 3; it must be 1 or 2"),
        ([*PATH_METHOD, "--set", "steps=0"], "steps is 0"),
        ([*PATH_METHOD, "--set", "steps=few"], "steps is 'few'; it must be a whole number, or none"),
        (["explain", "The keys", "--set", "steps"], "--set 'steps' is not NAME=VALUE, such as --set steps=50"),
        (["explain", "The keys", "--set", "=5"], "--set '=5' is not NAME=VALUE"),
        ([*PATH_METHOD, "--set", "steps=5", "--set", "steps=6"], "--set gives steps twice, '5' and '6'"),
        ([*PATH_METHOD, "--set", "rule=left"], "set steps as well"),
        ([*PATH_METHOD, "--set", "steps=5", "--set", "tolerance=0.1"], "so tolerance means nothing beside it"),
        ([*PATH_METHOD, "--set", "rule=right-angle", "--set", "steps=5"], "it must be one of midpoint"),
        (["explain", "The keys", "--set", "steps=5"], "settings of another method need its name, --method NAME"),
        (["explain", "The keys", "--start", "The keys"], "one is expected"),
        (["explain", "The keys", "--json", "why.png"], "the ending must be .json"),
        (["explain", "\udcff abc"], "is not valid text: character 0"),
        ([*PATH_METHOD, "--set", "baseline=none"], "it must be one of line-break, alternatives, mean, zero"),
        (["explain", "The keys", "--method", "smoothgrad", "--set", "sigma=-1"], "sigma is -1"),
    ],
)
def test_mistakes_are_one_line(folder, words, message):
    result = run(*words, "--model", folder, status=1)
    assert message in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere/why.png", "there is no folder 'nowhere'"),
        ("why.doc", "the ending must be one of .json"),
    ],
)
def test_an_output_that_cannot_be_written_is_found_before_the_model_is_even_loaded(path, message):
    result = run("explain", "The keys", "--save", path, "--model", "/no/such/model", status=1)
    assert message in result.stderr
    assert "model" not in result.stderr


def test_a_model_that_is_not_there_is_one_line():
    result = run("predict", "The keys", "--model", "nobody/nothing", status=1)
    assert result.stderr.startswith("error: cannot load the model 'nobody/nothing': it is not on this disk")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line(folder):
    result = run(
        "explain", "The keys to the cabinet ", "--target", "are", "--model", folder, "--method", "vanilla-gradient"
    )
    assert result.stderr.strip().startswith("warning: the prompt ends in a space")
    assert len(result.stderr.strip().splitlines()) == 1


def test_nothing_is_shown_twice_or_in_markup(folder):
    result = run("explain", "[red]The[/red] keys", "--model", folder, "--method", "vanilla-gradient")
    assert "[red]The[/red] keys" in result.stdout
    assert "\x1b" not in result.stdout


def test_help_names_the_commands():
    result = run("--help")
    assert "predict" in result.stdout
    assert "explain" in result.stdout


@pytest.mark.slow
def test_interrupt_writes_nothing_and_says_so(folder, tmp_path):
    """The real process, interrupted while it computes."""
    words = [*PATH_METHOD, "--model", folder, "--set", "steps=200000", "--save", str(tmp_path / "why.png")]
    code = (
        "import sys\n"
        "from interpret import cli\n"
        "from interpret.session import answer as room\n"
        "answer = room.answer\n"
        "def answer_aloud(*given, on_progress, **options):\n"
        "    return answer(*given, on_progress=lambda count: print(count, flush=True), **options)\n"
        "room.answer = answer_aloud\n"
        f"sys.argv = {['nexttoken', *words]!r}\n"
        "cli.main()"
    )
    # A shell's background job hands on that it ignores interrupts, so this one is told not to.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen([sys.executable, "-c", code], preexec_fn=heed, **settings) as process:
        assert process.stdout.readline()  # it computes
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "error: interrupted; nothing was written" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore")
def test_explain_candidates_and_continuations(lm, folder, tmp_path):
    quick = ("--method", "gradient-times-input", "--model", folder)
    data, picture = tmp_path / "matrix.json", tmp_path / "matrix.png"
    result = run("explain", "The keys", "--candidates", 3, "--json", data, "--save", picture, *quick)
    saved = json.loads(data.read_text())
    assert [row["target"]["id"] for row in saved["attributions"]] == [target.id for target in lm.predict("The keys", 3)]
    assert picture.stat().st_size > 1000
    assert "3 next tokens" in result.stdout
    assert len(result.stdout.split("piece")[1].splitlines()) == 1 + len(lm.prompt("The keys").pieces)
    assert "Why ' are the', token by token?" in run("explain", "The keys", "--continuation", " are the", *quick).stdout
    result = run("explain", "The keys", "--generate", 9, *quick)
    assert "strongest pieces, nats" in result.stdout
    assert len(result.stdout.strip().splitlines()) >= 9


@pytest.mark.filterwarnings("ignore")
def test_explain_by_a_part_and_in_a_chat(folder):
    quick = ("--method", "gradient-times-input", "--model", folder)
    assert "fixed" in run("explain", "The keys to", "--region", "keys", *quick).stdout
    assert "The keys" in run("explain", "The keys to", "--by", "sentence", *quick).stdout.split("nats")[-1]
    assert "<|user|>" in run("explain", "The keys to", "--chat", *quick).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", " a", "--candidates", 2), "--target and --candidates ask for different things"),
        (("--continuation", " a", "--generate", 2), "--continuation and --generate ask"),
        (("--continuation", " a", "--contrast", " the"), "--contrast is for one next token"),
        (("--region", "zebra"), "'zebra' matches nothing"),
        (("--region", "("), "is not a regular expression"),
        (("--by", "word", "--candidates", 2), "--by adds up the scores of one target"),
    ],
)
def test_questions_that_do_not_go_together(folder, words, message):
    assert message in run("explain", "The keys", *words, "--model", folder, status=1).stderr


QUICK = ("--method", "gradient-times-input")


@pytest.mark.filterwarnings("ignore")
def test_formats_for_other_programs(folder, tmp_path):
    saved = tmp_path / "why.json"
    words = ("explain", "The keys\tto", *QUICK, "--model", folder)
    printed = run(*words, "--format", "json", "--json", saved)
    assert json.loads(printed.stdout) == json.loads(saved.read_text())
    assert "saved" in printed.stderr
    why = json.loads(printed.stdout)
    lines = [line.split("\t") for line in run(*words, "--format", "tsv").stdout.splitlines()]
    assert lines[0] == ["piece", "ids", "score", "standard_error", "fixed", "template"]
    assert "".join(line[0] for line in lines[1:]) == "The keys\\tto"
    assert [float(line[2]) for line in lines[1:]] == why["scores"]
    lines = run(*words, "--candidates", 2, "--format", "tsv").stdout.splitlines()
    assert len(lines) == 1 + 2 * len(why["tokens"])
    assert lines[0].endswith("\ttarget")
    matrix = json.loads(run(*words, "--candidates", 2, "--format", "json").stdout)
    assert len(matrix["attributions"]) == 2


def test_predictions_for_other_programs(lm, folder):
    targets = lm.predict("The keys", 3)
    rows = json.loads(run("predict", "The keys", "--top", 3, "--model", folder, "--format", "json").stdout)
    assert [(row["rank"], row["text"], row["id"]) for row in rows] == [(t.rank, t.text, t.id) for t in targets]
    assert [row["probability"] for row in rows] == [target.probability for target in targets]
    lines = run("predict", "The keys", "--top", 3, "--model", folder, "--format", "tsv").stdout.splitlines()
    assert lines[0] == "rank\ttext\tid\tprobability"
    assert [int(line.split("\t")[2]) for line in lines[1:]] == [target.id for target in targets]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("given", [lambda chat: chat, lambda chat: {"messages": chat}])
def test_a_chat_as_json(folder, given):
    chat = [{"role": "user", "content": "The keys"}, {"role": "assistant", "content": "to the"}]
    words = ("--chat", *QUICK, "--model", folder, "--format", "json")
    found = json.loads(run("explain", "-", *words, stdin="\ufeff" + json.dumps(given(chat))).stdout)
    assert [message["role"] for message in found["messages"]] == ["user", "assistant"]
    for text in ("[1, 2]", '{"a": 1}', "[", "[]", '["role"]'):  # a user's message
        found = json.loads(run("explain", text, *words).stdout)
        assert [message["role"] for message in found["messages"]] == ["user"]
        assert text in "".join(found["tokens"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", "The keys", "--format", "xml"), "'xml' is not one of 'table', 'json', 'tsv'"),
        (("flip", "The keys", "--format", "tsv"), "'tsv' is not one of 'table', 'json'"),
        (("explain", "The keys", "--by", "letter"), "'letter' is not one of 'word', 'sentence', 'line', 'message'"),
        (("explain", "The keys", "--memory-budget", "much"), "could not convert string to float: 'much'"),
    ],
)
def test_an_unknown_choice_is_found_before_the_model_is_loaded(words, message):
    assert message in run(*words, "--model", "/no/such/model", status=2).stderr


@pytest.mark.filterwarnings("ignore")
def test_signs_where_there_are_no_colours_and_a_page(folder, tmp_path):
    result = run("explain", "The keys", *QUICK, "--model", folder, "--save", tmp_path / "why.html")
    assert "++++++++++" in result.stdout or "----------" in result.stdout
    assert (tmp_path / "why.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.slow
def test_in_a_shell(folder, tmp_path):
    """Columns can be cut, nothing but lines is printed, and a reader that stops early is no error under pipefail."""
    command = f"{Path(sys.executable).parent}/nexttoken explain 'The keys to' --model {folder} {' '.join(QUICK)}"

    def shell(line):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, check=True, env=environment
        )

    header, *scores = shell(f"{command} --format tsv | cut -f3").stdout.splitlines()
    assert header == "score"
    assert len(scores) == 3
    assert all(math.isfinite(float(score)) for score in scores)
    for printed in ("table", "tsv"):
        picture = tmp_path / f"{printed}.html"
        stopped = shell(f"{command} --format {printed} --save {picture} | true")
        assert stopped.stderr == f"saved {picture}\n"
        assert picture.exists()


@pytest.mark.parametrize(("before", "during"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(monkeypatch, before, during):
    """The policy stands before the command, and so torch, begins."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if before:
        monkeypatch.setenv("OMP_WAIT_POLICY", before)
    seen = []
    monkeypatch.setattr(cli, "app", lambda **options: seen.append(os.environ["OMP_WAIT_POLICY"]))
    cli.main()
    assert seen == [during]


def test_the_command_is_loaded_and_helps_without_torch():
    code = (
        "import sys, interpret.cli\n"
        "sys.argv = ['nexttoken', 'explain', '--help']\n"
        "try: interpret.cli.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules and 'tqdm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.filterwarnings("default")
def test_a_warning_stands_above_the_bar(folder, monkeypatch, capsys):
    """Both are written to the terminal, and neither into the other."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with errors_in_one_line(), progress(3, "gradients") as advance:
        advance(1)
        warnings.warn("beware", stacklevel=1)
        advance(1)
    lines = capsys.readouterr().err.split("\n")
    assert "beware" in lines[0].rpartition("\r")[2]
    assert "gradients" not in lines[0].rpartition("\r")[2]
    assert "gradients" in lines[1]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ((), {}),
        (("--to", " dog"), {"to": " dog"}),
        (("--contrast", " dog", "--max-edits", 1), {"contrast": [" dog"], "max_edits": 1}),
    ],
)
def test_flip_is_that_of_python(lm, folder, tmp_path, words, options):
    prompt, few = "The keys to the", ("--candidates", 4, "--beam", 2, "--seed", 1)
    expected = flip(lm, prompt, candidates=4, beam=2, seed=1, **options)
    files = [tmp_path / "flip.json", tmp_path / "flip.html"]
    printed = ("--model", folder, "--json", files[0], "--save", files[1], "--format", "json")
    result = run("flip", prompt, *few, *words, *printed)
    plain = json.loads(files[0].read_text())
    assert {"found", "edits", "prompt"} <= plain.keys()
    assert json.loads(result.stdout) == plain
    assert Flip.load(files[0]).edits == expected.edits
    assert plain["prompt"] == expected.prompt
    assert files[1].read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "saved" in result.stderr


@pytest.mark.parametrize("keep", ["first", "0.5"])
def test_reduce_is_that_of_python(lm, folder, tmp_path, keep):
    expected = reduce_input(lm, "The keys to the cabinet", keep=keep if keep == "first" else float(keep))
    file = tmp_path / "reduction.json"
    result = run("reduce", "-", "--keep", keep, "--model", folder, "--json", file, stdin="The keys to the cabinet\n")
    plain = json.loads(file.read_text())
    assert plain["prompt"] == expected.prompt
    assert "".join(each["text"] for each in plain["kept"]) == "".join(span.text for span in expected.kept)
    assert "taken away" in result.stdout


def test_a_counterfactual_of_a_chat(folder, tmp_path):
    file = tmp_path / "flip.json"
    chat = json.dumps([{"role": "system", "content": "be short"}, {"role": "user", "content": "the cats"}])
    result = run("flip", chat, "--chat", "--candidates", 4, "--model", folder, "--json", file)
    plain = json.loads(file.read_text())
    assert "{+" in result.stdout or not plain["edits"]
    assert [each["role"] for each in plain["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("flip", "The", "--json", "x.html"), "the ending must be .json"),
        (("flip", "The", "--save", "x.png"), "the ending must be one of .json, .html"),
        (("flip", "The keys", "--to", " dog", "--contrast", " cats"), "to and contrast ask for different things"),
        (("reduce", "The keys", "--keep", "some"), "keep is 'some'; it must be 'first', or a share"),
        (("reduce", "The keys", "--keep", "2"), "keep is 2.0"),
        (("reduce", "The keys", "--target", " dog"), "is not the model's first choice"),
        (("serve", "--host", "192.0.2.1", "--port", "0"), "cannot serve on 192.0.2.1"),
    ],
)
def test_mistakes_about_counterfactuals_are_one_line(folder, words, message):
    result = run(*words, "--model", folder, status=1)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_page_without_its_packages_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("serve", "--no-browser", "--port", 0, "--model", folder, status=1)
    assert "pip install 'nexttoken-interpret[page]'" in result.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("words", [("predict",), ("explain",), ("flip", "--candidates", 4), ("reduce",)])
def test_every_command_loads_its_model_and_answers(folder, words):
    result = run(*words[:1], "The keys to", *words[1:], "--model", folder, "--dtype", "float64", "--format", "json")
    assert json.loads(result.stdout)


def test_it_says_its_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert re.fullmatch(r"nexttoken-interpret \d+\.\d+\.\d+\n", result.output)
