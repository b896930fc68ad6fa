# SPDX-License-Identifier: Apache-2.0
"""The threshold on the score of activation maps that suits the dense labels of validation patients best."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from torch import Tensor

from wss_monai.evaluation.case_outputs import case_name, each_case
from wss_monai.functional import UNLABELLED
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.io.atomic_files import check_writable
from wss_monai.io.processes import first_process, of_all_processes
from wss_monai.io.tables import write_json
from wss_monai.metrics.overlap import overlap

__all__ = ["FILE", "CAMThreshold"]

FILE = "threshold.json"
ROUNDING = 1e-4
"""How far interpolation may leave a score outside 0..1."""
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


class CAMThreshold:
    """Choose the threshold of activation maps on an evaluator's cases: the highest mean Dice of their volumes.

    Writes ``threshold.json`` into the run's folder, which ``wss_monai.transforms.CAMLogits`` reads: ``threshold``, the
    mean ``dice`` of each threshold, and the ``cases`` and ``patients`` that it was chosen on, whose labels it took.
    Cases without a dense label are passed over, as are voxels labelled 255. Of equal ones the threshold next to 0.5
    wins. With several processes the cases of all of them count.

    Args:
        output_dir: the run's folder.
        thresholds: those to try; by default 0.05 to 0.95 in steps of 0.05.
        pred_key: key of the score (1, *spatial), 0 to 1, in the output.
        label_key: key of the dense label (1, *spatial) in the batch, on the same grid; all that is neither 0 nor 255 is
            foreground.

    Raises:
        ValueError: a threshold outside 0..1, or none.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        thresholds: Sequence[float] = THRESHOLDS,
        *,
        pred_key: str = "pred",
        label_key: str = "label",
    ) -> None:
        self.thresholds = [float(t) for t in thresholds]
        if not self.thresholds or not all(0 < t < 1 for t in self.thresholds):
            raise ValueError(f"thresholds must be numbers between 0 and 1, got {list(thresholds)}.")
        self.folder = Path(output_dir)
        self.pred_key = pred_key
        self.label_key = label_key
        self.found: dict[str, tuple[str, list[float]]] = {}

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator, decollated or not."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.found = {}
        check_writable(self.folder)

    def _add(self, engine: Engine) -> None:
        for item, output in each_case(engine):
            if self.label_key in item:
                name = case_name(item, item.get("image"))
                self.add(output[self.pred_key], item[self.label_key], name, str(item.get("patient") or name))

    def add(self, score: Tensor, label: Tensor, case: str, patient: str) -> None:
        """Take a case.

        Raises:
            ValueError: score and label of different shapes, or a score outside 0..1.
        """
        values, truth = plain_tensor(score).detach().float().cpu(), plain_tensor(label).detach().cpu()
        if values.shape != truth.shape or values.shape[0] != 1:
            raise ValueError(
                f"case {case!r}: the score is {tuple(values.shape)} and the label {tuple(truth.shape)}; both must be "
                "(1, *spatial) on one grid: bring the score to the image's own grid by Invertd, or the label to the "
                "network's."
            )
        known = truth != UNLABELLED
        if not bool(known.any()):
            return
        values, foreground = values[known], truth[known] > 0
        if not bool(((values >= -ROUNDING) & (values <= 1 + ROUNDING)).all()):
            raise ValueError(f"case {case!r}: {self.pred_key!r} must be a score in 0..1: put CAMScoresd before.")
        inside = values[foreground]
        sizes = [[int((part > t).sum()) for t in self.thresholds] for part in (values, inside)]
        dice, _ = overlap(sizes[0], len(inside), sizes[1])
        self.found[case] = (patient, dice.tolist())

    def choose(self) -> dict[str, Any]:
        """The content of the file; every process must call it.

        Raises:
            ValueError: no case has a dense label.
        """
        found = {case: of_case for part in of_all_processes(self.found) for case, of_case in part.items()}
        if not found:
            raise ValueError(
                "no validation case has a dense label, so no threshold can be chosen on them: set the threshold to a "
                "number such as 0.5, or to 'otsu'."
            )
        dice = np.mean([of_case for _, of_case in found.values()], axis=0)
        best = max(zip(dice.round(9), self.thresholds, strict=True), key=lambda pair: (pair[0], -abs(pair[1] - 0.5)))
        return {
            "threshold": best[1],
            "dice": {f"{t:g}": round(float(d), 6) for t, d in zip(self.thresholds, dice, strict=True)},
            "cases": sorted(found),
            "patients": sorted({patient for patient, _ in found.values()}),
            "chosen_on": "the mean Dice of these volumes, which needs their dense labels",
        }

    def _write(self, engine: Engine) -> None:
        content = self.choose()
        dice = content["dice"][f"{content['threshold']:g}"]
        metrics: Any = engine.state.metrics
        metrics.update({"threshold": content["threshold"], "threshold_dice": dice})
        if first_process():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / FILE, content)
            volumes, patients = len(content["cases"]), len(content["patients"])
            on = f"{volumes} volume{'s' * (volumes > 1)} of {patients} patient{'s' * (patients > 1)}"
            print(f"threshold {content['threshold']:g} (Dice {dice:.3f} on {on} with dense labels)")
            print(f"written to {self.folder / FILE}")
