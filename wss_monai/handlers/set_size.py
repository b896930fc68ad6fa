# SPDX-License-Identifier: Apache-2.0
"""The constraint on sizes summed over the training set, as a shift of a teacher's log-probabilities."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.functional.class_shift import class_shift
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.functional.seeds import seed_of
from wss_monai.functional.transfer import send
from wss_monai.functional.weak.kinds import traits_of
from wss_monai.losses import WeightedSumLoss
from wss_monai.transforms.bounds.intervals import spacing_of

__all__ = ["SetSize", "sizes_of"]

KEY = "class_shift"
DISAGREEMENT = 1.25
"""As a factor: a sum of sizes that is off by more is told."""
logger = logging.getLogger(__name__)


class SetSize:
    """Keep the shift with which a teacher's hard sizes, summed over training volumes, are the expected ones.

    Of a single slice or volume the size of an organ is known within a factor, of the sum over a set within some ten
    percent, since errors average out. From the iteration on at which a term that reads "class_shift" has a weight, and
    every ``every`` iterations, the teacher predicts ``count`` training volumes, drawn by the seed and the iteration,
    and one shift a class is solved (`wss_monai.functional.class_shift`). Slices of whose classes nothing is expected do
    not count. The state is part of a checkpoint, so that a resumed run goes on as the uninterrupted one. With several
    processes each solves the same.

    When training starts it warns of expected sums that are below what is drawn, or that differ from what densely drawn
    volumes show; later of a shift that reaches the cap, and, where the labels are scribbles and the sizes are stated,
    of sums that the network does not find: scribbles show sizes better than most people know them. The probabilities of
    the ``count`` volumes are in memory at once.

    Args:
        network: the teacher, in evaluation mode.
        loss: whose terms read "class_shift".
        volumes: training cases with ``expected_size`` (`StatedSizesd` ...), or the loader whose store has them.
        inferer: of whole volumes, such as MONAI's ``SliceInferer``.
        class_names: background first.
        slice_axis: spatial axis of the slices.
        count: volumes in a solution.
        every: iterations between two.
        tolerance, cap, rounds: see ``class_shift``.
        seed: of the draw of the volumes.
        amp, amp_dtype: mixed precision of the teacher.

    Attributes:
        shift: (K,), zeros until it is first solved.
        logged: ``set_size_CLASS``, the sum without the shift as a multiple of the expected one, and
            ``set_shift_CLASS``.

    Raises:
        ValueError: no term reads the shift, or numbers below 1; when training starts, no size of any case is expected.
    """

    def __init__(
        self,
        network: nn.Module | None,
        loss: WeightedSumLoss,
        volumes: Any,
        inferer: Callable[..., Any],
        class_names: Sequence[str],
        slice_axis: int = 2,
        count: int = 12,
        every: int = 100,
        tolerance: float = 0.05,
        cap: float = 4.0,
        rounds: int = 3,
        seed: int = 0,
        amp: bool = False,
        amp_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.terms = [term.name for term in loss.named_terms() if KEY in [key.name for key in term.keys]]
        if not self.terms or network is None:
            raise ValueError("set_size acts on pseudo-labels, which this mode has not: choose --mode pseudo.")
        if count < 1 or every < 1:
            raise ValueError(f"count and every must be at least 1, got {count} and {every}.")
        self.network, self.loss, self._volumes, self.inferer = network, loss, volumes, inferer
        self.class_names, self.slice_axis = list(class_names), slice_axis
        self.count, self.every, self.seed = count, every, seed
        self.solver: dict[str, Any] = {"tolerance": tolerance, "cap": cap, "rounds": rounds}
        self.amp, self.amp_dtype = amp, amp_dtype
        self.shift = torch.zeros(len(self.class_names))
        self.before = torch.full((len(self.class_names),), math.nan)
        self.solved = 0
        self.told: set[str] = set()
        self.logged: dict[str, Tensor] = {}

    @property
    def volumes(self) -> Sequence[Mapping[str, Any]]:
        """The training cases; a loader's store is made when first asked for."""
        return self._volumes.store.whole_cases if hasattr(self._volumes, "store") else self._volumes

    def attach(self, engine: Engine) -> None:
        """Compare sums when ``engine`` starts, solve at the start of its iterations."""
        engine.add_event_handler(Events.STARTED, self.compare)
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def state_dict(self) -> dict[str, Any]:
        """The last solution, and how many there were."""
        return {"shift": self.shift, "before": self.before, "solved": self.solved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.shift, self.before, self.solved = state["shift"], state["before"], int(state["solved"])
        self.logged = {}

    def __call__(self, engine: Engine) -> None:
        """Solve anew if it is time."""
        state: Any = engine.state
        due = not self.solved or state.iteration % self.every == 0
        if due and any(self.loss.weights[term] > 0 for term in self.terms):
            self.solve(state.iteration, state.device)
            self._warn(state.iteration / max(1, (state.max_epochs or 1) * (state.epoch_length or 1)))
        if self.solved and not self.logged:
            self._log(state.device)

    def solve(self, iteration: int, device: torch.device | str | None = None) -> None:
        """Solve for the volumes that the seed and the iteration draw."""
        R = np.random.RandomState(seed_of(self.seed, iteration) % 2**32)
        chosen = np.sort(R.choice(len(self.volumes), min(self.count, len(self.volumes)), replace=False))
        probs: list[Tensor] = []
        sizes, possible = [], []
        expected = torch.zeros(len(self.class_names))
        for number in chosen:
            case = self.volumes[int(number)]
            size, able, total = sizes_of(case, self.slice_axis)
            counts = (size > 0).any(1)
            if bool(counts.any()):
                soft = self._predict(case, device)
                probs += [soft[index] for index in counts.nonzero()[:, 0].tolist()]
                sizes.append(size[counts])
                possible.append(able[counts])
                expected += total
        if probs:
            solution = class_shift(probs, torch.cat(sizes), expected, torch.cat(possible), **self.solver)
            self.shift, self.before = torch.stack((solution.shift, solution.before)).cpu()  # the host waits, once
        self.solved += 1
        self.logged = {}

    @torch.no_grad()
    def _predict(self, case: Mapping[str, Any], device: torch.device | str | None) -> Tensor:
        """Probabilities (S, K, *slice) of a volume."""
        image = send(plain_tensor(case["image"])[None], device)
        with torch.autocast(image.device.type, dtype=self.amp_dtype, enabled=self.amp):
            logits = self.inferer(image, self.network)
        soft = plain_tensor(logits)[0].float().softmax(0)
        return soft[None] if soft.dim() == 3 else soft.movedim(self.slice_axis + 1, 0)

    def compare(self, engine: Engine) -> None:
        """Warn where the expected sums cannot be, by what is drawn; refuse a set of which nothing is expected."""
        count = len(self.class_names)
        drawn, expected, dense, said = (torch.zeros(count) for _ in range(4))
        for case in self.volumes:
            size, _, total = sizes_of(case, self.slice_axis)
            slices = _slices(plain_tensor(case["weak_label"])[0], self.slice_axis)
            shown = torch.stack([(slices == k).flatten(1).sum(1) for k in range(count)], 1) * size
            drawn, expected = drawn + shown.sum(0), expected + total
            if bool((slices != UNLABELLED).all()):
                dense, said = dense + shown.sum(0), said + total
        if not bool((expected > 0).any()):
            raise ValueError(
                f"set_size expects no size of any class in any of the {len(self.volumes)} training cases: tags say in "
                "which slices a class is (undrawn_means_absent in dataset.json, or slice_tags), and stated_sizes how "
                "large it is. Give these, or leave set_size at none."
            )
        for k, name in enumerate(self.class_names):
            if 0 < float(expected[k]) < float(drawn[k]):
                self._tell(
                    f"{name}: {float(drawn[k]):.0f} {self._unit()} of it are drawn in the training set, and set_size "
                    f"expects {float(expected[k]):.0f}: state or estimate its size anew."
                )
            elif float(dense[k]) > 0 and float(said[k]) > 0:
                ratio = float(said[k] / dense[k])
                if not 1 / DISAGREEMENT <= ratio <= DISAGREEMENT:
                    self._tell(
                        f"{name}: set_size expects {ratio:.2f} times what the densely drawn training volumes show "
                        f"({float(said[k]):.0f} and {float(dense[k]):.0f} {self._unit()}): check its size."
                    )

    def _warn(self, done: float) -> None:
        stated = all(case["expected_size"].dim() == 1 for case in self.volumes)
        scribbled = stated and all(traits_of(case.get("weak_kind")).features == "scribble" for case in self.volumes)
        for k, name in enumerate(self.class_names):
            ratio = float(self.before[k])
            if done > 0.5 and abs(float(self.shift[k])) >= 0.999 * self.solver["cap"]:
                self._tell(f"{name}: no shift up to {self.solver['cap']:g} gives the expected size of the set.")
            if scribbled and done > 0.3 and not 1 / DISAGREEMENT <= ratio <= DISAGREEMENT and ratio > 0:
                self._tell(
                    f"{name}: from scribbles the network finds {ratio:.2f} times the expected size of the set. "
                    "Scribbles tell sizes well; check the size, or leave it out (--set_size none)."
                )

    def _tell(self, text: str) -> None:
        """Warn once of each class."""
        name = text.partition(":")[0]
        if name not in self.told:
            logger.warning("%s", text)
        self.told.add(name)

    def _unit(self) -> str:
        return "ml" if self.volumes[0]["expected_size"].dim() == 1 else "mm2"

    def _log(self, device: torch.device | str | None) -> None:
        """Where the losses lie, with which they are averaged over an epoch."""
        for k, name in enumerate(self.class_names):
            if k and math.isfinite(float(self.before[k])):
                self.logged[f"set_size_{name}"] = send(self.before[k], device)
                self.logged[f"set_shift_{name}"] = send(self.shift[k], device)


def sizes_of(case: Mapping[str, Any], slice_axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the slices of a case count for the size of a set.

    Args:
        case: with ``image`` and ``weak_label`` (1, *spatial), ``expected_size`` (S, K) in
            mm2 or (K,) in ml, ``slice_tags`` (S, K) and ``tags`` (K,).
        slice_axis: spatial axis of the slices.

    Returns:
        (S, K) what a voxel of each slice counts for each class, in mm2 or ml, 0 where nothing is expected; (S, K)
        whether a class can be there; (K,) the expected size of the case, 0 where it is not known.

    Raises:
        ValueError: sizes of slices that are not those of the image.
    """
    image, expected = case["image"], case["expected_size"]
    spacing = spacing_of(image)
    flat = image.dim() == 3
    count = 1 if flat else image.shape[slice_axis + 1]
    tags = case.get("slice_tags")
    if tags is None or len(tags) != count:  # resampled across the slices
        tags = torch.as_tensor(case["tags"])[None].expand(count, -1)
    possible = torch.as_tensor(tags) != 0
    if expected.dim() == 1:
        known = torch.isfinite(expected)[None] & possible
        return known * (math.prod(spacing) / 1000), possible, expected.nan_to_num(0.0)
    if len(expected) != count:
        raise ValueError(
            f"case '{case.get('case')}': sizes of {len(expected)} slices are expected in an image of {count}: keep the "
            "slices of the file (-1 along slice_axis in pixdim and crop)."
        )
    plane = [step for axis, step in enumerate(spacing) if flat or axis != slice_axis]
    return torch.isfinite(expected) * math.prod(plane), possible, expected.nan_to_num(0.0).sum(0)


def _slices(index: Tensor, slice_axis: int) -> Tensor:
    """Index map (*spatial) as slices (S, *slice)."""
    return index[None] if index.dim() == 2 else index.movedim(slice_axis, 0)
