# SPDX-License-Identifier: Apache-2.0
"""Evaluation on the image's own grid: metrics, constraint satisfaction and predictions, in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from wss_monai.bundle.case_errors import reason_of
from wss_monai.evaluation.summary_text import summary_text
from wss_monai.evaluation.volume_scorer import ScoredVolume, VolumeScorer
from wss_monai.handlers.run_start import Hold, digest_of_file, refuse_data_set
from wss_monai.io.atomic_files import check_writable
from wss_monai.io.processes import first_process, of_all_processes
from wss_monai.io.run_folder import CASES, CONSTRAINTS, PREDICTIONS, SCORED, SLICES, SUMMARY
from wss_monai.io.tables import write_json
from wss_monai.metrics import (
    summarize_confusion,
    summarize_constraints,
    summarize_slices,
    summarize_volumes,
    summarize_weak_labels,
)
from wss_monai.metrics.pairs import pair_rows
from wss_monai.transforms.bounds.constant import Boundsd
from wss_monai.transforms.bounds.equal_volume import EqualVolumed


class VolumeScores:
    """Score each volume of an evaluator, and write the summary when it is done.

    The evaluator's output holds, for each case, ``pred``: class indices (1, *spatial) on the image's own grid, and
    ``partial_ce`` where ``PartialCrossEntropyd`` wrote it; its batch holds ``label``, ``weak_label`` and
    ``bounds_<term>`` on that grid, where there are any. Writes ``metrics_summary.json``, ``evaluation/cases.csv``,
    ``evaluation/slices.csv`` (of volumes with a dense label), ``evaluation/constraints.csv``, ``evaluation/cases.json``
    and ``evaluation/predictions/<case>.nii.gz``. Of several processes (torch.distributed) each scores the cases that
    its evaluator gets, and process 0 writes the scores of all, in the order of ``cases``.

    Args:
        output_dir: the run's folder.
        cases: the case dictionaries of the data list, for their paths and names.
        class_names: background first.
        bounds: the transforms that made the bounds, for their terms, descriptors and origins.
        bounds_origin: origin of the bounds that the run was trained with, for the summary.
        seed: of the run, for the summary.
        slice_axis: axis across the slices, of bounds on slices and of ``slices.csv``.
        part: which part of the data the cases are ("test", "validation", "training"), for the summary.
        drop_missed: see ``wss_monai.metrics.summarize_confusion``.
        weights: the file of weights that predict, whose name and SHA-256 the summary says; None: not known.

    Attributes:
        failed: case -> why it has no scores; the summary says it.

    Raises:
        ValueError: no cases; when it starts, a folder that cannot be written, holds a data set or that another process
            writes to.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        cases: Sequence[Mapping[str, Any]],
        class_names: Sequence[str],
        bounds: Sequence[Boundsd | EqualVolumed] = (),
        bounds_origin: str = "none",
        seed: int = 0,
        slice_axis: int = 2,
        part: str = "",
        weights: str | os.PathLike[str] | None = None,
        drop_missed: bool = False,
    ) -> None:
        if not cases:
            raise ValueError(
                "there is no case to evaluate: the data set or split has none in this part; choose another with "
                "--evaluate_on or --split."
            )
        self.folder = Path(output_dir)
        self.cases = {str(case["case"]): dict(case) for case in cases}
        self.class_names = list(class_names)
        self.scorer = VolumeScorer(output_dir, class_names, bounds, slice_axis)
        self.bounds_origin = bounds_origin
        self.seed = seed
        self.part = part
        self.drop_missed = drop_missed
        self.weights = None if weights is None else Path(weights)
        self.failed: dict[str, str] = {}
        self.hold = Hold(output_dir, "evaluation", lambda: "start the same evaluation again.")
        self.scored: dict[str, ScoredVolume] = {}

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator with decollated output."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        if first_process():
            self.hold.attach(engine)

    def _start(self, engine: Engine) -> None:
        if first_process():
            self.hold.begin()
        self.start()

    def _add(self, engine: Engine) -> None:
        state: Any = engine.state
        for item, output in zip(state.batch, state.output, strict=True):
            case = str(item["case"])
            try:
                self.add(self.scorer(self.cases[case], item, output["pred"], output.get("partial_ce")))
            except ValueError as error:
                reason, failed = reason_of(error), getattr(engine, "failed", None)
                if reason is None or failed is None:
                    raise
                failed[case] = reason

    def _write(self, engine: Engine) -> None:
        self.failed = getattr(engine, "failed", {})
        if len(self.failed) == len(self.cases):
            raise ValueError("; ".join(f"{case}: {why}" for case, why in list(self.failed.items())[:1]))
        summary = self.write()
        engine.state.metrics.update(_numbers_of(summary))

    def start(self) -> None:
        """Forget what was scored, and make the folders.

        Raises:
            ValueError: the run's folder cannot be written to, or is that of a data set.
        """
        self.scored = {}
        check_writable(self.folder)
        refuse_data_set(self.folder)
        if first_process():
            (self.folder / SUMMARY).unlink(missing_ok=True)  # it comes last: what is killed half way shows no scores
        (self.folder / PREDICTIONS).mkdir(parents=True, exist_ok=True)

    def add(self, scored: ScoredVolume) -> None:
        """Take the scores of a case."""
        self.scored[scored.case] = scored

    def write(self) -> dict[str, Any]:
        """Write the tables and the summary of all cases, print the summary and return it.

        With several processes every process must call it.
        """
        scored = self._of_all_processes()
        rows, slices, constraints = (
            [row for volume in scored for row in getattr(volume, table)] for table in ("rows", "slices", "constraints")
        )
        constraints += pair_rows([volume for each in scored for volume in each.pairs])
        counts = [volume.confusion for volume in scored if volume.confusion is not None]
        summary = summarize_volumes(rows, self.class_names)
        summary |= summarize_weak_labels(rows, self.class_names)
        summary |= summarize_slices(slices)
        summary |= self._of_confusion(counts) if counts else {}
        summary["constraint_satisfaction"] = summarize_constraints(constraints) if constraints else {}
        summary |= {"evaluated_on": self.part} if self.part else {}
        summary |= {"bounds_origin": self.bounds_origin, "seed": self.seed}
        failed = {case: why for part in of_all_processes(self.failed) for case, why in part.items()}
        summary |= {"failed": failed} if failed else {}
        if first_process():
            if self.weights is not None:
                inside = self.weights.resolve().is_relative_to(self.folder.resolve())
                name = self.weights.name if inside else str(self.weights)
                summary["weights"] = {"file": name, "sha256": digest_of_file(self.weights)}
            CASES.write(self.folder, rows)
            SLICES.write(self.folder, slices)
            CONSTRAINTS.write(self.folder, constraints)
            write_json(self.folder / SCORED, [volume.record for volume in scored])
            write_json(self.folder / SUMMARY, summary)
            print(summary_text(summary, self.class_names))
            print(f"written to {self.folder}")
        return summary

    def _of_confusion(self, counts: list[np.ndarray]) -> dict[str, Any]:
        return summarize_confusion(np.sum(counts, axis=0), self.class_names, self.drop_missed)

    def _of_all_processes(self) -> list[ScoredVolume]:
        """What all processes scored, each case once, in the order of the cases."""
        found = {name: volume for part in of_all_processes(self.scored) for name, volume in part.items()}
        return [found[name] for name in self.cases if name in found]


def _numbers_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """Means over the cases by measure, and the share of measures inside their bounds, for MONAI's handlers."""
    means = {name: of["mean"] for name, of in summary.items() if isinstance(of, dict) and of.get("mean") is not None}
    for term, of in (summary.get("constraint_satisfaction") or {}).items():
        means |= {f"constraint_satisfaction_{term}" + f"_{name}" * (name != "mean"): part for name, part in of.items()}
    return means
