# SPDX-License-Identifier: Apache-2.0
"""The augmentation of the released code on mutual information: rotation, flips, a crop of a random place, jitter."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from wss_monai.functional.descriptors import Centroid, Size
from wss_monai.transforms import JitterAugment

PLAIN = {"flips": (), "turns": None, "rotation": 0.0, "scaling": 0.0, "translation": 0.0, "gamma": 0.0, "gain": 0.0}
PLAIN |= {"noise": 0.0, "affine_probability": 1.0, "intensity_probability": 1.0, "contrast": 0.0}


def jitter(**settings) -> JitterAugment:
    return JitterAugment(2, **{**PLAIN, **settings})


def batch_of(image: torch.Tensor, **more) -> dict:
    return {"image": image, "spacing": torch.ones(len(image), image.dim() - 2), **more}


class TestCrop:
    def test_every_place_inside_is_drawn_equally_often_and_copied(self):
        image = torch.arange(30.0).view(1, 1, 5, 6).expand(3000, 1, 5, 6) / 30
        label = (image * 30).to(torch.uint8)
        out = jitter(crop=(3, 5))(batch_of(image, label=label, weak_label=label), 3)
        assert out["image"].shape == (3000, 1, 3, 5)
        corners = (out["image"][:, 0, 0, 0] * 30).round().int()
        expected = corners[:, None, None] + torch.arange(3)[:, None] * 6 + torch.arange(5)
        torch.testing.assert_close(out["image"][:, 0] * 30, expected.float(), atol=1e-4, rtol=0)
        assert torch.equal(out["label"][:, 0].int(), expected.int())
        counts = Counter(corners.tolist())
        assert sorted(counts) == [0, 1, 6, 7, 12, 13] and min(counts.values()) > 420  # 500 each on the average

    def test_bounds_move_along_and_a_class_that_is_cut_keeps_its_upper_bound_alone(self):
        label = torch.zeros(64, 1, 24, 24, dtype=torch.uint8)
        label[:, :, 9:14, 8:12] = 1
        batch = batch_of((label == 1).float(), label=label, weak_label=label)
        augment = jitter(crop=(20, 16), flips=(0, 1))
        out = augment(batch, 5)
        hot = torch.cat([out["label"] == k for k in range(2)], 1).double()
        steps = (out["spacing_before"], out["spacing"])
        inside = hot[:, 1].flatten(1).sum(1) == 20
        assert 10 < int(inside.sum()) <= 64 and not bool(out["cut"][~inside, 1].logical_not().any())
        for descriptor in (Size(), Centroid()):
            before = descriptor(torch.cat([label == k for k in range(2)], 1).double())
            moved = descriptor.move(torch.stack((before, before), -1), out["matrix"], out["cut"], steps)
            found = descriptor(hot)[:, 1]
            whole = inside & ~out["cut"][:, 1]
            assert bool(whole.any())
            torch.testing.assert_close(moved[whole, 1, :, 0], found[whole])
            assert bool((found <= moved[:, 1, :, 1] + 1e-9).all() and (found >= moved[:, 1, :, 0] - 1e-9).all())

    def test_a_group_gets_one_place_and_minus_one_keeps_an_axis(self):
        image = torch.rand(1, 1, 9, 8).expand(12, 1, 9, 8)
        group = torch.tensor([4, 4, 4, 4, 7, 7, 7, 7, 1, 1, 1, 1])
        out = jitter(crop=(-1, 3))(batch_of(image, group=group), 0)["image"]
        assert out.shape == (12, 1, 9, 3)
        assert all(
            torch.equal(out[first : first + 4], out[first : first + 1].expand(4, -1, -1, -1)) for first in (0, 4, 8)
        )

    def test_a_crop_that_does_not_fit_is_refused(self):
        with pytest.raises(ValueError, match=r"a crop of \[9, 4\] does not fit images of \[8, 8\]"):
            jitter(crop=(9, 4))(batch_of(torch.rand(1, 1, 8, 8)), 0)
        with pytest.raises(ValueError, match="crop must have an extent of at least 1"):
            jitter(crop=(0, 4))
        with pytest.raises(ValueError, match="levels must be at least 2"):
            jitter(levels=1)


def test_the_rotation_comes_before_the_flip():
    """A point on axis 1, turned by a and then flipped along axis 0, lands at (sin a, cos a) times its distance."""
    augment = jitter(flips=(0,), rotation=45.0)
    plan = augment.plan(batch_of(torch.zeros(40, 1, 9, 9)), 2)
    flipped = torch.linalg.det(plan.matrix[:, :2, :2]) < 0
    assert 5 < int(flipped.sum()) < 35
    angle = torch.atan2(-plan.matrix[:, 0, 1], plan.matrix[:, 1, 1])  # of a rotation [[cos, -sin], [sin, cos]]
    turned = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1)
    torch.testing.assert_close(plan.matrix[~flipped, :2, :2].flatten(1), turned[~flipped])
    angle = torch.atan2(plan.matrix[:, 0, 1], plan.matrix[:, 1, 1])  # its first row is negated behind it
    turned = torch.stack((-angle.cos(), angle.sin(), angle.sin(), angle.cos()), 1)
    torch.testing.assert_close(plan.matrix[flipped, :2, :2].flatten(1), turned[flipped])


class TestPicturesOf8Bit:
    """Against Pillow, whose enhancers the released code calls."""

    def picture(self) -> torch.Tensor:
        return torch.from_numpy(np.random.RandomState(0).randint(0, 256, (1, 1, 40, 30))).float() / 255

    def test_brightness(self):
        image_module, enhance = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageEnhance")
        picture = self.picture().expand(6, -1, -1, -1)
        augment = jitter(gain=0.5, levels=256)
        plan = augment.plan(batch_of(picture), 1)
        out = (augment(batch_of(picture), 1)["image"] * 255).round().byte()
        original = image_module.fromarray((picture[0, 0] * 255).round().byte().numpy())
        for sample, factor in enumerate(plan.intensities[1].tolist()):
            wanted = np.asarray(enhance.Brightness(original).enhance(factor))
            np.testing.assert_array_equal(out[sample, 0].numpy(), wanted)

    def test_contrast(self):
        image_module, enhance = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageEnhance")
        picture = self.picture()
        out = (jitter(contrast=0.5, levels=256)(batch_of(picture), 4)["image"] * 255).round().byte()[0, 0].numpy()
        original = image_module.fromarray((picture[0, 0] * 255).round().byte().numpy())
        inside = (out > 0) & (out < 255)
        about = np.polyfit(np.asarray(original)[inside], out[inside], 1)[0]
        near = np.linspace(about - 0.005, about + 0.005, 1001)
        assert any((np.asarray(enhance.Contrast(original).enhance(factor)) == out).all() for factor in near)

    def test_both_orders_come_up(self):
        """Of 128 and 255, brighter by g > 1.34. Contrast last: 255 falls where it is lowered; contrast first: not."""
        picture = torch.tensor([128.0, 255.0]).view(1, 1, 2, 1).expand(400, 1, 2, 1) / 255
        augment = jitter(contrast=1.0, gain=0.5, levels=256)
        gain = augment.plan(batch_of(picture), 8).intensities[1].float()
        low, high = (augment(batch_of(picture), 8)["image"][:, 0, :, 0] * 255)[gain > 1.34].T
        alone = (128 * gain[gain > 1.34]).floor()  # 128 of which the brightness alone was changed
        last, first = high < 250, (high > 254) & (low > alone + 3)
        assert len(low) > 30 and min(float(last.float().mean()), float(first.float().mean())) > 0.1


def test_without_levels_and_crop_nothing_else_changes():
    image = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(jitter()(batch_of(image), 1)["image"], image)
    assert "crop=None, levels=None" in repr(jitter())
