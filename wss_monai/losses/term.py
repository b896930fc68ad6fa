# SPDX-License-Identifier: Apache-2.0
"""A term of a sum of losses: what it declares, and the softmax that it is handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from wss_monai.functional.descriptors import Descriptor
from wss_monai.functional.wide import wide

__all__ = ["Key", "NamedTerm", "Term", "probabilities"]


class Term(Protocol):
    """What a module declares to be a term of a ``WeightedSumLoss``; only ``target_keys`` has to be there.

    Attributes:
        target_keys: argument of the call -> key of the target, where ``{term}`` stands for the term's name and a
            trailing ``?`` means that the key may be missing. A module without them (a MONAI loss) is called with the
            logits and the label instead.
        uses_probs: whether it wants the softmax of the logits as ``probs``. Every term takes that argument; it is None
            where no term of the sum wants it. False.
        two_sided: whether it learns from tags alone to tell images with a class from those without it, and so needs
            both. False.
        descriptor: what a constraint measures; its bounds are the argument ``bounds``. None: no constraint.
        sizes: whether the bounds of a constraint say how much of a class there is, so that a class may be learnt from
            them alone. True.
        violation: how far a constraint was outside in the last call, a scalar. None: no constraint.
        checked_classes: 0: each call checks the values of its targets, for which a GPU has to be waited for. n: they
            were found to be right before, for so many classes. A module that checks nothing does not have it.
    """

    target_keys: Mapping[str, str]
    uses_probs: bool
    two_sided: bool
    descriptor: Descriptor | None
    sizes: bool
    violation: Tensor | None
    checked_classes: int

    def __call__(self, logits: Tensor, *targets: Tensor, probs: Tensor | None = None, **others: Tensor) -> Tensor:
        """Scalar loss of ``logits`` (B, K, *spatial), with the targets by the names in ``target_keys``."""


class Key(NamedTuple):
    """A key of the target that a term reads, for which argument, and whether it may be missing."""

    argument: str
    name: str
    optional: bool


@dataclass(frozen=True)
class NamedTerm:
    """A term under its name in the sum: what it declares, and the defaults of what it does not (see ``Term``).

    Args:
        name: of the term.
        loss: the module itself.
    """

    name: str
    loss: nn.Module

    @property
    def declares_keys(self) -> bool:
        """Whether the module says what it reads; if not, it reads the label."""
        return hasattr(self.loss, "target_keys")

    @property
    def keys(self) -> list[Key]:
        """The declared keys, for this name."""
        declared: Mapping[str, str] = self._declared("target_keys", {})
        return [
            Key(argument, key.rstrip("?").format(term=self.name), key.endswith("?"))
            for argument, key in declared.items()
        ]  # fmt: skip

    def key_of(self, argument: str) -> str | None:
        """The key that an argument is read from; None: the term has no such argument."""
        return next((key.name for key in self.keys if key.argument == argument), None)

    def given(self, argument: str, targets: Mapping[str, Tensor]) -> Tensor | None:
        """What an argument gets of a batch of targets; None: nothing."""
        key = self.key_of(argument)
        return None if key is None else targets.get(key)

    @property
    def uses_probs(self) -> bool:
        """Whether it wants the softmax."""
        return bool(self._declared("uses_probs", False))

    @property
    def two_sided(self) -> bool:
        """Whether it needs images with a class and images without it."""
        return bool(self._declared("two_sided", False))

    @property
    def descriptor(self) -> Descriptor | None:
        """What a constraint measures."""
        found: Descriptor | None = self._declared("descriptor", None)
        return found

    @property
    def violation(self) -> Tensor | None:
        """How far a constraint was outside in the last call."""
        found = self._declared("violation", None)
        return found if isinstance(found, Tensor) else None

    def trust(self, classes: int) -> None:
        """Let the term, and those that it is made of, check their targets no more: they hold so many classes."""
        for module in self.loss.modules():
            if hasattr(module, "checked_classes"):
                module.checked_classes = classes  # type: ignore[assignment]

    def _declared(self, what: str, default: Any) -> Any:
        return getattr(self.loss, what, default)


def probabilities(logits: Tensor, probs: Tensor | None = None) -> Tensor:
    """Softmax (B, K, *spatial) of the logits in float32 or wider; ``probs`` where it is at hand."""
    return torch.softmax(wide(logits), 1) if probs is None else wide(probs)
