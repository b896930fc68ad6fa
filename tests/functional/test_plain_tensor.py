# SPDX-License-Identifier: Apache-2.0
"""Tensors lose their metadata, and nothing else."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from wss_monai.functional.plain_tensor import plain_tensor


def test_metadata_is_left_behind_and_memory_shared():
    given = MetaTensor(torch.rand(1, 2, 3), affine=torch.eye(4))
    made = plain_tensor(given)
    assert type(made) is torch.Tensor
    assert made.data_ptr() == given.data_ptr()
    assert torch.equal(made, given.as_tensor())


def test_a_tensor_is_the_same_one_and_an_array_becomes_one():
    given = torch.rand(2, 3)
    assert plain_tensor(given) is given
    array = np.ones((2, 2), np.uint8)
    assert plain_tensor(array).dtype == torch.uint8
    assert plain_tensor(array).tolist() == [[1, 1], [1, 1]]
