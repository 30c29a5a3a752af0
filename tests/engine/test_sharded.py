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

from interpret import GIM, GradientTimesInput, IntegratedGradients, attribute, attribute_candidates
from nexttoken import NextTokenLM

ROOT = Path(__file__).parents[2]
IDS = [5, 9, 13, 33, 21, 8, 40, 9, 17, 25, 30, 11, 12, 41, 7, 6, 19, 22, 28, 35]
METHODS = {
    "gradient x input": GradientTimesInput(),
    "integrated gradients": IntegratedGradients(steps=6),
    "GIM": GIM(),
}
SCRIPT = """
import json, os, sys
import torch
import torch.distributed as dist
import transformers
from tests.engine.test_sharded import scores
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
found = scores(NextTokenLM.from_pretrained(network))
if dist.get_rank() == 0:
    print(json.dumps(found))
dist.barrier()
dist.destroy_process_group()
"""


def scores(lm):
    """The scores by every method, with a budget for the memory, so that what a point needs is measured."""
    found = {
        name: attribute(lm, IDS, 20, method, memory_budget=10**9).scores.tolist() for name, method in METHODS.items()
    }
    matrix = attribute_candidates(lm, IDS, [20, 21, 22], IntegratedGradients(steps=4), memory_budget=10**9)
    return found | {"candidates": matrix.scores.tolist()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, bos_token_id=1, eos_token_id=2, max_position_embeddings=64,
    )  # fmt: skip
    network = transformers.LlamaForCausalLM(config).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("sharded")
    network.save_pretrained(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tensor parallel", "fully sharded"])
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_scores_are_those_of_one_device(folder, kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), kind],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        outputs = [rank.communicate(timeout=240) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], outputs[0][1][-3000:]
    found = json.loads(outputs[0][0].splitlines()[-1])
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    for name, expected in scores(NextTokenLM.from_pretrained(network)).items():
        torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(expected), rtol=1e-5, atol=1e-9)
