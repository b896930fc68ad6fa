# SPDX-License-Identifier: Apache-2.0
"""Boxes travel with the slices, and augmentation moves them with the image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor

from wss_monai.data import PatchStore, SliceStore
from wss_monai.functional.box_descriptors import BoxStrips, OutsideSize
from wss_monai.functional.descriptors import Size
from wss_monai.transforms import BatchAugment, LoadCased, WeakTags


def batch_of(boxes: torch.Tensor, image: torch.Tensor) -> dict:
    count = len(boxes)
    weak = torch.full((count, 1, *boxes.shape[2:]), 255, dtype=torch.uint8)
    return {"image": image, "weak_label": weak, "boxes": boxes, "spacing": torch.ones(count, 2)}


def some_boxes(count: int = 16, shape: tuple[int, int] = (48, 48)) -> torch.Tensor:
    """Boxes whose sides are whole numbers of strips of 5 lines, two of class 1 and one of class 2."""
    boxes = torch.zeros(count, 3, *shape, dtype=torch.uint8)
    boxes[:, 1, 6:16, 8:23], boxes[:, 1, 20:25, 30:40], boxes[:, 2, 18:33, 14:24] = 1, 2, 1
    return boxes


def multiset(measure: torch.Tensor) -> torch.Tensor:
    padded = F.pad(measure, (0, 99 - measure.shape[-1]), value=torch.nan)
    return padded.nan_to_num(-1.0).sort(-1).values


@pytest.mark.parametrize("width", [5, 1])
def test_exact_maps_keep_the_strips(width):
    torch.manual_seed(0)
    boxes = some_boxes()
    probs = torch.rand(16, 3, 48, 48)
    out = BatchAugment(3, affine_probability=0, intensity_probability=0)(batch_of(boxes, probs), seed=3)
    assert not torch.equal(out["boxes"], boxes)
    before, after = BoxStrips(width)(probs, region=boxes), BoxStrips(width)(out["image"], region=out["boxes"])
    torch.testing.assert_close(multiset(after), multiset(before), atol=1e-5, rtol=1e-5)
    for descriptor in (Size(), OutsideSize()):
        torch.testing.assert_close(
            descriptor(out["image"], region=out["boxes"]), descriptor(probs, region=boxes), atol=1e-3, rtol=1e-5
        )
    bounds = torch.tensor([1.0, torch.inf]).expand(16, 3, 1, 2)
    assert torch.equal(BoxStrips(width).move(bounds, out["matrix"], out["cut"]), bounds)


def test_scaled_and_shifted_boxes_stay_tight():
    boxes = some_boxes(64)
    full = (boxes > 0).float()
    augment = BatchAugment(
        3, rotation=0, scaling=0.2, translation=0.1, affine_probability=1, intensity_probability=0, flips=(), turns=None
    )
    out = augment(batch_of(boxes, full), seed=1)
    outside = out["boxes"] == 255
    assert bool(outside.any()), "beyond the frame nothing is known"
    assert torch.equal(outside[:, 0], outside[:, 2])
    bounds = torch.tensor([1.0, torch.inf]).expand(64, 3, 1, 2)
    moved = BoxStrips().move(bounds, out["matrix"], out["cut"])[:, 1:, :, 0]
    measure = BoxStrips()(out["image"], region=out["boxes"])[:, 1:]
    assert bool((measure.nan_to_num(torch.inf) >= moved).all())
    assert bool(moved.isfinite().any())


def test_a_class_is_cut_when_its_box_leaves_the_frame():
    boxes = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    boxes[0, 1, 2:6, 8:12], boxes[0, 2, 10:16, 8:12] = 1, 1
    matrix = torch.eye(3, dtype=torch.float64)[None].clone()
    matrix[0, 0, 2] = -2.0
    augment = BatchAugment(3)
    weak = torch.full((1, 1, 20, 20), 255, dtype=torch.uint8)
    assert augment.cut(matrix, weak, (20, 20)).tolist() == [[True, True, True]], "a tenth of the domain left"
    assert augment.cut(matrix, weak, (20, 20), boxes).tolist() == [[True, False, False]]
    matrix[0, 0, 2] = -3.0
    assert augment.cut(matrix, weak, (20, 20), boxes).tolist() == [[True, True, False]]
    boxes[:] = 255
    assert augment.cut(matrix, weak, (20, 20), boxes).tolist() == [[True, True, True]]


def volume(number: int = 0) -> dict:
    affine = torch.eye(4)
    boxes = torch.zeros(3, 6, 5, 4, dtype=torch.uint8)
    boxes[1, 1:3, 1:3, number], boxes[2, 2:5, 2:4, 3] = 1, 2
    return {
        "case": f"c{number}",
        "image": MetaTensor(torch.rand(1, 6, 5, 4), affine=affine),
        "weak_label": MetaTensor(torch.full((1, 6, 5, 4), 255, dtype=torch.uint8), affine=affine),
        "boxes": MetaTensor(boxes, affine=affine),
    }


def test_stores_take_boxes_where_they_are_asked_to():
    cases = [volume(0), volume(1)]
    assert "boxes" not in SliceStore(cases).tensors
    store = SliceStore(cases, maps=["weak_label", "boxes"])
    batch = store.batch([0, 7], seed=0)
    assert batch["boxes"].shape == (2, 3, 6, 5)
    assert batch["boxes"].dtype == torch.uint8
    assert torch.equal(batch["boxes"][0], cases[0]["boxes"][..., 0].as_tensor())
    assert torch.equal(batch["boxes"][1], cases[1]["boxes"][..., 3].as_tensor())
    patches = PatchStore(cases, [8, 4, 4], maps=["boxes"]).batch([0], seed=0)["boxes"]
    assert patches.shape == (1, 3, 8, 4, 4)
    assert bool((patches[:, :, 0] == 255).all()), "padding is unknown"
    small = {**cases[1], "boxes": cases[1]["boxes"][:, :5]}
    with pytest.raises(ValueError, match=r"case 'c1': boxes has shape \(5, 5, 4\), but the image has \(6, 5, 4\)"):
        SliceStore([cases[0], small], maps=["boxes"])


def test_tags_of_overlapping_boxes():
    weak = torch.full((1, 4, 4, 2), 255, dtype=torch.uint8)
    boxes = torch.zeros(3, 4, 4, 2, dtype=torch.uint8)
    boxes[1, ..., 0], boxes[2, 1:3, 1:3, 0] = 1, 1
    _, rows = WeakTags(3)(weak, boxes=boxes)
    assert rows.tolist() == [[0, 1, 1], [-1, -1, -1]], "a slice that boxes cover has no background of its own"
    with pytest.raises(ValueError, match=r"case 'a': boxes have shape \(2, 4, 4, 2\), but 3 classes"):
        WeakTags(3)(weak, boxes=boxes[:2], case="a")


def test_the_number_of_classes_can_be_given():
    assert LoadCased(num_classes=4).num_classes == 4
