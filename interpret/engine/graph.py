"""The backward graph of a value: which of its nodes depend on the prompt, and what is changed at them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

Node = Any  # torch.autograd.graph.Node
Gradients = tuple[Tensor | None, ...]


class Graph:
    """The backward graph of a value, from the value down to the points that it was computed at.

    Args:
        value: computed with gradients.
        constant: whether the output of a node is taken to be constant, given the nodes that use it.

    Attributes:
        nodes: every node, each after those that it is computed from.
        users: for each node, those that use its output, with the number of the input that it is.
    """

    def __init__(self, value: Tensor, constant: Callable[[Graph, Node], bool]):
        self.nodes: list[Node] = []
        self.users: dict[Node, list[tuple[Node, int]]] = {}
        self._order(value.grad_fn)
        self.constants = {node for node in self.nodes if constant(self, node)}
        self._live: dict[Node, bool] = {}
        for node in self.nodes:
            before = [self._live[each] for each, _ in node.next_functions if each is not None]
            self._live[node] = node not in self.constants and (not before or any(before))

    def _order(self, root: Node) -> None:
        stack, seen = [(root, False)], set()
        while stack:
            node, done = stack.pop()
            if done:
                self.nodes.append(node)
            elif node is not None and node not in seen:
                seen.add(node)
                stack.append((node, True))
                for index, (each, _) in enumerate(node.next_functions):
                    if each is not None:
                        self.users.setdefault(each, []).append((node, index))
                        stack.append((each, False))

    def live(self, node: Node, index: int) -> bool:
        """Whether an input of a node depends on the prompt, constants aside."""
        each = node.next_functions[index][0] if index < len(node.next_functions) else None
        return each is not None and self._live[each]

    def live_inputs(self, node: Node) -> list[int]:
        """Which inputs of a node depend on the prompt."""
        return [index for index in range(len(node.next_functions)) if self.live(node, index)]


def scaled(node: Node, factors: dict[int, float]) -> RemovableHandle:
    """Multiply the gradients of some of a node's inputs on the way back, until the hook is removed."""

    def hook(gradients: Gradients, _: Gradients) -> Gradients:
        return tuple(
            each if each is None or index not in factors else factors[index] * each
            for index, each in enumerate(gradients)
        )

    return node.register_hook(hook)


def replaced(node: Node, gradient: Callable[[Tensor], Gradients]) -> RemovableHandle:
    """Replace the gradients of a node's inputs by a function of its output's.

    None in what it returns, or nothing for the last ones, leaves them as they are. A function that reads what the node
    has saved keeps the node alive until the hook is removed.
    """

    def hook(gradients: Gradients, outputs: Gradients) -> Gradients:
        (output, *_) = outputs
        assert output is not None
        pairs = zip_longest(gradients, gradient(output))
        return tuple(own if own is None or new is None else new for own, new in pairs)

    return node.register_hook(hook)
