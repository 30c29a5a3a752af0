"""Figures as they look: drawn again and compared with pictures that were looked at, on made-up scores."""

import matplotlib.pyplot as plt
import pytest
import torch

from interpret import AttributionMatrix, Completeness, StraightPath, aligned, compare
from nexttoken import Message, Target
from tests.results.making import changed, made

PIECES = ["<s>", "The", " keys", " to", " the", " cab", "inet", ",", " which", " he", " had", " not", " found", ","]
SCORES = [0.0, 0.12, 1.9, -0.3, 0.05, -1.7, -0.62, -0.15, 0.02, -0.9, 0.1, 0.3, 0.9, -0.02]
FIRST = [True] + [False] * (len(PIECES) - 1)
INTEGRATED = made(PIECES, SCORES, fixed=FIRST, template=FIRST, completeness=Completeness(-0.7, -0.4, 0.01, 0.03, 0.02))
SAMPLED = changed(
    INTEGRATED, scores=INTEGRATED.scores[::-1] / 2, fixed=(False,) * len(PIECES), method="SmoothGrad(samples=50)",
    standard_error=torch.linspace(0.02, 0.3, len(PIECES), dtype=torch.float64), completeness=None,
)  # fmt: skip
NORMS = changed(
    INTEGRATED, scores=abs(INTEGRATED.scores), signed=False, unit="nats per unit of embedding",
    method="VanillaGradient()", reduction="L2 norm", completeness=None,
)  # fmt: skip
ALPHAS = (0.0, 0.125, 0.25, 0.3125, 0.34375, 0.359375, 0.375, 0.40625, 0.4375, 0.5, 0.625, 0.75, 0.875, 1.0)
JUMP, RISE = 0.36, 2.4  # where the path jumps, and how far
PATH = StraightPath(
    ALPHAS,
    tuple(-6 + 3 * alpha - 2 * alpha**2 + (RISE if alpha > JUMP else 0) for alpha in ALPHAS),
    tuple(3 - 4 * alpha for alpha in ALPHAS),
)
compared = pytest.mark.mpl_image_compare


def continuation(targets, pieces):
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number in range(targets):
        seen = pieces - targets + 1 + number
        scores = [0.0, *(torch.randn(seen - 1, generator=generator) ** 3).tolist()]
        labels = ["<s>", *(PIECES[1 + position % (len(PIECES) - 1)] for position in range(seen - 1))]
        first = [True] + [False] * (seen - 1)
        row = made(labels, scores, fixed=first, template=first)
        rows.append(changed(row, target=Target(PIECES[1 + number % 12], 1, 0.5 / (1 + number), 1)))
    return AttributionMatrix("continuation", tuple(rows))


@compared
def test_heatmap():
    return INTEGRATED.heatmap()


@compared(savefig_kwargs={"dpi": 200})
def test_heatmap_in_a_column():
    with plt.rc_context({"font.size": 8}):
        return INTEGRATED.heatmap(width=3.3)


@compared
def test_heatmap_on_a_dark_page():
    with plt.style.context("dark_background"):
        return INTEGRATED.heatmap(width=5)


@compared(savefig_kwargs={"dpi": 72})
def test_compared_panels():
    return compare([INTEGRATED, SAMPLED, NORMS], width=5)


@compared
def test_bars_with_standard_errors():
    return SAMPLED.bars()


@compared
def test_bars_of_sentences():
    texts = ("Who keeps the keys to the cabinet near the old wooden door that nobody has opened for years?", " I do.\n")
    return made(texts, [1.25, -0.4], by="sentence").bars(width=4)


@compared
def test_bars_of_the_strongest_on_seaborns_page():
    font = {"font.sans-serif": ["DejaVu Sans"]}  # the page asks for those of the machine first
    with plt.style.context(["seaborn-v0_8-darkgrid", font]):
        figure, axes = plt.subplots(figsize=(4, 3), layout="constrained")
        plt.close(figure)
        return SAMPLED.bars(top=5, ax=axes)


@compared
def test_aligned_on_own_scales():
    tiny = changed(SAMPLED, scores=SAMPLED.scores * 3e-6, method="Tiny()")
    return aligned([INTEGRATED, SAMPLED, tiny], width=6.5)


@compared
def test_aligned_on_one_scale():
    return aligned([INTEGRATED, SAMPLED], width=6.5, shared_scale=True)


@compared(savefig_kwargs={"dpi": 72})
def test_aligned_in_a_column():
    return aligned([INTEGRATED, SAMPLED, NORMS], ["IG", "SmoothGrad", "gradient"], width=3.3)


@compared
def test_small_matrix():
    return continuation(5, 10).heatmap()


@compared(savefig_kwargs={"dpi": 90})
def test_large_matrix_in_a_column():
    return continuation(20, 45).heatmap(width=5)


@compared
def test_path_with_a_jump():
    return changed(INTEGRATED, path=PATH).path_plot()


def test_a_chat_by_message():
    """The picture of totals is that of any attribution; here their labels and lengths are read."""
    tokens = ("<u>", "Hi there", "<e>", "Bye")
    chat = made(tokens, [0.0, 1.5, 0.0, -2.0], template=[True, False, True, False], fixed=[True, False, True, False],
                messages=(Message("user", 3, 11), Message("user", 14, 17)))  # fmt: skip
    axes = chat.totals("message").bars().axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(tokens)
    assert [bar.get_width() for bar in axes.patches] == [1.5, -2.0]
