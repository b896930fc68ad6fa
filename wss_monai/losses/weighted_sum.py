# SPDX-License-Identifier: Apache-2.0
"""The sum of several losses, with its parts kept by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn


class WeightedSumLoss(nn.Module):
    """Weighted sum of named losses on the same logits.

    The softmax is computed once, in float32 outside autocast, and handed to the terms that use it. A term of this
    package declares the target keys that it wants in ``target_keys``: argument -> key, where ``{term}`` stands for
    the term's name and a trailing ``?`` means that the key may be missing. Any other module (a MONAI loss) is called
    with the logits and ``target[label_key]``.

    Args:
        terms: name -> (loss, weight).
        temperature: the logits are multiplied by it first (the tutorials of 2019 and 2022 use 5).
        label_key: the target of terms that declare no keys.

    Attributes:
        parts: name -> value of the term in the last call, unweighted and detached.
        violations: name -> mean of max(z, 0), for the constraints among the terms.

    Raises:
        ValueError: no terms, a term that is not (loss, weight), a negative weight.
        KeyError: a target key that a term needs is not in the target.
    """

    def __init__(self, terms: Mapping[str, Sequence[Any]], temperature: float = 1.0, label_key: str = "label") -> None:
        super().__init__()
        if not terms:
            raise ValueError("terms is empty: give at least one name: [loss, weight].")
        for name, term in terms.items():
            if len(term) != 2 or not isinstance(term[0], nn.Module) or not _is_weight(term[1]):
                raise ValueError(f"term '{name}' must be [loss module, weight >= 0], got {term!r}.")
        self.terms = nn.ModuleDict({name: loss for name, (loss, _) in terms.items()})
        self.weights = {name: float(weight) for name, (_, weight) in terms.items()}
        self.temperature = temperature
        self.label_key = label_key
        self.parts: dict[str, Tensor] = {}
        self.violations: dict[str, Tensor] = {}

    def forward(self, logits: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss of ``logits`` (B, K, *spatial) on a dictionary of targets."""
        return self.sum_of(self.terms, logits, target)

    def sum_of(self, names: Iterable[str], logits: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of some of the terms, all on the same logits."""
        terms = {name: self.terms[name] for name in names}
        with torch.autocast(logits.device.type, enabled=False):
            wide = logits if logits.dtype == torch.float64 else logits.float()
            if self.temperature != 1:
                wide = wide * self.temperature
            uses_probs = any(getattr(loss, "uses_probs", False) for loss in terms.values())
            probs = torch.softmax(wide, 1) if uses_probs else None
            total = wide.new_zeros(())
            for name, loss in terms.items():
                value = self._value(name, loss, wide, probs, target)
                self.parts[name] = value.detach()
                violation = getattr(loss, "violation", None)
                if isinstance(violation, Tensor):
                    self.violations[name] = violation
                total = total + self.weights[name] * value
        return total

    def _value(
        self, name: str, loss: nn.Module, logits: Tensor, probs: Tensor | None, target: Mapping[str, Tensor]
    ) -> Tensor:
        ours = hasattr(loss, "target_keys")
        arguments = {}
        for argument, key, optional in _keys(name, loss) if ours else [("target", self.label_key, False)]:
            if key in target:
                arguments[argument] = target[key]
            elif not optional:
                raise KeyError(f"term '{name}' needs target['{key}']; the target holds {sorted(target)}.")
        return loss(logits, **arguments, probs=probs) if ours else loss(logits, *arguments.values()).mean()

    def target_keys(self) -> set[str]:
        """All target keys that the terms want, those that may be missing included."""
        return self.keys_of(self.terms)

    def keys_of(self, names: Iterable[str]) -> set[str]:
        """The target keys of some of the terms."""
        terms = {name: self.terms[name] for name in names}
        keys = {key for name, loss in terms.items() for _, key, _ in _keys(name, loss)}
        if any(not hasattr(loss, "target_keys") for loss in terms.values()):
            keys.add(self.label_key)
        return keys

    def descriptors(self) -> dict[str, Any]:
        """Key of the bounds -> descriptor, for the constraints among the terms."""
        return {f"bounds_{name}": loss.descriptor for name, loss in self.terms.items() if hasattr(loss, "descriptor")}

    def set_t(self, t: float) -> None:
        """Set the sharpness of every log-barrier among the terms."""
        for barrier in self._barriers():
            barrier.set_t(t)

    @property
    def t(self) -> float | None:
        """Sharpness of the log-barriers among the terms; None where there is none."""
        return next((barrier.t for barrier in self._barriers()), None)

    def _barriers(self) -> list[Any]:
        return [module for module in self.modules() if module is not self and hasattr(module, "set_t")]


def _is_weight(value: Any) -> bool:
    return isinstance(value, Real) and 0 <= float(value) < math.inf


def _keys(name: str, loss: nn.Module) -> Iterator[tuple[str, str, bool]]:
    """Argument, target key and whether it may be missing, for each declared key of a term."""
    for argument, key in getattr(loss, "target_keys", {}).items():
        yield argument, key.rstrip("?").format(term=name), key.endswith("?")
