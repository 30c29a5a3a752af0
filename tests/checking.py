"""What tests check with: annotations, executed at every call, and numbers that are close."""

from typing import Any, Self

import torch
from beartype import BeartypeConf, FrozenDict, beartype

# An int is a float, as PEP 484 has it; methods are checked one by one, so that none knows the class that its Self is.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Self: Any})))


def close(found, expected, tolerance=1e-9):
    """Check that two tensors or arrays differ by no more than a share of the largest number that is expected."""
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))
