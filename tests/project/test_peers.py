"""The libraries themselves, run beside our conventions on the bundled model. `make peers` installs and runs them."""

import warnings

import pytest

from interpret import attribute, convention
from nexttoken import NextTokenLM
from tests.checking import close

PROMPTS = [
    ("The capital of France is", " Paris"),
    ("When Mary and John went to the store, John gave a drink to", " Mary"),
]
ROUNDING = 1e-4  # of the largest score
KINDS = {"saliency": "gradient", "input_x_gradient": "gradient x input", "integrated_gradients": "integrated gradients"}


@pytest.fixture(scope="module")
def exact():
    """The bundled model in float64: in float32, the libraries' own rounding reaches 1e-4 of the largest score."""
    return NextTokenLM.from_pretrained(dtype="float64")


def ours(lm, prompt, target, library, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attribute(lm, prompt, target, convention(library, kind)).scores


@pytest.mark.bundled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["gradient x input", "integrated gradients"])
@pytest.mark.parametrize(("prompt", "target"), PROMPTS)
def test_captum(exact, prompt, target, kind):
    """LLMGradientAttribution, as its users call it."""
    from captum.attr import LayerGradientXActivation, LayerIntegratedGradients, LLMGradientAttribution, TextTokenInput

    model, tokenizer = exact.language_model_head, exact.vocab.tokenizer
    layer = model.get_input_embeddings()
    explainer = (LayerIntegratedGradients if kind.startswith("int") else LayerGradientXActivation)(model, layer)
    inputs = TextTokenInput(prompt, tokenizer)
    inputs.itp_tensor = inputs.itp_tensor[:, : len(exact.prompt(prompt))]
    result = LLMGradientAttribution(explainer, tokenizer).attribute(inputs, target=target)
    close(ours(exact, prompt, target, "captum", kind), result.token_attr[0].detach().double(), ROUNDING)


@pytest.mark.bundled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("prompt", "target"), PROMPTS)
def test_inseq(exact, prompt, target, name):
    inseq = pytest.importorskip("inseq", reason="inseq is not installed here; `make peers` compares with it")
    theirs = inseq.load_model(exact.language_model_head, name, tokenizer=exact.vocab.tokenizer)
    output = theirs.attribute(prompt, generated_texts=prompt + target, show_progress=False)
    scores = output.sequence_attributions[0].aggregate().target_attributions[:-1, -1]
    close(ours(exact, prompt, target, "inseq", KINDS[name]), scores.double(), ROUNDING)


@pytest.mark.bundled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "kind"), [("Saliency", "gradient x input"), ("IntegratedGradients", "integrated gradients")]
)
@pytest.mark.parametrize(("prompt", "target"), PROMPTS)
def test_interpreto(exact, prompt, target, name, kind):
    interpreto = pytest.importorskip(
        "interpreto", reason="interpreto is not installed here; `make peers` compares with it"
    )
    granularity = interpreto.Granularity.ALL_TOKENS
    explainer = getattr(interpreto, name)(exact.language_model_head, exact.vocab.tokenizer, granularity=granularity)
    scores = explainer.explain(prompt, target)[0].attributions[0]
    close(ours(exact, prompt, target, "interpreto", kind), scores[: len(exact.prompt(prompt))].double(), ROUNDING)
