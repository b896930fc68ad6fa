# SPDX-License-Identifier: Apache-2.0
"""What a trainer's iteration gave, of the batch as a whole."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine

__all__ = ["batch_output"]


def batch_output(engine: Engine) -> dict[str, Any]:
    """``image``, ``label``, ``pred`` and ``loss`` of the last batch.

    Args:
        engine: a trainer whose output is a dictionary, or a list of one, as of ``wss_monai.engines.BatchTrainer``.
    """
    output: Any = engine.state.output
    return output[0] if isinstance(output, list) else output
