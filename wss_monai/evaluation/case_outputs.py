# SPDX-License-Identifier: Apache-2.0
"""The cases of an evaluator's iteration, each with its output, whether the evaluator decollates or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ignite.engine import Engine
from monai.data import decollate_batch
from torch import Tensor

from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.io.volumes import without_suffix

__all__ = ["as_array", "case_name", "each_case"]


def each_case(engine: Engine) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Give the entries of batch and output of each case of the last iteration."""
    state: Any = engine.state
    batch, output = state.batch, state.output
    if isinstance(output, Mapping):
        maps = {key: value for key, value in output.items() if isinstance(value, Tensor) and value.dim()}
        batch, output = decollate_batch(dict(batch)), decollate_batch(maps)
    yield from zip(batch, output, strict=True)


def case_name(item: Mapping[str, Any], image: Tensor | None = None) -> str:
    """Name of a case: its entry ``case``, else that of the file that its image was read from, else "case"."""
    if item.get("case"):
        return str(item["case"])
    file: Any = getattr(image, "meta", {}).get("filename_or_obj") or ""
    first = file if isinstance(file, str) else str(next(iter(file)))
    return without_suffix(first.replace("\\", "/").rsplit("/", 1)[-1]) or "case"


def as_array(tensor: Tensor) -> np.ndarray:
    """The plain values of a tensor, wherever it lies."""
    array: np.ndarray = plain_tensor(tensor).detach().cpu().numpy()
    return array
