# SPDX-License-Identifier: Apache-2.0
"""A trainer over whole batches whose output MONAI's handlers read in their customary form."""

from __future__ import annotations

from typing import Any

from monai.engines import SupervisedTrainer

__all__ = ["BatchTrainer"]


class BatchTrainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer`` that does not decollate; arguments as of MONAI's.

    When an iteration is completed, ``engine.state.output`` is a list of one dictionary, that of the whole batch:
    ``image``, ``label`` (the targets), ``pred`` and ``loss``. So ``from_engine(["loss"], first=True)``, with which
    MONAI's documentation attaches ``StatsHandler``, ``TensorBoardStatsHandler`` and ``MLFlowHandler``, gives the loss,
    as it does with a trainer that decollates. (Of a dictionary alone it gives a tuple, which these handlers refuse.)
    Decollating costs copies and, on a GPU, waits.

    Raises:
        ValueError: ``decollate`` is not false: handlers of this package read whole batches.
    """

    def _register_decollate(self) -> None:
        raise ValueError(
            "train#trainer#decollate must be false: the handlers of a training read whole batches. "
            "from_engine(['loss'], first=True) gives the loss without it."
        )

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> Any:
        return [super()._iteration(engine, batchdata)]
