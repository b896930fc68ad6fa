# SPDX-License-Identifier: Apache-2.0
"""Constraints by duality: a multiplier for each side of each constraint, of each sample or of the whole set.

Other penalties are functions of the violation z alone. These remember: how much a side is worth enforcing is learnt,
from how it was violated before. `wss_monai.handlers.UpdateMultipliers` updates them after each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wss_monai.functional.settings import ShownSettings, check_positive, is_number
from wss_monai.functional.wide import wide

__all__ = ["AugmentedLagrangian", "DualPenalty", "PrimalDual"]

VIOLATIONS = ("soft", "hard")
PER = ("sample", "set")


class DualPenalty(ShownSettings, nn.Module):
    """What `AugmentedLagrangian` and `PrimalDual` share: the multipliers, by the key of their sample.

    A key is the number of the sample in the store (a slice, a patch), or of the volume where a constraint is about
    volumes. Multipliers start at ``start`` and are never negative. In training mode a call notes the violations, and
    ``update`` moves the multipliers of those samples; in evaluation mode nothing is noted. They are part of
    ``state_dict()``, so that a resumed run goes on as the uninterrupted one.

    A sample is seen once an epoch, so that its multipliers need many epochs. ``per`` "set" has one multiplier a side
    for all samples, which each batch moves. The constraint is then that the mean of max(z, 0) over the set is at most
    ``tolerance``: the batch's mean less the tolerance takes the place of z.

    Args:
        start: multiplier of a side that was not seen so far, at least 0.
        violation: what the multipliers are updated by: "soft", z of the softmax, by which the network learns; or
            "hard", z of the most probable classes, which is what is wanted in the end (the proxy constraints of Cotter
            et al., JMLR 20, 2019).
        per: "sample" or "set".
        tolerance: mean violation of a side that the set may have, at least 0; for ``per`` "set" alone.

    Attributes:
        keyed: tells ``ConstraintLoss`` to name the samples.
        logged: ``mean`` and ``max`` of the multipliers of the last call, and ``active``, the share above 0.

    Raises:
        ValueError: a negative start or tolerance, an unknown violation or ``per``.
    """

    keyed = True
    strict_interior = False

    def __init__(
        self, start: float = 0.0, violation: str = "soft", per: str = "sample", tolerance: float = 0.05
    ) -> None:
        super().__init__()
        for name, number in (("start", start), ("tolerance", tolerance)):
            if not is_number(number) or not number >= 0:
                raise ValueError(f"{name} must be a number of at least 0, got {number!r}.")
        for name, word, known in (("violation", violation, VIOLATIONS), ("per", per, PER)):
            if word not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {word!r}.")
        self.start, self.violation = float(start), violation
        self.per, self.tolerance = per, float(tolerance)
        self.rows: dict[str, Tensor] = {}
        self.logged: dict[str, Tensor] = {}
        self._changed: set[int] = set()
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(
        self, z: Tensor, key: Tensor | None = None, dual_z: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        """Cost of violations, of their shape; with ``per`` "set" all samples have the same.

        Args:
            z: (B, ...) by which the network learns.
            key: (B,) whole numbers from 0, a sample each; with ``per`` "set" not needed.
            dual_z: (B, ...) by which the multipliers are updated; None: z.
            known: (B, ...) the sides that there are; None: all.

        Raises:
            ValueError: no key where there has to be one; sides of another number than before.
        """
        z = wide(z)
        shape, dual = z.shape, z if dual_z is None else wide(dual_z)
        there = torch.ones_like(z, dtype=torch.bool) if known is None else known
        if self.per == "set":
            z, dual = self._of_set(z, there), self._of_set(dual, there)
            key, there = torch.zeros(1, dtype=torch.long, device=z.device), there.any(0, keepdim=True)
        if key is None:
            raise ValueError(
                f"{type(self).__name__} remembers each sample: give key (B,), the numbers of the samples (in a "
                "bundle's batches 'sample'), or let the whole set share its multipliers: per='set'."
            )
        multiplier = self._of("multiplier", key, z)
        if self.training and torch.is_grad_enabled():
            self._seen = (key.detach(), dual.detach(), there)
        self.logged = {
            "mean": multiplier.mean(),
            "max": multiplier.max(),
            "active": (multiplier > 0).float().mean(),
        }
        return self.cost(z, multiplier).expand(shape)

    def _of_set(self, z: Tensor, known: Tensor) -> Tensor:
        """The mean violation of each side in the batch, less the tolerance: (1, ...)."""
        total = torch.where(known, z.relu(), 0.0).sum(0, keepdim=True)
        return total / known.sum(0, keepdim=True).clamp(min=1) - self.tolerance

    def cost(self, z: Tensor, multiplier: Tensor) -> Tensor:
        """Elementwise cost, for multipliers that are constants."""
        raise NotImplementedError

    def moved(self, z: Tensor, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The rows of the state after a violation, elementwise; the multiplier may be negative and is cut at 0."""
        raise NotImplementedError

    @torch.no_grad()
    def update(self) -> None:
        """Move the multipliers of the samples of the last call; without one since the last update, nothing."""
        if self._seen is None:
            return
        key, z, known = self._seen
        self._seen = None
        here = {name: self._of(name, key, z) for name in self._names()}
        for name, value in self.moved(z, here).items():
            value = value.clamp(min=0) if name == "multiplier" else value
            self.rows[name][key.to(self.rows[name].device)] = torch.where(known, value, here[name]).to(self.rows[name])
        self._changed.update(key.tolist())

    def take_changes(self) -> dict[str, Tensor]:
        """Keys and rows of the samples that were updated since the last time, on the host; nothing of others."""
        keys = torch.tensor(sorted(self._changed), dtype=torch.long)
        self._changed.clear()
        return {"key": keys, **{name: rows[keys.to(rows.device)].cpu() for name, rows in self.rows.items()}}

    def put_changes(self, parts: Sequence[Mapping[str, Tensor]]) -> None:
        """Take the rows that several processes have changed; means where they changed the same sample."""
        parts = [part for part in parts if len(part["key"])]
        if not parts:
            return
        keys, index = torch.cat([part["key"] for part in parts]).unique(return_inverse=True)
        count = torch.bincount(index, minlength=len(keys))
        for name in parts[0]:
            if name == "key":
                continue
            given = torch.cat([part[name] for part in parts])
            total = given.new_zeros(len(keys), *given.shape[1:]).index_add(0, index, given)
            self._of(name, keys, given)
            rows = self.rows[name]
            rows[keys.to(rows.device)] = (total / count.view(-1, *[1] * (given.dim() - 1))).to(rows)

    def _names(self) -> tuple[str, ...]:
        return ("multiplier",)

    def _of(self, name: str, key: Tensor, z: Tensor) -> Tensor:
        """Rows of the state for samples, in the shape of z (B, ...)."""
        needed = int(key.max()) + 1 if len(key) else 0
        rows = self.rows.get(name)
        if rows is None:
            rows = z.new_empty(0, *z.shape[1:], dtype=torch.float32)
        if rows.shape[1:] != z.shape[1:]:
            raise ValueError(
                f"the multipliers are for sides {tuple(rows.shape[1:])} of a sample, got violations "
                f"{tuple(z.shape[1:])}: give each constraint a penalty of its own."
            )
        rows = rows.to(z.device)
        if len(rows) < needed:
            first = self.start if name == "multiplier" else 0.0
            rows = torch.cat((rows, rows.new_full((needed - len(rows), *rows.shape[1:]), first)))
        self.rows[name] = rows
        return rows[key.to(rows.device)].to(z.dtype)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The state of all samples."""
        return {name: rows.cpu() for name, rows in self.rows.items()}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.rows = {name: torch.as_tensor(rows).clone() for name, rows in state.items()}
        self._seen = None
        self._changed.clear()


class AugmentedLagrangian(DualPenalty):
    """(max(0, m + r z)^2 - m^2) / (2 r) with a multiplier m, then m <- m + (rate / r) (max(0, m + r z) - m).

    With ``rate`` = r, the default, that is the method of multipliers (Hestenes, JOTA 4, 1969; Powell 1969; for
    inequalities Rockafellar, Math. Programming 5, 1973), one update a visit of the sample.

    Args:
        penalty: r, above 0.
        rate: of the update, above 0 and at most r; None: r.
        start, violation, per, tolerance: as in `DualPenalty`.

    Raises:
        ValueError: numbers out of range.
    """

    shown = ("penalty", "rate", "start", "violation", "per", "tolerance")

    def __init__(
        self,
        penalty: float = 1.0,
        rate: float | None = None,
        start: float = 0.0,
        violation: str = "soft",
        per: str = "sample",
        tolerance: float = 0.05,
    ) -> None:
        super().__init__(start, violation, per, tolerance)
        check_positive(penalty=penalty, rate=penalty if rate is None else rate)
        self.penalty, self.rate = float(penalty), float(penalty if rate is None else rate)
        if self.rate > self.penalty:
            raise ValueError(f"rate must be at most penalty, {self.penalty}, got {self.rate}.")

    def cost(self, z: Tensor, multiplier: Tensor) -> Tensor:
        """Elementwise cost."""
        return ((multiplier + self.penalty * z).relu() ** 2 - multiplier**2) / (2 * self.penalty)

    def moved(self, z: Tensor, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The multiplier after a violation."""
        before = rows["multiplier"]
        return {"multiplier": before + self.rate / self.penalty * ((before + self.penalty * z).relu() - before)}


class PrimalDual(DualPenalty):
    """m z with a multiplier m, then m <- max(0, m + rate z + damping (s - s')), s being a running mean of z.

    s = memory s' + (1 - memory) z. Without damping that is gradient descent-ascent (Arrow, Hurwicz and Uzawa, 1958);
    with ``memory`` 0 and ``damping`` = ``rate`` the optimistic one (Popov, 1980); else nuPI (Sohrabi et al., ICML 2024,
    algorithm 1), which keeps the multipliers from swinging.

    Args:
        rate: of the ascent, above 0.
        damping: of the change of the running mean, at least 0.
        memory: of the running mean, from 0 to less than 1.
        start, violation, per, tolerance: as in `DualPenalty`.

    Raises:
        ValueError: numbers out of range.
    """

    shown = ("rate", "damping", "memory", "start", "violation", "per", "tolerance")

    def __init__(
        self,
        rate: float = 0.1,
        damping: float = 0.0,
        memory: float = 0.0,
        start: float = 0.0,
        violation: str = "soft",
        per: str = "sample",
        tolerance: float = 0.05,
    ) -> None:
        super().__init__(start, violation, per, tolerance)
        check_positive(rate=rate)
        if not is_number(damping) or not damping >= 0:
            raise ValueError(f"damping must be at least 0, got {damping!r}.")
        if not is_number(memory) or not 0 <= memory < 1:
            raise ValueError(f"memory must be at least 0 and less than 1, got {memory!r}.")
        self.rate, self.damping, self.memory = float(rate), float(damping), float(memory)

    def cost(self, z: Tensor, multiplier: Tensor) -> Tensor:
        """Elementwise cost."""
        return multiplier * z

    def moved(self, z: Tensor, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The multiplier after a violation, and the running mean; the first violation starts the mean."""
        before, met = rows["mean"], rows["met"] > 0
        mean = torch.where(met, self.memory * before + (1 - self.memory) * z, z)
        swing = torch.where(met, mean - before, 0.0)
        moved = rows["multiplier"] + self.rate * z + self.damping * swing
        return {"multiplier": moved, "mean": mean, "met": torch.ones_like(z)}

    def _names(self) -> tuple[str, ...]:
        return ("multiplier", "mean", "met")
