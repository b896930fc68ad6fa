# SPDX-License-Identifier: Apache-2.0
"""nnU-Net's preprocessed training cases, as the sizes of the set are solved on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from wss_monai.functional import UNLABELLED

__all__ = ["TrainingVolumes"]


class TrainingVolumes:
    """The cases that a trainer of nnU-Net trains on, without augmentation, read when they are asked for.

    Each has ``image`` (C, *spatial) with its voxel size, ``weak_label`` (1, *spatial), 255 = unlabelled, and
    ``expected_size`` (K,) in ml.

    Args:
        trainer: nnU-Net's, initialised.
        class_names: background first.
        sizes: class -> mean volume in ml.
    """

    def __init__(self, trainer: Any, class_names: Sequence[str], sizes: Mapping[str, float]) -> None:
        self.trainer = trainer
        self.sizes = torch.tensor([float(sizes.get(name, "nan")) for name in class_names])
        self.keys = list(trainer.do_split()[0])
        self.cases = trainer.dataset_class(trainer.preprocessed_dataset_folder, self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Read a case."""
        data, seg, _, properties = self.cases.load_case(self.keys[number])
        steps = list(self.trainer.configuration_manager.spacing)
        if len(steps) == 2:  # slices: what lies across them is not resampled
            across = self.trainer.plans_manager.transpose_forward[0]
            steps = [float(properties["spacing"][across]), *steps]
        image = torch.from_numpy(np.array(data[:], dtype=np.float32))
        index = torch.from_numpy(np.array(seg[:1])).long()
        ignored = self.trainer.label_manager.ignore_label
        if ignored is not None:
            index = torch.where(index == ignored, UNLABELLED, index)
        return {
            "case": self.keys[number],
            "image": MetaTensor(image, affine=torch.diag(torch.tensor([*steps, 1.0], dtype=torch.float64))),
            "weak_label": index.clamp(min=0).to(torch.uint8),
            "expected_size": self.sizes,
            "tags": torch.full((len(self.sizes),), -1),
            "slice_tags": None,
        }
