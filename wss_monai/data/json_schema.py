# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of `dataset.json`, for editors and other programs.

It refuses nothing that `wss_monai.data.read_dataset` takes. What a schema cannot say (files that exist, names that are
classes, one row of tags a class) is left to `python -m wss_monai check`.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["dataset_schema", "dataset_schema_text"]


def dataset_schema_text() -> str:
    """Give the schema as it is shipped, `wss_monai/data/dataset.schema.json` (draft 7)."""
    return files("wss_monai.data").joinpath("dataset.schema.json").read_text(encoding="utf-8")


def dataset_schema() -> dict[str, Any]:
    """Give the schema as a dictionary."""
    schema: dict[str, Any] = json.loads(dataset_schema_text())
    return schema
