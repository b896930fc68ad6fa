# SPDX-License-Identifier: Apache-2.0
"""Finding cases, splitting them by patient, and batches of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wss_monai.data.datalist import CASE_KEYS, DataSplit, draw_dense, load_cases
    from wss_monai.data.leak_guard import check_no_leak, patient_key
    from wss_monai.data.loading.batch_loader import BatchLoader, VolumeBatchSampler
    from wss_monai.data.loading.paired_loader import PairedLoader, PairedStore
    from wss_monai.data.loading.prepared_cases import PreparedCases
    from wss_monai.data.loading.store_place import StorePlace
    from wss_monai.data.loading.stores import PatchStore, SliceStore
    from wss_monai.data.schema import Dataset, read_dataset, write_dataset
    from wss_monai.data.semi_supervised import SemiSupervisedSplit, load_semi_supervised

__all__ = [
    "CASE_KEYS",
    "BatchLoader",
    "DataSplit",
    "Dataset",
    "PairedLoader",
    "PairedStore",
    "PatchStore",
    "PreparedCases",
    "SemiSupervisedSplit",
    "SliceStore",
    "StorePlace",
    "VolumeBatchSampler",
    "check_no_leak",
    "draw_dense",
    "load_cases",
    "load_semi_supervised",
    "patient_key",
    "read_dataset",
    "write_dataset",
]

_PLACES = {
    "BatchLoader": "loading.batch_loader",
    "CASE_KEYS": "datalist",
    "DataSplit": "datalist",
    "Dataset": "schema",
    "PairedLoader": "loading.paired_loader",
    "PairedStore": "loading.paired_loader",
    "PatchStore": "loading.stores",
    "PreparedCases": "loading.prepared_cases",
    "SemiSupervisedSplit": "semi_supervised",
    "SliceStore": "loading.stores",
    "StorePlace": "loading.store_place",
    "VolumeBatchSampler": "loading.batch_loader",
    "check_no_leak": "leak_guard",
    "draw_dense": "datalist",
    "load_cases": "datalist",
    "load_semi_supervised": "semi_supervised",
    "patient_key": "leak_guard",
    "read_dataset": "schema",
    "write_dataset": "schema",
}
"""Name -> module of this room. A name is imported where it is asked for: loaders and stores need torch, of which
commands that only read a dataset.json know nothing."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
