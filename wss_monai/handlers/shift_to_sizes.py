# SPDX-License-Identifier: Apache-2.0
"""The constraint on sizes summed over a set, for a finished network on new data."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from wss_monai.functional.class_shift import class_shift
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.functional.transfer import send
from wss_monai.transforms import StatedSizesd
from wss_monai.transforms.bounds.intervals import spacing_of

__all__ = ["ShiftToSizes"]

logger = logging.getLogger(__name__)


class ShiftToSizes:
    """Before an evaluation, solve one shift a class such that all cases together show the stated sizes; then apply it.

    Handler and transform in one: as a handler it predicts every case once more than the evaluation does, and solves
    (`wss_monai.functional.class_shift`); as a step of the post-processing, on the grid of the network, it adds the
    shift to the logits. For data that differ from those of training, of a set of many cases whose mean sizes somebody
    knows: of a few patients, or of ones chosen for their disease, the mean of others is not true. No weak label, tag or
    dense label of the cases is read.

    Args:
        network: in evaluation mode when the evaluation starts.
        cases: what the evaluation predicts, preprocessed; their probabilities are held in memory at once.
        inferer: of whole volumes.
        sizes: mean volumes in ml, as of ``StatedSizesd``.
        class_names: background first.
        keys: of the logits (K, *spatial) in the post-processing.
        tolerance, cap, rounds: see ``class_shift``.
        amp, amp_dtype: mixed precision of the network.

    Attributes:
        shift: (K,), zeros until the evaluation starts.

    Raises:
        ValueError: as ``StatedSizesd``.
    """

    def __init__(
        self,
        network: nn.Module,
        cases: Sequence[Mapping[str, Any]],
        inferer: Callable[..., Any],
        sizes: Mapping[str, Any],
        class_names: Sequence[str],
        keys: str = "pred",
        tolerance: float = 0.05,
        cap: float = 4.0,
        rounds: int = 3,
        amp: bool = False,
        amp_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.network, self.cases, self.inferer = network, cases, inferer
        self.sizes = StatedSizesd(sizes, class_names)
        self.class_names, self.key = list(class_names), keys
        self.solver: dict[str, Any] = {"tolerance": tolerance, "cap": cap, "rounds": rounds}
        self.amp, self.amp_dtype = amp, amp_dtype
        self.shift = torch.zeros(len(self.class_names))

    def attach(self, engine: Engine) -> None:
        """Solve when ``engine`` starts; behind the handler that loads the weights."""
        engine.add_event_handler(Events.STARTED, self.solve)

    @torch.no_grad()
    def solve(self, engine: Engine) -> None:
        """Predict all cases and solve; says what was found."""
        state: Any = engine.state
        self.network.eval()
        probs, voxels = [], []
        expected = torch.zeros(len(self.class_names))
        for case in (self.cases[number] for number in range(len(self.cases))):
            image = send(plain_tensor(case["image"])[None], state.device)
            with torch.autocast(image.device.type, dtype=self.amp_dtype, enabled=self.amp):
                logits = self.inferer(image, self.network)
            probs.append(plain_tensor(logits)[0].float().softmax(0))
            voxels.append(math.prod(spacing_of(case["image"])) / 1000)
            known: dict[Hashable, Any] = {"phase": case.get("phase"), "case": case.get("case")}
            expected += self.sizes(known)["expected_size"].nan_to_num(0.0)
        if not probs:
            return
        sizes = torch.tensor(voxels)[:, None].expand(-1, len(self.class_names))
        solution = class_shift(probs, sizes, expected, **self.solver)
        self.shift = solution.shift.cpu()
        for k, name in enumerate(self.class_names):
            if float(expected[k]) > 0:
                logger.info(
                    "%s: %.2f times the stated sizes are found in %d cases; shifted by %.2f: %.2f times",
                    *(name, float(solution.before[k]), len(probs), float(self.shift[k]), float(solution.after[k])),
                )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Shift the logits of a copy of a case."""
        logits: Tensor = data[self.key]
        shift = send(self.shift, logits.device).to(logits.dtype)
        return {**data, self.key: logits + shift.reshape(-1, *[1] * (logits.dim() - 1))}
