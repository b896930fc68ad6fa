# SPDX-License-Identifier: Apache-2.0
"""Maps that hold a class which there is not are refused, whatever their type."""

from __future__ import annotations

import pytest
import torch

from wss_monai.functional.class_values import check_classes

TYPES = [torch.uint8, torch.int16, torch.int64, torch.float32]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("classes", "unlabelled"), [(4, 255), (4, 9), (255, 255), (1, 255)])
def test_every_class_and_the_unlabelled_value_are_right(kind, classes, unlabelled):
    check_classes(torch.tensor([*range(classes), unlabelled, unlabelled]).to(kind), classes, unlabelled=unlabelled)
    check_classes(torch.zeros(0, dtype=kind), classes, unlabelled=unlabelled)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("classes", "unlabelled", "wrong"), [(4, 255, 4), (4, 255, 254), (4, 9, 10), (4, 9, 255)])
def test_any_other_is_named(kind, classes, unlabelled, wrong):
    with pytest.raises(ValueError, match=f"the mask holds class {wrong}, but there are {classes}"):
        check_classes(torch.tensor([0, unlabelled, wrong, 1]).to(kind), classes, "the mask", unlabelled)


def test_bytes_do_not_wrap_around():
    check_classes(torch.arange(256).to(torch.uint8), 300)
    with pytest.raises(ValueError, match="holds class 255"):
        check_classes(torch.tensor([255]).to(torch.uint8), 4, unlabelled=-1)
