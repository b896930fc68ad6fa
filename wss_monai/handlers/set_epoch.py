# SPDX-License-Identifier: Apache-2.0
"""Tell the loader which epoch it is."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events


class SetEpoch:
    """Call ``loader.set_epoch(epoch)`` at the start of each epoch, so that its draws are right after a resume.

    Args:
        loader: anything with ``set_epoch``.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def attach(self, engine: Engine) -> None:
        """Act at the start of each epoch of ``engine``."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda e: self.loader.set_epoch(e.state.epoch))
