# SPDX-License-Identifier: Apache-2.0
"""Finding cases and splitting them by patient."""

from __future__ import annotations

from wss_monai.data.datalist import CASE_KEYS, DataSplit, load_cases
from wss_monai.data.leak_guard import check_no_leak, patient_key
from wss_monai.data.schema import Dataset, read_dataset, write_dataset

__all__ = [
    "CASE_KEYS",
    "DataSplit",
    "Dataset",
    "check_no_leak",
    "load_cases",
    "patient_key",
    "read_dataset",
    "write_dataset",
]
