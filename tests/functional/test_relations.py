# SPDX-License-Identifier: Apache-2.0
"""Relations between classes: hand values, gradients, moved bounds, and constraints that reach them."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.descriptors import completed
from wss_monai.functional.relations import RELATIONS, CentroidDistance, Contact, Enclosure, SizeRatio
from wss_monai.losses import ConstraintLoss, LogBarrierExtension, QuadraticPenalty
from wss_monai.metrics.measure import measure_prediction
from wss_monai.transforms import BatchAugment, ConstantBounds, LabelBounds

INF = math.inf
NAMES = ["background", "RV", "Myo", "LV"]
ALL = [relation(1) for relation in RELATIONS]
MM = torch.tensor([[2.0, 0.5]])


def one_hot(index: torch.Tensor, classes: int = 4) -> torch.Tensor:
    return torch.stack([index == k for k in range(classes)], 1).double()


def heart(size: int = 24, at: tuple[int, int] = (12, 14), radius: float = 7.5, hole: float = 4.5) -> torch.Tensor:
    """Index map (1, size, size): a disc (3) in a ring (2), beside it a rectangle (1) that does not touch the disc."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    square = (y - at[0]) ** 2 + (x - at[1]) ** 2
    index = torch.zeros(size, size, dtype=torch.uint8)
    index[at[0] - 6 : at[0] + 6, 2 : at[1] - 4] = 1
    index[square < radius**2] = 2
    index[square < hole**2] = 3
    return index[None]


def soft(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(2 * torch.randn(shape, generator=generator, dtype=torch.float64), 1)


class TestHandValues:
    INDEX = torch.tensor([[[0, 0, 0, 0, 0], [0, 1, 1, 2, 0], [0, 1, 1, 2, 0], [0, 3, 0, 2, 0]]])

    def test_ratio_of_sizes(self):
        probs = one_hot(self.INDEX)
        assert SizeRatio(1)(probs)[0, :, 0].tolist() == [12 / 4, 1, 3 / 4, 1 / 4]
        assert SizeRatio(3)(0.5 * probs)[0, 1].item() == 4
        assert SizeRatio(1)(one_hot(self.INDEX[..., None].expand(-1, -1, -1, 3)))[0, 2].item() == 3 / 4

    def test_ratio_to_what_is_not_there_is_a_number(self):
        probs = one_hot(torch.where(self.INDEX == 3, 0, self.INDEX)).requires_grad_()
        ratio = SizeRatio(3)(probs)
        assert ratio[0, 1].item() == 4 / 0.5 and ratio[0, 3].item() == 0
        ratio.sum().backward()
        assert probs.grad.isfinite().all() and probs.grad.abs().max() <= 2

    def test_distance_of_centroids(self):
        probs = one_hot(self.INDEX)  # centroids (1.5, 1.5), (2, 3), (3, 1)
        away = CentroidDistance(1)(probs)[0, :, 0]
        assert away[1:].tolist() == pytest.approx([0, math.hypot(0.5, 1.5), math.hypot(1.5, 0.5)], abs=1e-5)
        in_mm = CentroidDistance(1)(probs, spacing=MM)[0, :, 0]
        assert in_mm[2:].tolist() == pytest.approx([math.hypot(1, 0.75), math.hypot(3, 0.25)])
        deep = torch.zeros(1, 2, 4, 4, 4)
        deep[0, 0, 0, 1, 1] = deep[0, 1, 3, 1, 2] = 1
        away = CentroidDistance(0)(deep, spacing=torch.tensor([[8.0, 1.0, 10.0]]))[0, 1, 0]
        assert away.item() == pytest.approx(26.0)

    def test_contact_counts_faces(self):
        probs = one_hot(self.INDEX)
        assert Contact(1)(probs)[0, :, 0].tolist() == [2 + 2 + 1, 0, 2, 1]
        assert Contact(1)(probs, spacing=MM)[0, 2:, 0].tolist() == [2 * 2.0, 1 * 0.5]
        assert Contact(3)(probs)[0, 2].item() == 0  # corners do not touch
        deep = torch.zeros(1, 4, 5, 6, dtype=torch.uint8)
        deep[:, :, :2], deep[:, :, 2:] = 1, 2
        steps = torch.tensor([[2.0, 9.0, 0.5]])
        assert Contact(2)(one_hot(deep, 3), spacing=steps)[0, 1].item() == 4 * 2 * 6 * 0.5

    def test_contact_of_a_soft_border_does_not_depend_on_its_width(self):
        edge = torch.tensor([1, 1, 0.9, 0.5, 0.2, 0, 0], dtype=torch.float64).expand(3, -1)
        probs = torch.stack((edge, 1 - edge))[None]
        torch.testing.assert_close(Contact(1)(probs)[0, 0, 0].item(), 3.0)
        assert Contact(1)(torch.full((1, 3, 8, 8), 1 / 3)).abs().max() < 1e-6

    def test_enclosure_is_a_part_of_the_border(self):
        probs = one_hot(self.INDEX)  # of 1: 2 faces with 2, 1 with 3, 5 with the background
        assert Enclosure(2)(probs)[0, 1].item() == pytest.approx(2 / 8)
        assert Enclosure(2)(probs, spacing=MM)[0, 1].item() == pytest.approx(4.0 / (2 * 2 + 2 * 2 + 2 * 0.5 + 2 * 0.5))
        assert Enclosure(2)(one_hot(heart()))[0, 3].item() == pytest.approx(1)
        deep = torch.zeros(1, 5, 5, 5, dtype=torch.uint8)
        deep[:, 1:4, 1:4, 1:4] = 1
        deep[:, 2, 2, 2] = 2
        deep[:, 2, 2, 3] = 0
        assert Enclosure(1)(one_hot(deep, 3), spacing=torch.ones(1, 3))[0, 2].item() == pytest.approx(5 / 6)

    def test_of_what_has_no_border(self):
        whole = torch.zeros(1, 2, 4, 4)
        whole[:, 0] = 1
        assert Enclosure(1)(whole).abs().max() == 0 and Contact(1)(whole).abs().max() == 0

    @pytest.mark.parametrize("relation", ALL, ids=lambda d: d.name)
    def test_region_leaves_out_what_lies_outside(self, relation):
        probs = soft((1, 3, 6, 6))
        region = torch.zeros(1, 1, 6, 6, dtype=torch.int64)
        region[..., 1:4, 2:5], region[..., 5, 5] = 2, 255
        torch.testing.assert_close(relation(probs, region=region), relation(probs * (region == 2)))


@pytest.mark.parametrize("relation", ALL, ids=lambda d: d.name)
class TestEvery:
    @pytest.mark.parametrize(
        ("shape", "spaced"), [((2, 3, 4, 5), False), ((2, 3, 4, 5), True), ((2, 3, 3, 4, 3), True)]
    )
    def test_gradcheck(self, relation, shape, spaced):
        spacing = torch.tensor([[1.5, 0.7, 3.0]] * 2, dtype=torch.float64)[:, : len(shape) - 2] if spaced else None
        probs = soft(shape).requires_grad_()
        assert torch.autograd.gradcheck(lambda p: relation(p, spacing=spacing), probs, atol=1e-5)

    def test_samples_do_not_depend_on_each_other(self, relation):
        probs, spacing = soft((2, 3, 5, 4)), torch.tensor([[1.0, 2.0], [0.7, 0.7]], dtype=torch.float64)
        whole = relation(probs, spacing=spacing)
        assert whole.shape == (2, 3, relation.components(2))
        torch.testing.assert_close(relation(probs[1:], spacing=spacing[1:]), whole[1:])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_measured_in_float32(self, relation, dtype):
        probs = soft((1, 2, 64, 64)).to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            measure = relation(probs)
        assert measure.dtype == torch.float32
        torch.testing.assert_close(measure, relation(probs.float()), rtol=0, atol=0)

    @pytest.mark.parametrize("shape", [(1, 2, 6, 6), (1, 2, 4, 4, 4)])
    @pytest.mark.parametrize("value", [0.0, 1e-30, 0.5, 1.0])
    def test_finite_value_and_gradient_on_flat_maps(self, relation, shape, value):
        probs = torch.full(shape, value, requires_grad=True)
        measure = relation(probs, spacing=torch.ones(1, len(shape) - 2))
        measure.sum().backward()
        assert measure.isfinite().all() and probs.grad.isfinite().all()

    @pytest.mark.parametrize("gone", [0, 1])
    def test_finite_gradient_through_a_saturated_softmax(self, relation, gone):
        logits = torch.zeros(1, 2, 8, 8)
        logits[:, 1 - gone] = 500
        logits.requires_grad_()
        relation(torch.softmax(logits, 1)).sum().backward()
        assert logits.grad.isfinite().all()

    def test_scale_is_positive_and_finite(self, relation):
        bounds = torch.tensor([[-INF, INF], [-INF, 0.0], [5.0, INF], [3.0, 40.0], [1e-3, 2e-3]])[None, :, None]
        for shape in ((20, 30), (8, 20, 30)):
            scale = relation.scale(bounds, shape)
            assert scale.shape == bounds.shape and scale.isfinite().all() and (scale > 0.05).all()

    def test_bounds_survive_the_identity_and_fall_with_either_class(self, relation):
        bounds = torch.tensor([0.3, 0.9]).repeat(3, 3, 1, 1)
        bounds[:, 0, 0, 0], bounds[:, 2, 0, 1] = -INF, INF
        cut = torch.tensor([[False, False, False], [False, False, True], [False, True, False]])
        moved = relation.move(bounds, torch.eye(3, dtype=torch.float64).repeat(3, 1, 1), cut)
        torch.testing.assert_close(moved[0], bounds[0])
        torch.testing.assert_close(moved[1, :2], bounds[1, :2])
        assert moved[1, 2].isinf().all() and moved[2].isinf().all() and moved.dtype == bounds.dtype

    def test_equal_by_name_and_by_index(self, relation):
        assert type(relation)("RV", NAMES) == relation
        assert hash(type(relation)("RV", NAMES)) == hash(relation)
        assert completed(relation) is relation and relation.others() == (1,) and relation.joint()


class TestMove:
    @pytest.mark.parametrize(
        "relation", [relation(3) for relation in (SizeRatio, CentroidDistance, Contact)] + [Enclosure(2)]
    )
    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.5, 1.5), (1.0, 2.0)])
    @pytest.mark.parametrize("affine", [False, True])
    def test_the_measure_of_an_augmented_label_lies_in_the_moved_bounds(self, relation, spacing, affine):
        label = torch.stack([heart(96, (48, 48 + shift), 22, 13) for shift in range(-6, 6)])
        label[:, :, 20:60, 28:44][label[:, :, 20:60, 28:44] == 0] = 1  # the rectangle meets ring and background
        batch = {"image": label.float(), "label": label, "weak_label": label}
        batch["spacing"] = torch.tensor(spacing).repeat(len(label), 1)
        turns = None if affine else (0, 1)
        augment = BatchAugment(
            4, turns=turns, translation=0.02, affine_probability=float(affine), intensity_probability=0
        )
        measure = relation(one_hot(label[:, 0]), spacing=batch["spacing"])
        held = 0
        for seed in range(3):
            out = augment(batch, seed)
            tight = torch.stack((measure, measure), -1)
            bounds = relation.move(tight, out["matrix"], out["cut"], (out["spacing_before"], out["spacing"]))[..., 0, :]
            after = relation(one_hot(out["label"][:, 0]), spacing=out["spacing"])[..., 0]
            room = 0.05 * after.abs() + spacing[1] if affine else torch.full_like(after, 1e-5)  # of nearest neighbours
            assert bool(((after >= bounds[..., 0] - room) & (after <= bounds[..., 1] + room))[:, 1:].all())
            held += int(bounds[:, 1:].isfinite().all(-1).sum())
        assert held > 40

    @pytest.mark.parametrize("relation", ALL, ids=lambda d: d.name)
    def test_flips_and_turns_of_a_volume_keep_it(self, relation):
        label = torch.randint(0, 4, (6, 1, 8, 8, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        batch = {"image": label.float(), "label": label, "weak_label": label}
        batch["spacing"] = torch.tensor([[0.7, 2.0, 4.0]]).repeat(6, 1)
        out = BatchAugment(4, flips=(0, 1, 2), affine_probability=0, intensity_probability=0)(batch, 0)
        measure = relation(one_hot(label[:, 0]), spacing=batch["spacing"])
        bounds = torch.stack((measure, measure), -1)
        moved = relation.move(bounds, out["matrix"], out["cut"], (out["spacing_before"], out["spacing"]))
        after = relation(one_hot(out["label"][:, 0]), spacing=out["spacing"])
        torch.testing.assert_close(moved, torch.stack((after, after), -1), rtol=1e-5, atol=1e-5)

    def test_by_hand(self):
        bounds, free = torch.tensor([[[[0.5, 0.8]], [[0.5, 0.8]]]]), torch.zeros(1, 2, dtype=torch.bool)
        stretch = torch.diag(torch.tensor([1.0, 3.0, 1.0], dtype=torch.float64))[None]
        turn = torch.tensor([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)[None]
        assert torch.equal(SizeRatio(0).move(bounds, stretch, free), bounds)
        near = torch.testing.assert_close
        near(CentroidDistance(0).move(bounds, stretch, free)[0, 1, 0], torch.tensor([0.5, 2.4]))
        near(Contact(0).move(bounds, stretch, free)[0, 1, 0], torch.tensor([0.5, 2.4]))
        near(Contact(0).move(bounds, turn, free)[0, 1, 0], torch.tensor([0.5 / 1.4, 0.8 * 1.4]))
        # 1 : 1 becomes at worst 1 : 3, and 4 : 1 becomes 12 : 1; the turn may change the odds by 1.4 * 1.4
        near(Enclosure(0).move(bounds, stretch, free)[0, 1, 0], torch.tensor([1 / 4, 12 / 13]))
        near(Enclosure(0).move(bounds, turn, free)[0, 1, 0], torch.tensor([1 / 2.96, 7.84 / 8.84]))


class TestBounds:
    """They hold where both classes are there."""

    @pytest.mark.parametrize("slice_axis", [2, None])
    def test_constant(self, slice_axis):
        made = ConstantBounds({"Myo": (0.5, 5)}, NAMES, "1", SizeRatio("LV", NAMES), slice_axis)
        tags = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 1], [1, 1, 1, -1]])
        image = torch.zeros(1, 8, 8, 4)
        if slice_axis is None:
            found = torch.stack([made(image, row) for row in tags])
        else:
            found = made(image, tags)
        unsure = [0.5, 5] if slice_axis is None else [-INF, INF]
        assert found[:, 2, 0].tolist() == [[0.5, 5], [-INF, INF], [-INF, INF], unsure]

    def test_oracle(self):
        label = torch.stack((heart()[0], torch.where(heart()[0] == 3, 2, heart()[0])), -1)[None]
        bounds = LabelBounds(NAMES, 0.1, descriptor=SizeRatio(3), slice_axis=2)(label)
        ratio = SizeRatio(3)(one_hot(heart()))[0, 2, 0].item()
        assert bounds[0, 2, 0].tolist() == pytest.approx([0.9 * ratio, 1.1 * ratio])
        assert bounds[1].isinf().all()

    def test_of_a_prediction_without_one_of_the_two_there_is_no_distance(self):
        index = torch.where(heart()[0] == 3, 2, heart()[0])
        bounds = torch.tensor([1.0, 9.0]).repeat(4, 1, 1)
        measure, limits, _ = measure_prediction(index, bounds, CentroidDistance(3), [1.0, 1.0])
        assert measure.isfinite().all() and limits.isinf().all()
        assert measure_prediction(heart()[0], bounds, CentroidDistance(3), [1.0, 1.0])[1][0, 1].tolist() == [[1, 9]]

    @pytest.mark.parametrize(
        ("relation", "unit", "deep"),
        [
            (SizeRatio(1), "1", "1"),
            (CentroidDistance(1), "mm", "mm"),
            (Contact(1), "mm", "mm2"),
            (Enclosure(1), "1", "1"),
        ],
    )
    def test_units(self, relation, unit, deep):
        assert (relation.units(2), relation.units(3)) == ((unit,), (deep,))
        assert relation.shown([2.0, 2.0, 9.0]) == (1.0, deep)
        with pytest.raises(ValueError, match=f"'{relation.name}' takes|does not fit '{relation.name}'"):
            relation.to_voxels(torch.zeros(1, 2), "ml", [1.0, 1.0], [4, 4])


def reached(relation, index, label, lower, upper, penalty, steps=250, lr=0.1):
    """The measure of a class after descent on the constraint alone, from logits that show the index map."""
    logits = (6 * one_hot(index) - 3).float().requires_grad_()
    bounds = torch.tensor([-INF, INF]).repeat(1, 4, 1, 1)
    bounds[0, label, 0] = torch.tensor([lower, upper])
    optimizer = torch.optim.Adam([logits], lr=lr)
    constraint = ConstraintLoss(relation, penalty, classes=[label])
    for _ in range(steps):
        optimizer.zero_grad()
        constraint(logits, bounds).backward()
        optimizer.step()
    return relation(logits.softmax(1))[0, label, 0].item(), one_hot(logits.detach().argmax(1))


PENALTIES = [QuadraticPenalty(), LogBarrierExtension(t=50)]


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)
class TestConstraints:
    def test_ratio(self, penalty):
        value, _ = reached(SizeRatio("LV", NAMES), heart(), 2, 0.8, 1.2, penalty)
        assert SizeRatio(3)(one_hot(heart()))[0, 2].item() > 1.4
        assert 0.79 < value < 1.21

    def test_two_classes_no_longer_touch(self, penalty):
        index = heart()
        index[0, 6:18, 4:16] = torch.where(index[0, 6:18, 4:16] == 2, 1, index[0, 6:18, 4:16]).to(torch.uint8)
        value, hard = reached(Contact("LV", NAMES), index, 1, -INF, 0.5, penalty)
        assert Contact(3)(one_hot(index))[0, 1].item() >= 8
        assert value < 0.7 and Contact(3)(hard)[0, 1].item() <= 1
        assert hard[0, 1].sum() > 0.5 * (index == 1).sum() and hard[0, 3].sum() > 0.5 * (index == 3).sum()

    def test_a_hole_in_the_ring_is_closed(self, penalty):
        index = heart()
        index[0, 10:15, 17:22] = torch.where(index[0, 10:15, 17:22] == 2, 0, index[0, 10:15, 17:22]).to(torch.uint8)
        value, hard = reached(Enclosure("Myo", NAMES), index, 3, 0.95, INF, penalty)
        assert Enclosure(2)(one_hot(index))[0, 3].item() < 0.9
        assert value > 0.94 and Enclosure(2)(hard)[0, 3].item() > 0.94
        assert hard[0, 3].sum() > 0.5 * (index == 3).sum()

    def test_distance(self, penalty):
        value, _ = reached(CentroidDistance("LV", NAMES), heart(), 1, 11.0, 12.0, penalty)
        assert CentroidDistance(3)(one_hot(heart()))[0, 1].item() < 9.6
        assert 10.9 < value < 12.1


class TestErrors:
    def test_the_class_must_be_there(self):
        with pytest.raises(ValueError, match="size_ratio relates each class to another one, 'other': class 'lv'"):
            SizeRatio("lv", NAMES)
        with pytest.raises(ValueError, match="class 'LV' is a name: give class_names too"):
            Contact("LV")
        with pytest.raises(ValueError, match="size_ratio relates each class to class 3, but there are 2 classes"):
            SizeRatio(3)(torch.zeros(1, 2, 4, 4))

    @pytest.mark.parametrize("relation", [CentroidDistance(1), Contact(1), Enclosure(1)], ids=lambda d: d.name)
    def test_3d_without_spacing_is_refused(self, relation):
        with pytest.raises(ValueError, match=f"{relation.name} in 3D needs spacing"):
            relation(torch.zeros(1, 2, 3, 3, 3))

    def test_a_constraint_on_some_classes_measures_with_all(self):
        logits = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
        bounds = torch.tensor([0.1, 0.2]).repeat(2, 4, 1, 1)
        alone = ConstraintLoss(SizeRatio(3), QuadraticPenalty(), classes=[2])(logits, bounds)
        bounds[:, [0, 1, 3]] = torch.tensor([-INF, INF])
        torch.testing.assert_close(alone, ConstraintLoss(SizeRatio(3), QuadraticPenalty())(logits, bounds))
