# SPDX-License-Identifier: Apache-2.0
"""The fast argmax is the argmax."""

from __future__ import annotations

import pytest
import torch

from wss_monai.functional.hard_classes import hard_classes


@pytest.mark.parametrize("shape", [(2, 1, 5), (2, 2, 7, 6), (1, 4, 5, 6, 7), (3, 9, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_argmax(shape, dtype):
    logits = torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(0)).to(dtype)  # with ties
    found = hard_classes(logits)
    assert found.dtype == torch.int64
    first = (logits == logits.amax(1, keepdim=True)).to(torch.uint8).argmax(1)
    assert torch.equal(found, first)


def test_of_a_view_and_of_a_tensor_with_gradient():
    logits = torch.randn(2, 6, 6, 3).movedim(-1, 1).requires_grad_()
    assert torch.equal(hard_classes(logits), logits.argmax(1))
