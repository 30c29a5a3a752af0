"""Models whose weights are spread over several processes: the scores of one device, with memory that is estimated."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from interpret import (
    GIM,
    IDGI,
    DiscretizedIG,
    ExpectedGradients,
    GradientTimesInput,
    IntegratedGradients,
    Marginalization,
    MeanEmbedding,
    PlausibleAlternatives,
    SequentialIG,
    SmoothGrad,
    SmoothGradSquared,
    VanillaGradient,
    VarGrad,
    attribute,
    attribute_candidates,
    attribute_continuation,
)  # fmt: skip
from interpret.engine.memory import available
from interpret.engine.memory.policy import Memory
from interpret.engine.memory.profile import memory_profile
from nexttoken import NextTokenLM

ROOT = Path(__file__).parents[2]
IDS = [5, 9, 13, 33, 21, 8, 40, 9, 17, 25, 30, 11, 12, 41, 7, 6, 19, 22, 28, 35]
METHODS = {
    "gradient x input": GradientTimesInput(),
    "integrated gradients": IntegratedGradients(steps=6),
    "certified integrated gradients": IntegratedGradients(),
    "GIM": GIM(),
    "the default": GIM(PlausibleAlternatives(weight=0.5)),
    "vanilla gradient": VanillaGradient(),
    "SmoothGrad": SmoothGrad(GradientTimesInput(), samples=4),
    "SmoothGrad squared": SmoothGradSquared(GradientTimesInput(), samples=4),
    "VarGrad": VarGrad(GradientTimesInput(), samples=4),
    "IDGI": IDGI(steps=4),
    "sequential integrated gradients": SequentialIG(steps=2),
    "discretized integrated gradients": DiscretizedIG(steps=3),
    "expected gradients": ExpectedGradients(samples=4),
    "from the mean embedding": GradientTimesInput(MeanEmbedding()),
    "marginalization": Marginalization(samples=2),
}
SCRIPT = """
import json, os, sys
import torch
import torch.distributed as dist
import transformers
from tests.engine.test_sharded import decisions, scores
from nexttoken import NextTokenLM

folder, kind = sys.argv[1:]
dist.init_process_group("gloo")
if kind == "tensor parallel":
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, tp_plan="auto")
else:
    from torch.distributed.fsdp import fully_shard

    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    for layer in [network.model.embed_tokens, *network.model.layers]:
        fully_shard(layer)
    fully_shard(network)
assert any(type(parameter).__name__ == "DTensor" for parameter in network.parameters())
lm = NextTokenLM.from_pretrained(network)
found = scores(lm)
print(json.dumps({"scores": found, "decisions": decisions(lm, dist.get_rank())}))
dist.barrier()
dist.destroy_process_group()
"""


def scores(lm):
    """The scores by every method, with a budget for the memory, so that what a point needs is measured."""
    found = {
        name: attribute(lm, IDS, 20, method, memory_budget=10**9).scores.tolist() for name, method in METHODS.items()
    }
    matrix = attribute_candidates(lm, IDS, [20, 21, 22], IntegratedGradients(steps=4), memory_budget=10**9)
    continuation = attribute_continuation(lm, IDS, [20, 21, 22], GIM(), memory_budget=10**9)
    return found | {
        "candidates": matrix.scores.tolist(),
        "continuation": [score for row in continuation for score in row.scores.tolist()],
    }


def decisions(lm, rank):
    """What a process decides when it sees other memory than the others: they have to decide alike."""
    before = available.available_on
    available.available_on = lambda device: 10**8 * (1 + rank)
    try:
        prompt = lm.prompt(IDS)
        profile = memory_profile(lm, prompt)
        return [Memory().points_that_fit(lm, prompt), profile.token, profile.pair, profile.position]
    finally:
        available.available_on = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, bos_token_id=1, eos_token_id=2, max_position_embeddings=64,
    )  # fmt: skip
    network = transformers.LlamaForCausalLM(config).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("sharded")
    network.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def on_two_ranks(*arguments):
    """What two processes say, started as torchrun does it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        outputs = [rank.communicate(timeout=300) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], [said[-3000:] for _, said in outputs]
    return outputs


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_the_command_shares_a_model_among_processes(folder, tmp_path):
    """The first process prints and saves, the others are silent; the scores are those of one process."""
    command = [
        "-m",
        "interpret.cli",
        "explain",
        "The keys to the cabinet",
        "--model",
        str(folder),
        "--dtype",
        "float64",
    ]
    first, second = on_two_ranks(*command, "--json", str(tmp_path / "two.json"))
    assert "cabinet" in first[0]
    assert "saved" in first[1]
    assert second == ("", "")
    alone = subprocess.run(
        [sys.executable, *command, "--json", str(tmp_path / "one.json")], capture_output=True, text=True, check=True,
        cwd=ROOT,
    )  # fmt: skip
    assert alone.stdout == first[0]
    two, one = (json.loads((tmp_path / name).read_text()) for name in ("two.json", "one.json"))
    torch.testing.assert_close(torch.tensor(two["scores"]), torch.tensor(one["scores"]), rtol=1e-5, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tensor parallel", "fully sharded"])
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_scores_are_those_of_one_device(folder, kind):
    outputs = on_two_ranks("-W", "ignore", "-c", SCRIPT, str(folder), kind)
    first, second = (json.loads(said.splitlines()[-1]) for said, _ in outputs)
    assert first["decisions"] == second["decisions"]
    assert first["decisions"][0] > 1
    found = first["scores"]
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    for name, expected in scores(NextTokenLM.from_pretrained(network)).items():
        torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(expected), rtol=1e-5, atol=1e-9)
