# SPDX-License-Identifier: Apache-2.0
"""Batch augmentation: what it says about the geometry holds for the augmented dense label."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wss_monai.functional.descriptors import DESCRIPTORS, Centroid, Size, Spread
from wss_monai.functional.weak.generators import random_blob
from wss_monai.functional.weak.scribbles import scribble
from wss_monai.transforms import BatchAugment

INF = math.inf
ALL = [descriptor() for descriptor in DESCRIPTORS]
EXACT = {"affine_probability": 0.0, "intensity_probability": 0.0}
AFFINE = {"affine_probability": 1.0, "intensity_probability": 0.0}


def ellipses(
    count: int, shape: tuple[int, ...], seed: int = 0, radii: tuple[float, float] = (10, 20), margin: float = 24
) -> torch.Tensor:
    """Index maps (B, 1, *shape) of one ellipsoid each, its centre at least ``margin`` voxels from the frame."""
    R = np.random.RandomState(seed)
    axes = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    maps = []
    for _ in range(count):
        radius = R.uniform(*radii, len(shape))
        place = [R.uniform(min(margin, n / 2), n - 1 - min(margin, n / 2)) for n in shape]
        angle = R.uniform(0, math.pi)
        offset = [x - c for x, c in zip(axes, place, strict=True)]
        offset[:2] = [
            math.cos(angle) * offset[0] + math.sin(angle) * offset[1],
            math.cos(angle) * offset[1] - math.sin(angle) * offset[0],
        ]
        maps.append(sum((o / r) ** 2 for o, r in zip(offset, radius, strict=True)) < 1)
    return torch.from_numpy(np.stack(maps)[:, None].astype(np.uint8))


def batch_of(label: torch.Tensor, spacing: tuple[float, ...] | None = None, **more) -> dict:
    dimensions = label.dim() - 2
    steps = torch.tensor(spacing or (1.0,) * dimensions).repeat(len(label), 1)
    return {"image": (label == 1).float(), "label": label, "weak_label": label, "spacing": steps, **more}


def one_hot(label: torch.Tensor, classes: int = 2) -> torch.Tensor:
    return torch.cat([label == k for k in range(classes)], 1).double()


def tight(descriptor, batch: dict) -> torch.Tensor:
    measure = descriptor(one_hot(batch["label"]), spacing=batch["spacing"])
    return torch.stack((measure, measure), -1)


def moved(descriptor, bounds: torch.Tensor, out: dict) -> torch.Tensor:
    return descriptor.move(bounds, out["matrix"], out["cut"], (out["spacing_before"], out["spacing"]))


def inside(descriptor, batch: dict, out: dict, widen: float) -> torch.Tensor:
    """Whether the measure (B,) of the augmented label lies in the moved bounds, widened by that part.

    A coordinate is widened by that part of the extent instead: its own value says nothing.
    """
    bounds = moved(descriptor, tight(descriptor, batch), out)[:, 1]
    measure = descriptor(one_hot(out["label"]), spacing=out["spacing"])[:, 1]
    room = widen * measure.abs()
    if descriptor.name == "centroid":
        room = widen * torch.tensor(batch["image"].shape[2:])
    return ((measure >= bounds[..., 0] - room) & (measure <= bounds[..., 1] + room)).all(-1)


@pytest.fixture(scope="module")
def drawn() -> dict[str, dict]:
    """Batches of 300 ellipses, some at the frame, drawn by scribbles and by small blobs."""
    R = np.random.RandomState(0)
    label = ellipses(300, (96, 96), radii=(8, 24), margin=12)
    batches = {}
    for name, draw in (("scribble", scribble), ("blob", random_blob)):
        weak = np.stack([draw(index.numpy(), R, background=True) for index in label[:, 0]])
        batches[name] = batch_of(label) | {"weak_label": torch.from_numpy(weak[:, None])}
    return batches


class TestFlipsAndTurns:
    @pytest.mark.parametrize("descriptor", ALL, ids=lambda d: d.name)
    @pytest.mark.parametrize(
        ("shape", "spacing"),
        [
            ((32, 32), (1.5, 1.5)),
            ((31, 31), (1.0, 2.5)),
            ((16, 16, 10), (1.0, 1.0, 4.0)),
            ((16, 16, 9), (0.7, 2.0, 4.0)),
        ],
    )
    def test_moved_bounds_equal_the_measure(self, descriptor, shape, spacing):
        label = ellipses(64, shape, radii=(2, 6), margin=4)  # some reach out of the frame: nothing may be called cut
        label[:, :, :9][label[:, :, :9] == 1] = 0  # no symmetry left
        label[:, 0, 12, 12] = 1
        batch = batch_of(label, spacing)
        flips = (0, 1, 2)[: len(shape)]
        seen = set()
        for seed in range(2):
            out = BatchAugment(2, flips=flips, **EXACT)(batch, seed)
            assert not out["cut"].any()
            measure = descriptor(one_hot(out["label"]), spacing=out["spacing"])
            bounds = moved(descriptor, tight(descriptor, batch), out)
            torch.testing.assert_close(bounds[:, 1, :, 0], measure[:, 1], rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(bounds[:, 1, :, 1], measure[:, 1], rtol=1e-6, atol=1e-6)
            seen |= {tuple(m.flatten().tolist()) for m in out["matrix"][:, :-1, :-1].round()}
        assert len(seen) == 4 * 2 ** (len(shape) - 1)  # every combination was drawn

    def test_maps_and_image_are_permuted_exactly(self):
        label = torch.randint(0, 4, (16, 1, 12, 12), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        label[:, :, 3, 5] = 255
        batch = batch_of(label)
        batch["image"] = label.float() / 4
        out = BatchAugment(4, **EXACT)(batch, 0)
        torch.testing.assert_close(out["image"], out["label"].float() / 4, rtol=0, atol=1e-3)
        for k in (0, 1, 2, 3, 255):
            assert ((out["label"] == k).flatten(1).sum(1) == (label == k).flatten(1).sum(1)).all()

    def test_spacing_turns_along(self):
        out = BatchAugment(2, **EXACT)(batch_of(ellipses(64, (32, 32)), (1.0, 3.0)), 0)
        swapped = out["matrix"][:, 0, 0].abs() < 0.5
        assert 0 < int(swapped.sum()) < 64
        assert out["spacing"][swapped].unique(dim=0).tolist() == [[3.0, 1.0]]
        assert out["spacing"][~swapped].unique(dim=0).tolist() == [[1.0, 3.0]]
        assert out["spacing_before"].unique(dim=0).tolist() == [[1.0, 3.0]]

    def test_unequal_extents_cannot_be_turned(self):
        batch = batch_of(ellipses(2, (24, 32), margin=10))
        with pytest.raises(
            ValueError, match=r"quarter turns need equal extents along the axes \[0, 1\], got \(24, 32\)"
        ):
            BatchAugment(2)(batch, 0)
        assert BatchAugment(2, turns=None)(batch, 0)["image"].shape == batch["image"].shape


class TestAffine:
    @pytest.mark.parametrize("descriptor", ALL, ids=lambda d: d.name)
    @pytest.mark.parametrize(
        ("shape", "spacing"),
        [((96, 96), (1.0, 1.0)), ((96, 96), (1.0, 1.8)), ((40, 40, 28), (1.5, 1.5, 2.0))],
    )
    def test_of_soft_labels_the_measure_lies_in_the_moved_bounds(self, descriptor, shape, spacing):
        """Measured on the linearly resampled label with soft edges, which resampling hardly changes."""
        flat = len(shape) == 2
        label = ellipses(100 if flat else 24, shape, radii=(11, 17) if flat else (6, 9), margin=46 if flat else 18)
        batch = batch_of(label, spacing)
        for _ in range(2):
            batch["image"] = (F.avg_pool2d if flat else F.avg_pool3d)(batch["image"], 3, 1, 1)
        out = BatchAugment(2, flips=range(len(shape)), translation=0.02, **AFFINE)(batch, 0)
        measure = descriptor(batch["image"], spacing=batch["spacing"])
        bounds = moved(descriptor, torch.stack((measure, measure), -1).expand(-1, 2, -1, -1), out)[:, 1]
        after = descriptor(out["image"], spacing=out["spacing"])[:, 0]
        room = 0.02 if descriptor.name == "centroid" else after * (0.005 if flat else 0.01)
        held = ((after >= bounds[..., 0] - room) & (after <= bounds[..., 1] + room)).all(-1)
        free = ~out["cut"][:, 1]
        assert int(free.sum()) > 10
        assert held[free].all()

    @pytest.mark.parametrize("descriptor", [Size(), Centroid(), Spread()], ids=lambda d: d.name)
    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 1.8)])
    def test_of_hard_labels_the_measure_lies_in_the_moved_bounds(self, descriptor, spacing):
        batch = batch_of(ellipses(100, (128, 128), radii=(16, 24), margin=60), spacing)
        out = BatchAugment(2, translation=0.02, **AFFINE)(batch, 0)
        assert not out["cut"][:, 1].any()
        assert inside(descriptor, batch, out, 0.02).all()

    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 2.0)])
    def test_rotation_and_scaling_are_similarities_in_mm(self, spacing):
        out = BatchAugment(2, flips=(), turns=None, scaling=0.2, rotation=40, **AFFINE)(
            batch_of(ellipses(50, (48, 48)), spacing), 1
        )
        steps = torch.tensor(spacing).double()
        in_mm = steps[:, None] * out["matrix"][:, :2, :2] / steps
        stretch = torch.linalg.svdvals(in_mm)
        torch.testing.assert_close(stretch[:, 0], stretch[:, 1])
        assert 0.8 <= stretch.min() < 0.9
        assert 1.1 < stretch.max() <= 1.2
        angle = torch.atan2(in_mm[:, 1, 0], in_mm[:, 0, 0]).rad2deg().abs()
        assert 30 < angle.max() <= 40

    def test_half_of_the_samples_are_left_alone(self):
        out = BatchAugment(2, flips=(), turns=None)(batch_of(ellipses(200, (32, 32), margin=8)), 0)
        same = (out["matrix"] == torch.eye(3)).flatten(1).all(1)
        assert 0.4 < same.double().mean() < 0.6

    def test_a_volume_without_turns_rotates_in_its_slices(self):
        batch = batch_of(ellipses(4, (20, 16, 8), radii=(3, 5), margin=8), (1.0, 1.0, 8.0))
        out = BatchAugment(2, flips=(), turns=None, **AFFINE)(batch, 0)
        assert (out["matrix"][:, 0, 1].abs() > 1e-3).all()
        assert out["matrix"][:, 2, :2].abs().max() == out["matrix"][:, :2, 2].abs().max() == 0


class TestCuts:
    """Of draws that take something out of the frame, hardly one leaves a bound that does not hold."""

    @staticmethod
    def lost(label: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Part (B,) of the organ that left the frame."""
        voxels = (label[:, 0] == 1).nonzero()
        matrix = matrix[voxels[:, 0]]
        position = (matrix[:, :2, :2] @ voxels[:, 1:, None].double())[..., 0] + matrix[:, :2, 2]
        gone = ((position < -0.5) | (position > 95.5)).any(1).double()
        size = (label == 1).flatten(1).sum(1)
        return torch.zeros(len(label)).double().index_add(0, voxels[:, 0], gone) / size

    @pytest.mark.parametrize("translation", [0.05, 0.3])
    @pytest.mark.parametrize("descriptor", [Size(), Centroid(), Spread()], ids=lambda d: d.name)
    def test_scribbles(self, drawn, descriptor, translation):
        batch = drawn["scribble"]
        out = BatchAugment(2, translation=translation, **AFFINE)(batch, 0)
        lost = self.lost(batch["label"], out["matrix"])
        draws = (out["label"] == 255).flatten(1).any(1)
        assert int((lost > 0.02).sum()) > 20
        good = inside(descriptor, batch, out, 0.04)  # the interval itself widened by 2 %, and 2 % for resampling
        assert good[draws].double().mean() >= 0.99
        assert good[lost > 0.02].double().mean() >= 0.99

    @pytest.mark.parametrize("translation", [0.05, 0.3])
    def test_points(self, drawn, translation):
        """A small blob does not say how far the organ reaches: some cuts of organs at the frame stay unseen."""
        batch = drawn["blob"]
        out = BatchAugment(2, translation=translation, **AFFINE)(batch, 0)
        lost = self.lost(batch["label"], out["matrix"])
        unseen = (lost > 0.02) & ~out["cut"][:, 1]
        assert int((lost > 0.02).sum()) > 20
        assert unseen.double().mean() <= 0.05
        assert lost[unseen].mean() < 0.2

    def test_what_stays_far_from_the_frame_keeps_its_bounds(self):
        batch = batch_of(ellipses(200, (96, 96), radii=(8, 14), margin=46))
        out = BatchAugment(2, **AFFINE)(batch, 0)
        assert (out["label"] == 255).flatten(1).any(1).double().mean() > 0.9
        assert out["cut"][:, 1].double().mean() < 0.02

    def test_only_faces_that_lose_something_cut(self):
        label = torch.zeros(2, 1, 40, 40, dtype=torch.uint8)
        label[0, 0, 2:6, 18:22] = 1
        label[1, 0, 34:38, 18:22] = 1
        matrix = torch.eye(3).double().repeat(2, 1, 1)
        matrix[:, 0, 2] = 4  # everything moves away from the first face, out of the last
        assert BatchAugment(2).cut(matrix, label, (40, 40))[:, 1].tolist() == [False, True]

    def test_classes_without_labelled_voxels_go_by_the_lost_domain(self):
        label = torch.full((3, 1, 40, 40), 255, dtype=torch.uint8)
        label[:, 0, 20, 20] = 1
        matrix = torch.eye(3).double().repeat(3, 1, 1)
        matrix[:, 0, 2] = torch.tensor([0, 1, 3])  # 0, 2.5 and 7.5 %
        cut = BatchAugment(4).cut(matrix, label, (40, 40))
        assert cut.tolist() == [[False] * 4, [False] * 4, [True, False, True, True]]
        assert BatchAugment(2).cut(matrix, None, (40, 40)).tolist() == [[False] * 2, [False] * 2, [True] * 2]

    def test_of_a_cut_class_the_upper_size_stays(self):
        label = torch.zeros(1, 1, 40, 40, dtype=torch.uint8)
        label[0, 0, 30:38, 10:20] = 1
        batch = batch_of(label)
        augment = BatchAugment(2, flips=(), turns=None, rotation=0, scaling=0, translation=0.3, **AFFINE)
        cuts = 0
        for seed in range(20):
            out = augment(batch, seed)
            bounds = moved(Size(), tight(Size(), batch), out)[0, 1, 0]
            assert bounds[1] == 80
            assert (bounds[0] == -INF) == out["cut"][0, 1]
            assert one_hot(out["label"])[0, 1].sum() <= bounds[1]
            assert one_hot(out["label"])[0, 1].sum() >= bounds[0]
            cuts += int(out["cut"][0, 1])
        assert 3 < cuts < 20


@pytest.mark.parametrize("shape", [(12, 9), (7, 6, 5), (8, 1), (6, 2)])
@pytest.mark.parametrize("share", [0.05, 0.9])
def test_what_is_drawn_reaches_as_far_as_its_outermost_voxel(shape, share):
    """Least and greatest coordinates of the moved voxels of each class, against all voxels one by one."""
    generator = torch.Generator().manual_seed(len(shape))
    augment = BatchAugment(3, turns=None, rotation=80.0, scaling=0.4, translation=0.3, affine_probability=1.0)
    weak = torch.randint(0, 3, (4, 1, *shape), generator=generator).to(torch.uint8)
    weak[torch.rand(weak.shape, generator=generator) > share] = 255
    matrix, _ = augment.draw(4, shape, torch.ones(4, len(shape), dtype=torch.float64), generator)
    lower, upper = map(torch.from_numpy, augment._drawn_box(matrix.numpy(), weak, np.arange(4)))
    for sample, index in ((s, k) for s in range(4) for k in range(3)):
        places = (weak[sample, 0] == index).nonzero().double()
        if not len(places):
            assert bool((lower[sample, index] == INF).all()) and bool((upper[sample, index] == -INF).all())
            continue
        moved = places @ matrix[sample, :-1, :-1].T + matrix[sample, :-1, -1]
        torch.testing.assert_close(lower[sample, index], moved.amin(0), rtol=0, atol=1e-12)
        torch.testing.assert_close(upper[sample, index], moved.amax(0), rtol=0, atol=1e-12)


class TestTags:
    """A class that may have been cut, and of which nothing drawn is left, may be there or not."""

    # classes: 0 never drawn, 1 drawn in the middle, 2 drawn where the frame cuts, 3 as 2 but a voxel stays, 4 absent
    TAGS = [1, 1, 1, 1, 0]

    @staticmethod
    def weak() -> torch.Tensor:
        weak = torch.full((2, 1, 40, 40), 255, dtype=torch.uint8)
        weak[:, :, 20, 20] = 1
        weak[:, :, 38:, 10] = 2
        weak[:, :, 34:, 30] = 3
        return weak

    @staticmethod
    def shift(augment: BatchAugment, voxels: float) -> BatchAugment:
        """Of two samples the first stays and the second moves out of the last face of the first axis."""

        def draw(count, shape, spacing, generator, group):
            matrix = torch.eye(len(shape) + 1).double().repeat(count, 1, 1)
            matrix[1, 0, -1] = voxels
            return matrix, spacing

        augment.draw = draw
        return augment

    @pytest.mark.parametrize("key", ["slice_tags", "tags"])
    def test_what_is_known_after_a_shift(self, key):
        tags = torch.tensor([self.TAGS, self.TAGS], dtype=torch.int8)
        batch = batch_of(self.weak(), **{key: tags})
        out = self.shift(BatchAugment(5, intensity_probability=0), 4)(batch, 0)
        assert out["cut"].tolist() == [[False] * 5, [True, False, True, True, True]]
        assert out[key].tolist() == [self.TAGS, [-1, 1, -1, 1, 0]]
        assert out[key].dtype == torch.int8
        assert batch[key].tolist() == [self.TAGS, self.TAGS]  # the store's own tags stay
        assert not {"slice_tags", "tags"} - {key} & set(out)

    def test_unknown_stays_unknown(self):
        out = self.shift(BatchAugment(5, intensity_probability=0), 4)(
            batch_of(self.weak(), tags=torch.full((2, 5), -1)), 0
        )
        assert (out["tags"] == -1).all()

    def test_a_small_shift_and_no_weak_label(self):
        tags = torch.tensor([self.TAGS, self.TAGS])
        batch = batch_of(self.weak(), tags=tags)
        assert self.shift(BatchAugment(5), 1)(batch, 0)["tags"].tolist()[1] == [1, 1, 1, 1, 0]  # 2.5 % of the domain
        del batch["weak_label"]
        out = self.shift(BatchAugment(5), 4)(batch, 0)
        assert out["tags"].tolist() == [self.TAGS, [-1, -1, -1, -1, 0]]

    def test_flips_and_turns_keep_all(self):
        tags = torch.tensor([self.TAGS, self.TAGS])
        assert torch.equal(BatchAugment(5, **EXACT)(batch_of(self.weak(), tags=tags), 1)["tags"], tags)

    def test_a_volume(self):
        weak = torch.full((2, 1, 20, 8, 6), 255, dtype=torch.uint8)
        weak[:, :, 19, 4, 3] = 1
        batch = batch_of(weak, tags=torch.tensor([[-1, 1], [-1, 1]]))
        assert self.shift(BatchAugment(2, turns=None), 3)(batch, 0)["tags"].tolist() == [[-1, 1], [-1, -1]]

    def test_tags_are_kept_where_asked(self):
        """A shift by a tenth, as published, with nothing drawn: the tags of nearly all images would be lost."""
        shifts = {"turns": None, "flips": (), "rotation": 0, "scaling": 0, "translation": 0.1, "affine_probability": 1}
        batch = {"image": torch.ones(16, 1, 40, 40), "spacing": torch.ones(16, 2), "tags": torch.ones(16, 2)}
        lost = BatchAugment(2, **shifts)(batch, 0)
        kept = BatchAugment(2, **shifts, keep_tags=True)(batch, 0)
        assert torch.equal(kept["image"], lost["image"])
        assert (lost["tags"] == -1).float().mean() > 0.5 and torch.equal(kept["tags"], batch["tags"])

    def test_tags_of_another_shape(self):
        with pytest.raises(ValueError, match=r"tags must be \(B, K\) = \(2, 5\) in a batch, got \(2, 4\)"):
            BatchAugment(5)(batch_of(self.weak(), tags=torch.ones(2, 4)), 0)


class TestGeometry:
    def test_one_voxel_goes_where_the_matrix_says(self):
        for shape in ((33, 33), (13, 13, 9)):
            weak = torch.full((40, 1, *shape), 255, dtype=torch.uint8)
            place = [n // 2 + 2 for n in shape]
            place[1] -= 4
            window = tuple(slice(p - 1, p + 2) for p in place)
            weak[(slice(None), 0, *window)] = 1  # a cube, so that the nearest voxel of its centre is surely in it
            weak[(slice(None), 0, *place)] = 2
            out = BatchAugment(3, translation=0.02, scaling=0.05, **AFFINE)(batch_of(weak), 5)
            target = out["matrix"] @ torch.tensor([*place, 1.0]).double()
            for sample in range(40):
                index = tuple(int(v) for v in target[sample, :-1].round())
                assert out["weak_label"][(sample, 0, *index)] in (1, 2)
                found = (out["weak_label"][sample, 0] == 2).nonzero().double()
                if len(found):
                    assert (found.mean(0) - target[sample, :-1]).abs().max() < 1

    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 2.0)])
    def test_image_and_labels_move_alike(self, spacing):
        batch = batch_of(ellipses(60, (64, 64), margin=20), spacing)
        out = BatchAugment(2, translation=0.2, **AFFINE)(batch, 2)
        bright = out["image"] > 0.5
        label = out["label"] == 1
        overlap = 2 * (bright & label).flatten(1).sum(1) / (bright.flatten(1).sum(1) + label.flatten(1).sum(1))
        assert overlap.min() > 0.97
        assert torch.equal(out["label"], out["weak_label"])

    def test_outside_is_dark_and_unlabelled(self):
        label = torch.zeros(8, 1, 32, 32, dtype=torch.uint8)
        batch = batch_of(label)
        batch["image"] = torch.ones(8, 1, 32, 32)
        out = BatchAugment(2, translation=0.5, **AFFINE)(batch, 0)
        outside = out["label"] == 255
        assert outside.flatten(1).any(1).all()
        assert out["label"][~outside].max() == 0
        assert out["image"][outside].max() <= 0.51
        assert out["image"][~outside].min() >= 0.24  # corners of the frame blend with the dark

    def test_a_group_gets_one_draw(self):
        label = ellipses(6, (32, 32), margin=10)
        group = torch.tensor([7, 7, 3, 7, 3, 9])
        out = BatchAugment(2, **AFFINE)(batch_of(label, (1.0, 2.0), group=group), 4)
        for value in (7, 3, 9):
            assert (out["matrix"][group == value] == out["matrix"][group == value][0]).all()
            assert (out["spacing"][group == value] == out["spacing"][group == value][0]).all()
        leaders = out["matrix"][[0, 2, 5]].flatten(1)
        assert len(leaders.unique(dim=0)) == 3

    def test_a_group_sums_to_its_moved_volume(self):
        label = ellipses(5, (48, 48), radii=(6, 10), margin=22)
        group = torch.zeros(5, dtype=torch.int64)
        batch = batch_of(label, group=group)
        out = BatchAugment(2, translation=0.02, **AFFINE)(batch, 1)
        before, after = one_hot(batch["label"])[:, 1].sum(), one_hot(out["label"])[:, 1].sum()
        determinant = torch.linalg.det(out["matrix"][0, :2, :2]).abs()
        assert after / before == pytest.approx(determinant.item(), rel=0.02)


class TestDraws:
    def test_same_seed_same_result(self):
        batch = batch_of(ellipses(8, (32, 32), margin=10))
        augment = BatchAugment(2)
        state = torch.get_rng_state()
        first, second, other = augment(batch, 11), augment(batch, 11), augment(batch, 12)
        assert torch.equal(torch.get_rng_state(), state)  # the global state is left alone
        for key in ("image", "label", "weak_label", "matrix", "spacing", "cut"):
            assert torch.equal(first[key], second[key])
        assert not torch.equal(first["matrix"], other["matrix"])
        assert not torch.equal(first["image"], other["image"])
        assert len(first["matrix"].flatten(1).unique(dim=0)) > 4

    @pytest.mark.parametrize("turns", [None, (1, 0)])
    @pytest.mark.parametrize(("shape", "steps"), [((24, 24), (1.0, 2.5)), ((12, 12, 5), (0.7, 1.3, 4.0))])
    def test_a_plan_is_what_a_generator_gives_number_by_number(self, shape, steps, turns):
        """In this order, whatever is drawn at once; so a run goes on as it began."""
        count, dimensions = 7, len(shape)
        augment = BatchAugment(2, flips=(1, 0), turns=turns, affine_probability=0.6, intensity_probability=0.6)
        batch = {"image": torch.zeros(count, 1, *shape), "spacing": torch.tensor(steps).repeat(count, 1)}
        plan = augment.plan(batch, 41)
        generator = torch.Generator().manual_seed(41)

        def draw(*size: int) -> torch.Tensor:
            return torch.rand(size or (count,), generator=generator, dtype=torch.float64)

        flips = {axis: draw() < 0.5 for axis in (1, 0)}
        times = torch.zeros(count) if turns is None else torch.randint(0, 4, (count,), generator=generator)
        drawn, angle, size, shift = draw() < 0.6, draw(), draw(), draw(count, dimensions)
        for sample in range(count):
            spacing = torch.tensor(steps, dtype=torch.float32).double()
            linear = torch.eye(dimensions).double()
            for axis, flip in flips.items():
                linear[axis] *= -1 if flip[sample] else 1
            for _ in range(int(times[sample])):  # turns (1, 0): what lay along axis 1 comes to lie along axis 0
                linear[[1, 0]] = torch.stack((-linear[0], linear[1]))
                spacing[[1, 0]] = spacing[[0, 1]]
            assert plan.spacing[sample].tolist() == spacing.float().tolist()
            turn, offset = torch.eye(dimensions).double(), torch.zeros(dimensions).double()
            if drawn[sample]:
                first, second = turns or (0, 1)
                radians = math.radians(15) * (2 * angle[sample] - 1)
                turn[first, first] = turn[second, second] = radians.cos()
                turn[first, second], turn[second, first] = -radians.sin(), radians.sin()
                turn *= 1 + 0.1 * (2 * size[sample] - 1)
                offset = 0.05 * torch.tensor(shape) * (2 * shift[sample] - 1)
            linear = torch.diag(1 / spacing) @ turn @ torch.diag(spacing) @ linear
            centre = (torch.tensor(shape).double() - 1) / 2
            torch.testing.assert_close(plan.matrix[sample, :-1, :-1], linear, rtol=0, atol=1e-12)
            torch.testing.assert_close(plan.matrix[sample, :-1, -1], centre - linear @ centre + offset)
        changed, gamma, gain, noise = draw() < 0.6, draw(), draw(), draw()
        assert 0 < int(changed.sum()) < count and plan.chosen.tolist() == changed.nonzero()[:, 0].tolist()
        values = torch.stack((2 ** (0.4 * (2 * gamma - 1)), 1 + 0.1 * (2 * gain - 1), 0.05 * noise))
        torch.testing.assert_close(plan.intensities, values[:, changed])
        assert plan.seed == int(torch.randint(0, 2**31 - 1, (1,), generator=generator))

    def test_the_batch_is_not_changed(self):
        batch = batch_of(ellipses(4, (32, 32), margin=10), tags=torch.ones(4, 2), other=torch.ones(4))
        before = {key: value.clone() for key, value in batch.items()}
        out = BatchAugment(2)(batch, 0)
        for key, value in before.items():
            assert torch.equal(batch[key], value)
        assert out["other"] is batch["other"]

    @pytest.mark.parametrize("keys", [("image",), ("image", "weak_label"), ("image", "label")])
    def test_maps_are_optional(self, keys):
        full = batch_of(ellipses(4, (32, 32), margin=10))
        out = BatchAugment(2)({key: full[key] for key in (*keys, "spacing")}, 3)
        reference = BatchAugment(2)(full, 3)
        assert set(out) == {*keys, "matrix", "spacing", "spacing_before", "cut"}
        for key in keys:
            assert torch.equal(out[key], reference[key])

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_on_a_gpu(self):
        batch = batch_of(ellipses(8, (48, 48), margin=10), group=torch.arange(8) // 2)
        augment = BatchAugment(2, translation=0.2, **AFFINE)
        here, there = augment(batch, 3), augment({key: value.cuda() for key, value in batch.items()}, 3)
        for key in ("matrix", "spacing", "cut"):
            assert there[key].is_cuda
            assert torch.equal(there[key].cpu(), here[key])
        assert (there["label"].cpu() == here["label"]).double().mean() > 0.999
        torch.testing.assert_close(there["image"].cpu(), here["image"], rtol=0, atol=1e-3)

    def test_intensities(self):
        image = torch.full((300, 2, 8, 8), 0.5)
        batch = {"image": image, "spacing": torch.ones(300, 2)}
        augment = BatchAugment(2, flips=(), turns=None, affine_probability=0, gamma=0.5, gain=0.2, noise=0.1)
        out = augment(batch, 0)["image"]
        same = (out - image).abs().flatten(1).amax(1) < 1e-4
        assert 0.4 < same.double().mean() < 0.6
        level, noise = out.flatten(1).mean(1), out.flatten(1).std(1)
        assert 0.5**2**0.5 * 0.8 - 0.05 < level.min() < level.max() < 0.5 ** (2**-0.5) * 1.2 + 0.05
        assert 0.08 < noise.max() < 0.13
        assert out.isfinite().all()

    def test_negative_intensities_stay_finite(self):
        batch = {"image": torch.full((20, 1, 8, 8), -1.0), "spacing": torch.ones(20, 2)}
        assert BatchAugment(2)(batch, 0)["image"].isfinite().all()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"rotation": -1}, "rotation must be between 0 and inf, got -1"),
            ({"scaling": 1.0}, "scaling must be between 0 and 0.999"),
            ({"affine_probability": 1.5}, "affine_probability must be between 0 and 1, got 1.5"),
            ({"noise": math.nan}, "noise must be between"),
            ({"turns": (1, 1)}, "turns must be two different spatial axes"),
            ({"turns": (0,)}, "turns must be two"),
        ],
    )
    def test_wrong_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            BatchAugment(2, **settings)

    def test_axes_that_the_image_lacks(self):
        batch = batch_of(ellipses(2, (32, 32), margin=10))
        with pytest.raises(ValueError, match=r"flips \[0, 2\] or turns \[0, 1\] name axes that a 2D image lacks"):
            BatchAugment(2, flips=(0, 2))(batch, 0)
