# SPDX-License-Identifier: Apache-2.0
"""End a training whose validation score has long not been better: Ignite's, and a resumed run goes on waiting."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping

__all__ = ["Patience", "StopEarly"]

SETTINGS = ("patience", "min_delta")
logger = logging.getLogger(__name__)


class Patience:
    """How long to wait for a better validation score, and how long has been waited.

    Args:
        settings: ``patience``, validations without a better score after which training ends (`val_interval` epochs lie
            between two), and ``min_delta``, by how much a score has to be better (default 0).
        validated: number of validation cases.

    Raises:
        ValueError: there is nobody to validate on; a setting that there is not, or a number below 1.
    """

    def __init__(self, settings: Mapping[str, Any], validated: int) -> None:
        if not isinstance(settings, Mapping) or not {"patience"} <= set(settings) <= set(SETTINGS):
            raise ValueError(
                f"early_stopping must be {{patience: N}}, with min_delta besides or not; got {settings!r}."
            )
        patience, delta = settings["patience"], settings.get("min_delta", 0)
        if not isinstance(patience, int) or isinstance(patience, bool) or patience < 1:
            raise ValueError(f"patience of early_stopping must be a whole number of at least 1; got {patience!r}.")
        if not isinstance(delta, (int, float)) or not delta >= 0:
            raise ValueError(f"min_delta of early_stopping must be a number of at least 0; got {delta!r}.")
        if not validated:
            raise ValueError("early_stopping needs validation patients: --validation 1 or more, or leave it out.")
        self.patience = patience
        self.min_delta = float(delta)
        self.stopper: Any = None

    def follow(self, trainer: Engine, evaluator: Engine) -> None:
        """Look at the key metric of ``evaluator`` whenever it has run."""

        def score(engine: Engine) -> float:
            state: Any = engine.state
            return float(state.metrics[state.key_metric_name])

        self.stopper = EarlyStopping(self.patience, score, trainer, self.min_delta)
        evaluator.add_event_handler(Events.COMPLETED, self.stopper)

    @property
    def over(self) -> bool:
        """Whether it has been waited long enough."""
        return self.stopper is not None and self.stopper.counter >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {"counter": self.stopper.counter, "best_score": self.stopper.best_score}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.stopper.counter, self.stopper.best_score = state["counter"], state["best_score"]


class StopEarly:
    """End the training when the patience is over; off unless ``early_stopping`` is set.

    Args:
        patience: how long to wait.
        evaluator: whose key metric counts.
    """

    def __init__(self, patience: Patience, evaluator: Engine) -> None:
        self.patience = patience
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Follow a trainer; attach it after the handler that loads a checkpoint."""
        self.patience.follow(engine, self.evaluator)
        engine.add_event_handler(Events.STARTED, self._resumed)
        engine.add_event_handler(Events.TERMINATE, self._tell)

    def _resumed(self, engine: Engine) -> None:
        """A run that had ended stays so."""
        if self.patience.over:
            engine.terminate()

    def _tell(self, engine: Engine) -> None:
        if self.patience.over:
            logger.warning(
                "training ends after epoch %d: the validation score has not been better in %d validations "
                "(early_stopping).", engine.state.epoch, self.patience.patience,
            )  # fmt: skip
