# SPDX-License-Identifier: Apache-2.0
"""A trainer for nnU-Net v2 with constraints; nnU-Net is imported when the trainer is asked for, not before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wss_monai.nnunet.constrained_loss import ConstrainedLoss
from wss_monai.nnunet.constraints_file import NAME, Constraints, read_constraints

__all__ = ["ConstrainedLoss", "Constraints", "NAME", "TRAINERS", "read_constraints"]

TRAINERS = str(Path(__file__).parent / "trainers")
"""The folder for nnU-Net's variable ``nnUNet_extTrainer``: it holds ``nnUNetTrainerConstrained`` and nothing else."""


def __getattr__(name: str) -> Any:
    if name == "nnUNetTrainerConstrained":
        try:
            from wss_monai.nnunet.trainer import nnUNetTrainerConstrained
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{name} needs nnU-Net v2, and '{error.name}' is not installed: pip install 'nnunetv2>=2.8' (the extra "
                "nnunet of this package)."
            ) from error
        return nnUNetTrainerConstrained
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
