# SPDX-License-Identifier: Apache-2.0
"""The sum of several losses, with its parts kept by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from wss_monai.functional.descriptors import Descriptor
from wss_monai.functional.wide import wide
from wss_monai.losses.term import Key, NamedTerm, probabilities


class WeightedSumLoss(nn.Module):
    """Weighted sum of named losses on the same logits.

    The softmax is computed once, in float32 outside autocast, and handed to the terms that use it. A term declares what
    it reads (see ``losses.Term``); any other module (a MONAI loss) is called with the logits and ``target[label_key]``.

    Args:
        terms: name -> (loss, weight); None in its place: no such term.
        temperature: the logits are multiplied by it first (the tutorials of 2019 and 2022 use 5).
        label_key: the target of terms that declare no keys.

    Attributes:
        parts: name -> value of the term in the last call, unweighted and detached.
        violations: name -> mean of max(z, 0), for the constraints among the terms.

    Raises:
        ValueError: no terms, a term that is not (loss, weight), a negative weight, a term of ours that gives no scalar.
        KeyError: a target key that a term needs is not in the target.
    """

    def __init__(
        self, terms: Mapping[str, Sequence[Any] | None], temperature: float = 1.0, label_key: str = "label"
    ) -> None:
        super().__init__()
        given = {name: term for name, term in terms.items() if term is not None}
        if not given:
            raise ValueError("terms is empty: give at least one name: [loss, weight].")
        for name, term in given.items():
            if len(term) != 2 or not isinstance(term[0], nn.Module):
                raise ValueError(f"term '{name}' must be [loss module, weight >= 0], got {term!r}.")
            if not _is_weight(term[1]):
                raise ValueError(
                    f"the weight of term '{name}' must be a finite number of at least 0, got {term[1]!r}: see the "
                    f"setting that holds it, such as {name}_weight, enforcer_weight or enforcer_weights."
                )
            if hasattr(term[0], "target_keys") and getattr(term[0], "reduction", "mean") == "none":
                raise ValueError(f"term '{name}' has reduction 'none': a sum needs a scalar, so 'mean' or 'sum'.")
        self.terms = nn.ModuleDict({name: loss for name, (loss, _) in given.items()})
        self.weights = {name: float(weight) for name, (_, weight) in given.items()}
        self.temperature = temperature
        self.label_key = label_key
        self.parts: dict[str, Tensor] = {}
        self.violations: dict[str, Tensor] = {}

    def forward(self, logits: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss of ``logits`` (B, K, *spatial) on a dictionary of targets."""
        self.parts, self.violations = {}, {}  # a compiled call would ask what is in the former ones
        return self.sum_of(self.terms, logits, target)

    def sum_of(self, names: Iterable[str], logits: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of some of the terms, all on the same logits."""
        terms = self.named_terms(names)
        with torch.autocast(logits.device.type, enabled=False):
            logits = wide(logits)
            if self.temperature != 1:
                logits = logits * self.temperature
            probs = probabilities(logits) if any(term.uses_probs for term in terms) else None
            total = logits.new_zeros(())
            for term in terms:
                value = self._value(term, logits, probs, target)
                self.parts[term.name] = value.detach()
                if term.violation is not None:
                    self.violations[term.name] = term.violation
                total = total + self.weights[term.name] * value
        return total

    def _value(self, term: NamedTerm, logits: Tensor, probs: Tensor | None, target: Mapping[str, Tensor]) -> Tensor:
        arguments = {}
        for argument, key, optional in self._keys(term):
            if key in target:
                arguments[argument] = target[key]
            elif not optional:
                raise KeyError(f"term '{term.name}' needs target['{key}']; the target holds {sorted(target)}.")
        if term.declares_keys:
            return term.loss(logits, **arguments, probs=probs)
        return term.loss(logits, *arguments.values()).mean()

    def _keys(self, term: NamedTerm) -> list[Key]:
        return term.keys if term.declares_keys else [Key("target", self.label_key, False)]

    def named_terms(self, names: Iterable[str] | None = None) -> list[NamedTerm]:
        """Some of the terms (None: all), with what they declare."""
        return [NamedTerm(name, self.terms[name]) for name in (self.terms if names is None else names)]

    def target_keys(self) -> set[str]:
        """All target keys that the terms want, those that may be missing included."""
        return self.keys_of(self.terms)

    def keys_of(self, names: Iterable[str]) -> set[str]:
        """The target keys of some of the terms."""
        return {key.name for term in self.named_terms(names) for key in self._keys(term)}

    def descriptors(self) -> dict[str, Descriptor]:
        """Key of the bounds -> descriptor, for the constraints among the terms."""
        found = {term.key_of("bounds"): term.descriptor for term in self.named_terms()}
        return {key: descriptor for key, descriptor in found.items() if key is not None and descriptor is not None}

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
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < math.inf
