# SPDX-License-Identifier: Apache-2.0
"""Finding cases, splitting them by patient, and batches of them."""

from __future__ import annotations

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
