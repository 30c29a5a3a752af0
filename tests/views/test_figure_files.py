"""Figures as files: their text can be found, they say what they show, and nothing is left half-written."""

import hashlib
import io
import json
import shutil
import subprocess
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest
from PIL import Image
from pypdf import PdfReader

from interpret import (
    IDGI,
    Attribution,
    AttributionMatrix,
    Completeness,
    GradientTimesInput,
    IntegratedGradients,
    StraightPath,
    aligned,
    attribute,
    compare,
    save_figure,
)
from interpret.views.figure import escaped
from nexttoken import Target
from tests.results.making import UGLY, changed, made

SVG = "{http://www.w3.org/2000/svg}"
DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
FORMATS = ("png", "pdf", "svg")
FULL = changed(
    made(["The", " keys", " ünïcode\n"], [0.5, -1.0, 0.25], versions={"torch": "2.0"}),
    target=Target(" are", 1, 0.5, 1, foils=(Target(" is", 2, 0.1, 3),)),
    completeness=Completeness(-1.0, -5.0, 0.1, 0.025, 0.2),
)


def metadata(path):
    """The title, description and creator of a file."""
    if path.suffix == ".png":
        text = Image.open(path).text
        return text["Title"], text["Description"], text["Creator"]
    if path.suffix == ".pdf":
        found = PdfReader(path).metadata
        return found["/Title"], found["/Subject"], found["/Creator"]
    tree = ElementTree.parse(path)
    creator = tree.find(f".//{DUBLIN_CORE}creator//{DUBLIN_CORE}title")
    work = next(node for node in tree.iter() if node.tag.endswith("}Work"))
    return work.find(f"{DUBLIN_CORE}title").text, work.find(f"{DUBLIN_CORE}description").text, creator.text


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_says_what_it_shows(kind, tmp_path):
    title, description, creator = metadata(FULL.save(tmp_path / f"why.{kind}"))
    assert (title, creator) == (FULL.heading, "nexttoken-interpret")
    (about,) = json.loads(description)
    assert about == FULL.provenance()
    assert about["prompt"] == "The keys ünïcode\n"
    assert (about["target"], about["foils"], about["model"]) == (" are", [" is"], "model")
    assert about["gap"] == "certified gap 5.0 % (0.2 nats)"
    assert about["completeness"]["certified_gap"] == 0.2
    assert (about["method"], about["versions"]) == ("Method()", {"torch": "2.0"})


@pytest.mark.parametrize("kind", FORMATS)
def test_a_matrix_says_so_too(kind, tmp_path):
    matrix = AttributionMatrix("candidates", (FULL, changed(FULL, target=Target(" was", 3, 0.2, 2))))
    (about,) = json.loads(metadata(matrix.save(tmp_path / f"matrix.{kind}"))[1])
    assert (about["kind"], about["target"]) == ("candidates", [" are", " was"])
    assert about["gap"] == matrix.gap_text
    assert len(about["completeness"]) == 2


@pytest.mark.parametrize("kind", FORMATS)
def test_any_text_can_stand_in_metadata(kind, tmp_path):
    ugly = made([*UGLY, "</rdf>", "]]>", "(\\)"], method="<&>")
    assert json.loads(metadata(ugly.save(tmp_path / f"ugly.{kind}"))[1])[0] == ugly.provenance()


def test_a_figure_of_several_names_them_all_and_yours_can_too(tmp_path):
    other = changed(FULL, method="Other()")
    for figure in (compare([FULL, other]), aligned([FULL, other])):
        about = json.loads(metadata(save_figure(figure, tmp_path / "both.svg"))[1])
        assert [each["method"] for each in about] == ["Method()", "Other()"]
    figure, axes = plt.subplots(figsize=(5, 4))
    plt.close(figure)
    assert FULL.heatmap(ax=axes) is figure
    about = json.loads(metadata(save_figure(figure, tmp_path / "own.svg", FULL))[1])
    assert about == [FULL.provenance()]


def test_your_metadata_are_added(tmp_path):
    FULL.heatmap().savefig(tmp_path / "why.png", metadata={"Author": "me", "Title": "mine"})
    text = Image.open(tmp_path / "why.png").text
    assert (text["Author"], text["Title"], text["Creator"]) == ("me", "mine", "nexttoken-interpret")
    FULL.heatmap().savefig(tmp_path / "plain.jpg")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_figure_gives_the_same_file(kind, tmp_path):
    digests = {hashlib.sha256(FULL.save(tmp_path / f"{n}.{kind}").read_bytes()).hexdigest() for n in range(2)}
    assert len(digests) == 1


def texts_of_svg(data):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(data).iter(f"{SVG}text")]


def test_text_in_svg_is_text():
    file = io.BytesIO()
    FULL.heatmap().savefig(file, format="svg")
    assert {"The", "keys", "ünïcode↵", "Why", "log-probability"} <= {
        *texts_of_svg(file.getvalue()), *" ".join(texts_of_svg(file.getvalue())).split()
    }  # fmt: skip


def test_text_in_pdf_is_text(tmp_path):
    for figure in (FULL.heatmap(), FULL.bars()):
        path = save_figure(figure, tmp_path / "why.pdf")
        found = PdfReader(path).pages[0].extract_text()
        for word in ("The", "keys", "ünïcode↵", "rather than", "nats, log-probability"):
            assert word in found


def test_a_figure_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = FULL.save(tmp_path / "why.png")
    before = path.read_bytes()
    figure = FULL.heatmap()

    def fail(*arguments, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="the disk is full"):
        save_figure(figure, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match=r"the ending must be one of \.png, \.pdf, \.svg"):
        save_figure(figure, tmp_path / "why.gif")


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_json_keeps_the_path_and_reads_what_had_none(tiny):
    for method in (
        IntegratedGradients(),
        IntegratedGradients(steps=40),
        IntegratedGradients(steps=9, rule="left"),
        IDGI(),
    ):
        result = attribute(tiny, "The keys", 69, method)
        path = result.path
        assert Attribution.from_json(result.to_json()).path == path
        assert (path.alphas[0], path.alphas[-1]) == (0, 1)
        assert list(path.alphas) == sorted(set(path.alphas))
        ends = (result.completeness.baseline_value, result.completeness.value)
        assert (path.values[0], path.values[-1]) == pytest.approx(ends, abs=1e-12)
        assert sum(slope is not None for slope in path.slopes) == result.gradients_spent
        assert len(path.misses) == len(path.alphas) - 1
    plain = attribute(tiny, "The keys", 69, GradientTimesInput())
    assert plain.path is None
    old = {name: value for name, value in plain.to_dict().items() if name != "path"}
    assert Attribution.from_dict(old).path is None
    with pytest.raises(ValueError, match="gradient x input keeps no path: IntegratedGradients and IDGI do"):
        plain.path_plot()


def test_the_certificate_follows_from_the_path(tiny):
    """Simpson's rule on every three points; the mean of the slopes for the midpoint rule."""
    result = attribute(tiny, "The keys to the cabinet", 69, IntegratedGradients())
    alphas, values, slopes = result.path.alphas, result.path.values, result.path.slopes
    gap = sum(
        abs(
            values[a + 2]
            - values[a]
            - (alphas[a + 2] - alphas[a]) * (slopes[a] + 4 * slopes[a + 1] + slopes[a + 2]) / 6
        )
        for a in range(0, len(alphas) - 1, 2)
    )
    assert gap == pytest.approx(result.completeness.certified_gap, rel=1e-9)
    fixed = attribute(tiny, "The keys to the cabinet", 69, IntegratedGradients(steps=30))
    assert fixed.path.slopes[0] is None
    assert sum(fixed.path.slopes[1:-1]) / 30 == pytest.approx(float(fixed.scores.sum()), rel=1e-9)


def test_a_path_misses_what_its_slopes_leave_out():
    path = StraightPath((0.0, 0.5, 0.75, 1.0), (0.0, 1.0, 4.0, 4.5), (2.0, 2.0, 2.0, None))
    assert path.misses == pytest.approx((0.0, 2.5, 0.0))
    with pytest.raises(ValueError, match="at least two points"):
        StraightPath((0.0, 1.0), (0.0,), (1.0, 1.0))


def test_nothing_that_a_prompt_says_is_a_command_of_tex():
    assert escaped(r"\input{x} $5_a # & ~ <|z|> `q' a--b 10⁻⁴  c") == (
        r"\textbackslash{}input\{x\} \$5\_a \# \& \textasciitilde{} \textless{}\textbar{}z\textbar{}\textgreater{} "
        r"\textasciigrave{}q\textquotesingle{} a-{}-b 10\textsuperscript{-4} \ c"
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("xelatex") is None, reason="no LaTeX: .pgf files were not written")
def test_pgf_is_set_by_latex(tmp_path):
    why = changed(FULL, tokens=(r"\undefined{", " $5_", "%~&#^"), labels=(r"\undefined{", " $5_", "%~&#^"))
    matrix = AttributionMatrix("candidates", (why, why))
    files = [why.save(tmp_path / "why.pgf", "column"), matrix.save(tmp_path / "matrix.pgf")]
    files.append(save_figure(why.bars(width="column"), tmp_path / "bars.pgf"))
    first = files[0].read_text().splitlines()[0]
    assert json.loads(first.removeprefix("% ")) == why.provenance()
    assert files[0].read_text() == why.save(tmp_path / "why.pgf", "column").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"why.pgf", "matrix.pgf", "bars.pgf", "matrix-img0.png"}
    inputs = "\n".join(rf"\noindent\input{{{path.name}}}\par" for path in files)
    head = r"\documentclass{article}\usepackage{pgf,graphicx}"
    (tmp_path / "paper.tex").write_text(rf"{head}\begin{{document}}{inputs}\end{{document}}")
    ran = subprocess.run(
        ["xelatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"], cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-2000:]
    text = PdfReader(tmp_path / "paper.pdf").pages[0].extract_text()
    assert "undefined{" in text
    assert "Why" in text


@pytest.mark.parametrize(("name", "inches"), [("column", 3.03), ("text", 5.5), ("ICML text", 6.75), (4, 4)])
def test_a_width_has_a_name(name, inches):
    for figure in (FULL.heatmap(name), FULL.bars(width=name), AttributionMatrix("candidates", (FULL,)).heatmap(name),
                   aligned([FULL, FULL], width=name), compare([FULL], width=name)):  # fmt: skip
        assert figure.get_size_inches()[0] == pytest.approx(inches)


@pytest.mark.parametrize("width", ["wide", 0, -1, float("nan"), float("inf")])
def test_a_width_that_is_none(width, tmp_path):
    with pytest.raises(ValueError, match=r"the width is .*it must be a"):
        FULL.heatmap(width)
    with pytest.raises(ValueError, match=r"the width is .*it must be a"):
        FULL.bars(width=width)
    with pytest.raises(ValueError, match="is no figure, so it has no width"):
        FULL.save(tmp_path / "why.json", 3)


def test_a_figure_is_as_wide_as_its_text_needs():
    short, long = FULL.heatmap(), made([" word"] * 40).heatmap()
    assert short.get_size_inches()[0] < 5 < 6 < long.get_size_inches()[0] <= 6.5
    assert compare([FULL, made([" word"] * 40)]).get_size_inches()[0] == long.get_size_inches()[0]
