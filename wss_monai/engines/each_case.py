# SPDX-License-Identifier: Apache-2.0
"""Evaluation case by case: one that cannot be read or predicted is named at the end, and does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine
from monai.data import Dataset
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.handlers import MLFlowHandler

from wss_monai.bundle.case_errors import raise_failures, reason_of
from wss_monai.io.processes import of_all_processes

__all__ = ["EachCase", "EachCaseEvaluator"]

FAILED = "why_it_failed"
"""Key of an item that stands for a case that could not be loaded."""


class EachCase(Dataset):
    """MONAI's ``Dataset``, which gives the reason in place of a case that cannot be loaded, for `EachCaseEvaluator`.

    Args:
        data: dictionaries with ``case``, the name.
        transform: loads one.
    """

    def __getitem__(self, index: Any) -> Any:
        """Load a case, or say why it cannot be."""
        try:
            return super().__getitem__(index)
        except Exception as error:
            reason = reason_of(error)
            if reason is None or not isinstance(index, int):
                raise
            return {"case": str(self.data[index]["case"]), FAILED: reason}


class EachCaseEvaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator`` over batches of one case; an error of a case, and logits that are not finite,
    leave it out. Arguments as of MONAI's.

    What a case that failed would have given is not there: no event of its forward pass is fired, and batch and output
    of its iteration are empty lists. `run` raises at its end, when all handlers have written what they have.

    Attributes:
        failed: case -> why, of this process; handlers may add to it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for handler in kwargs.get("val_handlers") or ():
            if isinstance(handler, MLFlowHandler):
                handler.close_on_complete = True  # `--tracking mlflow` leaves that to a trainer, which is not here
        super().__init__(*args, **kwargs)
        self.failed: dict[str, str] = {}
        self.cases = 0
        self.add_event_handler(IterationEvents.FORWARD_COMPLETED, _refuse_not_finite)

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]
        """Evaluate all cases; with several processes every process has to call it.

        Raises:
            ValueError: cases failed; each is printed before.
        """
        self.failed, self.cases = {}, 0
        super().run(global_epoch)
        parts = of_all_processes((self.failed, self.cases))
        failed = {case: why for part, _ in parts for case, why in part.items()}
        raise_failures(failed, sum(cases for _, cases in parts), "have no scores")

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> Any:
        self.cases += 1
        case = str(batchdata["case"][0])
        if FAILED in batchdata:
            return self._leave_out(engine, case, str(batchdata[FAILED][0]))
        try:
            return super()._iteration(engine, batchdata)
        except Exception as error:
            reason = reason_of(error)
            if reason is None:
                raise
            return self._leave_out(engine, case, reason)

    def _leave_out(self, engine: Any, case: str, why: str) -> list[Any]:
        self.failed[case] = why
        engine.state.batch = []
        engine.state.output = []
        return []


def _refuse_not_finite(engine: Engine) -> None:
    """Refuse logits that hold NaN or an infinity, of which the largest would still be some class."""
    state: Any = engine.state
    output: Mapping[str, Any] = state.output
    if not bool(output["pred"].isfinite().all()):
        image = getattr(state.batch.get("image"), "meta", {}).get("filename_or_obj", "")
        of = image[0] if isinstance(image, (list, tuple)) and image else image
        raise ValueError(
            f"the network's output is not finite{f' for {of}' if of else ''}: look for NaN and extreme values in the "
            "image, and whether the weights are those of a training that went well"
        )
