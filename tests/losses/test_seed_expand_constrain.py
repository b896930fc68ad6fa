# SPDX-License-Identifier: Apache-2.0
"""Seeding, expansion and constrain-to-boundary."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor, nn

from wss_monai.functional.cue_maps import block_mean, cues_on_grid
from wss_monai.losses import ConstrainToBoundaryLoss, ExpansionLoss, SeedingLoss, WeightedSumLoss
from wss_monai.networks import DenseCRF

SHAPES = [(2, 3, 6, 5), (1, 4, 4, 3, 2)]


class Given(nn.Module):
    """Stands for a CRF: returns the same Q and remembers what it was given."""

    def __init__(self, q: Tensor | None = None) -> None:
        super().__init__()
        self.q = q
        self.seen: dict[str, Tensor | None] = {}

    def forward(self, logits: Tensor, image: Tensor, spacing: Tensor | None = None) -> Tensor:
        self.seen = {"logits": logits, "image": image, "spacing": spacing}
        return torch.softmax(2 * logits, 1) if self.q is None else self.q


def make(shape: tuple[int, ...], cued: float = 0.3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits in float64, cues, tags and image."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    index = torch.randint(0, shape[1], (shape[0], 1, *shape[2:]), generator=generator)
    cues = torch.where(torch.rand(index.shape, generator=generator) < cued, index, 255).to(torch.uint8)
    tags = torch.tensor([[1, 1, 0, -1], [1, 0, 1, 1]])[: shape[0], : shape[1]]
    image = torch.rand((shape[0], 1, *shape[2:]), generator=generator, dtype=torch.float64)
    return logits, cues, tags, image


def of_probs(values: list[list[float]]) -> Tensor:
    """Logits (1, K, N) with that softmax."""
    return torch.tensor(values, dtype=torch.float64).log()[None]


def gradient(loss: nn.Module, logits: Tensor, *targets: Tensor) -> tuple[float, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, *targets)
    value.backward()
    return value.item(), leaf.grad


class TestSeeding:
    def test_by_hand(self):
        logits = of_probs([[0.5, 0.2, 0.3], [0.4, 0.2, 0.6], [0.1, 0.6, 0.1]])
        cues = torch.tensor([[[0, 255, 1]]])
        # f = (p + .01) / 1.03
        assert SeedingLoss(floor=0.01)(logits, cues).item() == pytest.approx(0.6133792, abs=1e-7)
        assert -(math.log(0.51 / 1.03) + math.log(0.61 / 1.03)) / 2 == pytest.approx(0.6133792, abs=1e-7)

    def test_one_normaliser_for_foreground_and_background(self):
        logits = of_probs([[0.5, 0.2, 0.3, 0.9], [0.5, 0.8, 0.7, 0.1]])
        cues = torch.tensor([[[0, 0, 1, 0]]])
        parts = [-math.log((p + 1e-4) / 1.0002) for p in (0.5, 0.2, 0.9, 0.7)]
        assert SeedingLoss()(logits, cues).item() == pytest.approx(sum(parts) / 4)
        assert SeedingLoss(balanced=True)(logits, cues).item() == pytest.approx(sum(parts[:3]) / 3 + parts[3])

    def test_balanced_with_one_kind_of_cue_alone(self):
        logits, cues, *_ = make((2, 3, 6, 5))
        for wanted in (cues == 0, cues > 0):
            alone = torch.where(wanted, cues, 255)
            torch.testing.assert_close(SeedingLoss(balanced=True)(logits, alone), SeedingLoss()(logits, alone))

    def test_mean_over_the_images_that_have_cues(self):
        logits, cues, *_ = make((3, 3, 6, 5))
        cues[1] = 255
        for balanced in (False, True):
            loss = SeedingLoss(balanced=balanced)
            each = [loss(logits[i : i + 1], cues[i : i + 1]) for i in (0, 2)]
            torch.testing.assert_close(loss(logits, cues), (each[0] + each[1]) / 2)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("balanced", [False, True])
    def test_gradient_only_at_cues(self, shape, balanced):
        logits, cues, *_ = make(shape)
        _, grad = gradient(SeedingLoss(balanced=balanced), logits, cues)
        known = (cues != 255).expand_as(grad)
        assert (grad[known] != 0).all() and not grad[~known].any()

    @pytest.mark.parametrize("balanced", [False, True])
    def test_no_cue_costs_nothing(self, balanced):
        logits, cues, *_ = make((2, 3, 6, 5))
        value, grad = gradient(SeedingLoss(balanced=balanced), logits, torch.full_like(cues, 255))
        assert value == 0 and not grad.any()

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
    def test_one_hot_cues(self, dtype):
        logits, cues, *_ = make((2, 3, 6, 5))
        masks = torch.cat([cues == k for k in range(3)], 1).to(dtype)
        torch.testing.assert_close(SeedingLoss()(logits, masks), SeedingLoss()(logits, cues))

    @pytest.mark.parametrize("fine", [(17, 25), (24, 16)])
    def test_finer_cues_are_put_on_the_grid(self, fine):
        logits = make((2, 3, 3, 4) if fine == (17, 25) else (2, 3, 3, 2))[0]
        cues = make((2, 3, *fine), cued=0.05)[1]
        expected = SeedingLoss()(logits, cues_on_grid(cues, logits.shape[2:], 3))
        torch.testing.assert_close(SeedingLoss()(logits, cues), expected)
        masks = torch.cat([cues == k for k in range(3)], 1)
        torch.testing.assert_close(SeedingLoss()(logits, masks), expected)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((2, 2, 6, 5), "target must be"),
            ((1, 1, 6, 5), "target must be"),
            ((2, 6, 5), "cues must be an index map"),
            ((2, 1, 3, 5), "cannot be put on a grid"),
        ],
    )
    def test_wrong_shapes_are_refused(self, shape, message):
        with pytest.raises(ValueError, match=message):
            SeedingLoss()(torch.zeros(2, 3, 6, 5), torch.zeros(shape))

    def test_a_class_too_many_is_refused(self):
        with pytest.raises(ValueError, match="holds class 3, but there are 3"):
            SeedingLoss()(torch.zeros(1, 3, 2, 2), torch.full((1, 1, 4, 4), 3))


class TestExpansion:
    LOGITS = [[0.7, 0.2, 0.5], [0.2, 0.5, 0.1], [0.1, 0.3, 0.4]]

    def loss(self, **settings: object) -> ExpansionLoss:
        return ExpansionLoss(**{"present": 0.5, "background": 0.8, "voxels": None, **settings})

    def test_by_hand(self):
        tags = torch.tensor([[1, 1, 0]])
        background = (0.7 + 0.8 * 0.5 + 0.64 * 0.2) / 2.44
        present = (0.5 + 0.5 * 0.2 + 0.25 * 0.1) / 1.75
        f = [(g + 1e-4) / 1.0003 for g in (background, present, 0.4)]
        expected = -math.log(f[0]) - math.log(f[1]) - math.log(1 - f[2])
        assert self.loss()(of_probs(self.LOGITS), tags).item() == pytest.approx(expected)
        assert expected == pytest.approx(2.2271442, abs=1e-7)

    def test_classes_of_a_kind_are_averaged(self):
        logits = of_probs(self.LOGITS)
        both = self.loss()(logits, torch.tensor([[1, 1, 1]])).item()
        one, other = (self.loss()(logits, torch.tensor([[1, *tags]])).item() for tags in ((1, -1), (-1, 1)))
        assert both == pytest.approx((one + other) / 2)
        both = self.loss()(logits, torch.tensor([[1, 0, 0]])).item()
        one, other = (self.loss()(logits, torch.tensor([[1, *tags]])).item() for tags in ((0, -1), (-1, 0)))
        assert both == pytest.approx((one + other) / 2)

    def test_unknown_classes_are_in_neither_mean(self):
        logits = of_probs(self.LOGITS)
        background = (0.7 + 0.8 * 0.5 + 0.64 * 0.2) / 2.44
        alone = -math.log((background + 1e-4) / 1.0003)
        present = -math.log(((0.5 + 0.5 * 0.2 + 0.25 * 0.1) / 1.75 + 1e-4) / 1.0003)
        assert self.loss()(logits, torch.tensor([[1, 1, -1]])).item() == pytest.approx(alone + present)

    def test_the_tag_of_the_background_is_not_read(self):
        logits, _, tags, _ = make((2, 3, 6, 5))
        expected = ExpansionLoss()(logits, tags)
        for tag in (0, -1):
            tags[:, 0] = tag
            assert torch.equal(ExpansionLoss()(logits, tags), expected)

    def test_an_image_of_unknown_tags_counts_nothing(self):
        logits, _, tags, _ = make((2, 3, 6, 5))
        tags[1] = torch.tensor([1, -1, -1])
        value, grad = gradient(ExpansionLoss(), logits, tags)
        assert value == pytest.approx(ExpansionLoss()(logits[:1], tags[:1]).item())
        assert grad[0].any() and not grad[1].any()
        value, grad = gradient(ExpansionLoss(), logits, torch.full_like(tags, -1))
        assert value == 0 and not grad.any()

    @pytest.mark.parametrize("classes", [2, 4])
    @pytest.mark.parametrize("tag", [1, 0])
    def test_all_present_or_none_present_is_finite(self, classes, tag):
        logits = make((2, classes, 6, 5))[0]
        value, grad = gradient(ExpansionLoss(), 100 * logits, torch.full((2, classes), tag))
        assert 0 < value < math.inf and grad.isfinite().all()

    def test_absent_term_acts_only_on_the_maximum(self):
        logits = make((1, 2, 6, 5))[0].requires_grad_()
        cost = ExpansionLoss()(logits, torch.tensor([[1, 0]]))
        p = torch.softmax(logits, 1)
        weight = (0.999 ** (1681 / 30)) ** torch.arange(30, dtype=torch.float64)
        pooled = (p[:, 0].flatten().sort(descending=True).values * weight).sum() / weight.sum()
        (cost + ((pooled + 1e-4) / 1.0002).log()).backward()  # what is left is the absent term
        where = logits.grad.abs().sum(1).flatten() > 1e-12
        assert where.nonzero().flatten().tolist() == [int(p[0, 1].argmax())]

    def test_a_certain_absent_class_is_finite_in_float32(self):
        logits = torch.tensor([[[-200.0, 0.0], [200.0, 0.0]]])
        value, grad = gradient(ExpansionLoss(floor=1e-7), logits, torch.tensor([[1, 0]]))
        assert math.isfinite(value) and grad.isfinite().all()

    def test_decays_belong_to_their_number_of_voxels(self):
        logits, _, tags, _ = make((2, 3, 6, 5))
        given = ExpansionLoss(present=0.9, absent=0.2, background=0.95, voxels=120)
        on_grid = ExpansionLoss(present=0.9**4, absent=0.2**4, background=0.95**4, voxels=None)
        torch.testing.assert_close(given(logits, tags), on_grid(logits, tags))

    @pytest.mark.parametrize("shape", [(2, 3, 41, 41), (2, 3, 8, 16, 16)])
    def test_value_survives_nearest_upsampling(self, shape):
        logits, _, tags, _ = make(shape)
        fine = logits.repeat_interleave(2, -1).repeat_interleave(2, -2)
        torch.testing.assert_close(ExpansionLoss()(fine, tags), ExpansionLoss()(logits, tags), rtol=2e-3, atol=0)

    def test_a_decay_for_each_foreground_class(self):
        logits = of_probs(self.LOGITS)
        tags = torch.tensor([[1, 1, 1]])
        each = [
            self.loss(present=d)(logits, torch.tensor([[1, *t]])).item() for d, t in ((0.3, (1, -1)), (0.9, (-1, 1)))
        ]
        assert self.loss(present=[0.3, 0.9])(logits, tags).item() == pytest.approx(sum(each) / 2)

    @pytest.mark.parametrize(
        ("tags", "message"),
        [
            (torch.ones(2, 2), r"tags must be \(B, K\) = \(2, 3\)"),
            (torch.ones(1, 3), r"tags must be \(B, K\)"),
            (torch.ones(2, 4, 3), "slice_tags"),
            (torch.full((2, 3), 2), "tags must be 1, 0 or -1"),
        ],
    )
    def test_wrong_tags_are_refused(self, tags, message):
        with pytest.raises(ValueError, match=message):
            ExpansionLoss()(torch.zeros(2, 3, 4, 4), tags)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"present": 1.5}, "present must lie between"),
            ({"absent": [-1.0]}, "absent must lie between"),
            ({"background": -0.1}, "background must lie between"),
            ({"voxels": 0}, "voxels must be a positive"),
            ({"floor": 0.0}, "floor must be a positive"),
        ],
    )
    def test_wrong_settings_are_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            ExpansionLoss(**settings)

    @pytest.mark.parametrize("name", ["present", "absent"])
    def test_as_many_decays_as_foreground_classes(self, name):
        with pytest.raises(ValueError, match=rf"{name} \(foreground classes\) must be one number"):
            ExpansionLoss(**{name: [0.5, 0.5, 0.5]})(torch.zeros(1, 3, 4), torch.ones(1, 3))


class TestConstrain:
    def test_by_hand(self):
        logits = of_probs([[0.5, 0.8], [0.5, 0.2]])
        q = torch.tensor([[[0.9, 0.8], [0.1, 0.2]]], dtype=torch.float64)
        loss = ConstrainToBoundaryLoss(Given(q), floor=1e-12)
        expected = (0.9 * math.log(1.8) + 0.1 * math.log(0.2)) / 2  # the second voxel agrees
        assert loss(logits, torch.zeros(1, 1, 2)).item() == pytest.approx(expected, abs=1e-9)
        assert expected == pytest.approx(0.1840321, abs=1e-7)

    def test_q_is_clamped_where_f_is_not(self):
        logits = of_probs([[0.5], [0.5]])
        loss = ConstrainToBoundaryLoss(Given(torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)), floor=0.25)
        # Q = max((1, 0), .25) / 1.25 = (.8, .2); f = (.75, .75) / 1.5
        assert loss(logits, torch.zeros(1, 1, 1)).item() == pytest.approx(0.8 * math.log(1.6) + 0.2 * math.log(0.4))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_zero_where_f_equals_q(self, shape):
        logits, *_, image = make(shape)
        f = (torch.softmax(logits, 1) + 1e-4) / (1 + shape[1] * 1e-4)
        value, grad = gradient(ConstrainToBoundaryLoss(Given(f)), logits, image)
        assert abs(value) < 1e-14 and grad.abs().max() < 1e-14

    @pytest.mark.parametrize("shape", SHAPES)
    def test_gradient_is_the_difference_and_none_goes_through_q(self, shape):
        logits, *_, image = make(shape)
        crf = Given()
        _, grad = gradient(ConstrainToBoundaryLoss(crf, floor=1e-12), logits, image)
        expected = (torch.softmax(logits, 1) - torch.softmax(2 * logits, 1)) / (shape[0] * math.prod(shape[2:]))
        torch.testing.assert_close(grad, expected, rtol=1e-8, atol=1e-10)
        assert crf.seen["logits"] is not None and not crf.seen["logits"].requires_grad

    def test_gradient_of_the_published_floor_is_within_5_percent(self):
        logits, *_, image = make((1, 4, 12, 12))
        _, grad = gradient(ConstrainToBoundaryLoss(), logits, image)
        q = DenseCRF(method="lattice")(logits, image * 255).double().clamp(min=1e-4)
        q = q / q.sum(1, keepdim=True)
        f = (torch.softmax(logits, 1) + 1e-4) / 1.0004
        assert (grad - (f - q) / 144).abs().max() < 0.05 * grad.abs().max()

    def test_the_published_crf_is_that_of_the_lattice_and_exact_is_a_choice(self):
        logits, *_, image = make((1, 4, 12, 12))
        lattice, exact = (
            ConstrainToBoundaryLoss(DenseCRF(method=method))(logits, image) for method in ("lattice", "exact")
        )
        assert ConstrainToBoundaryLoss()(logits, image) == lattice != exact

    @pytest.mark.parametrize("shape", SHAPES)
    def test_it_lowers_its_value(self, shape):
        logits, *_, image = make(shape)
        loss = ConstrainToBoundaryLoss()
        value, grad = gradient(loss, logits, image)
        assert value > 0 and grad.isfinite().all()
        assert loss(logits - grad * logits[:, 0].numel() * 0.1, image).item() < value

    def test_image_is_scaled_and_cut(self):
        crf = Given()
        logits = torch.zeros(1, 2, 4)
        ConstrainToBoundaryLoss(crf)(logits, torch.tensor([[[-0.5, 0.2, 1.0, 3.0]]]))
        torch.testing.assert_close(crf.seen["image"], torch.tensor([[[0.0, 51.0, 255.0, 255.0]]]))
        ConstrainToBoundaryLoss(crf, image_scale=1.0)(logits, torch.tensor([[[-5.0, 20.0, 100.0, 300.0]]]))
        torch.testing.assert_close(crf.seen["image"], torch.tensor([[[0.0, 20.0, 100.0, 255.0]]]))

    def test_finer_image_is_put_on_the_grid(self):
        crf, image = Given(), torch.rand(1, 2, 17, 25)
        ConstrainToBoundaryLoss(crf)(torch.zeros(1, 2, 3, 4), image)
        torch.testing.assert_close(crf.seen["image"], image[:, :, ::8, ::8] * 255)

    @pytest.mark.parametrize("stride", [2, [1, 3]])
    def test_stride_averages_logits_and_image_first(self, stride):
        logits, *_, image = make((2, 3, 6, 5))
        steps = stride if isinstance(stride, list) else [stride] * 2
        coarse = block_mean(logits, steps)
        crf = Given()
        value = ConstrainToBoundaryLoss(crf, stride=stride)(logits, image, probs=torch.softmax(logits, 1))
        torch.testing.assert_close(crf.seen["logits"], coarse)
        torch.testing.assert_close(crf.seen["image"], block_mean(image, steps) * 255)
        torch.testing.assert_close(value, ConstrainToBoundaryLoss(Given())(coarse, block_mean(image, steps)))

    def test_spacing_is_of_the_grid_of_the_crf(self):
        spacing = torch.tensor([[1.5, 0.5], [2.0, 1.0]])
        crf = Given()
        loss = ConstrainToBoundaryLoss(crf, mm=True)
        loss(torch.zeros(2, 2, 4, 4), torch.zeros(2, 1, 4, 4), spacing=spacing)
        torch.testing.assert_close(crf.seen["spacing"], spacing)
        loss(torch.zeros(2, 2, 3, 4), torch.zeros(2, 1, 17, 8), spacing=spacing)
        torch.testing.assert_close(crf.seen["spacing"], spacing * torch.tensor([8.0, 2.0]))
        loss = ConstrainToBoundaryLoss(crf, mm=True, stride=[2, 4])
        loss(torch.zeros(2, 2, 4, 4), torch.zeros(2, 1, 4, 8), spacing=spacing)
        torch.testing.assert_close(crf.seen["spacing"], spacing * torch.tensor([2.0, 8.0]))
        loss = ConstrainToBoundaryLoss(crf)
        loss(torch.zeros(2, 2, 4, 4), torch.zeros(2, 1, 4, 4), spacing=spacing)
        assert crf.seen["spacing"] is None

    def test_widths_in_mm_equal_widths_in_voxels(self):
        logits, *_, image = make((1, 3, 8, 8))
        mm = ConstrainToBoundaryLoss(DenseCRF(theta_alpha=6.0, theta_gamma=1.5), mm=True)
        voxels = ConstrainToBoundaryLoss(DenseCRF(theta_alpha=[4.0, 2.0], theta_gamma=[1.0, 0.5]))
        value = mm(logits, image, spacing=torch.tensor([[1.5, 3.0]]))
        torch.testing.assert_close(value, voxels(logits, image))

    @pytest.mark.parametrize("spacing", [None, torch.ones(1, 2), torch.ones(2, 3), torch.ones(2)])
    def test_mm_needs_the_spacing(self, spacing):
        loss = ConstrainToBoundaryLoss(DenseCRF(), mm=True)
        with pytest.raises(ValueError, match=r"spacing must be \(B, D\) = \(2, 2\) in mm"):
            loss(torch.zeros(2, 2, 4, 4), torch.zeros(2, 1, 4, 4), spacing=spacing)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"mm": True}, "mm needs a crf"),
            ({"mm": "true"}, "mm must be true or false"),
            ({"stride": 0}, "stride must be a whole number"),
            ({"stride": [2, 0.5]}, "stride must be a whole number"),
            ({"image_scale": -1.0}, "image_scale must be a positive"),
            ({"floor": "small"}, "floor must be a positive"),
        ],
    )
    def test_wrong_settings_are_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            ConstrainToBoundaryLoss(**settings)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [((1, 1, 4, 4), "batch of 1"), ((2, 1, 2, 4), "cannot be put"), ((2, 1, 4, 4, 4), "cannot be put")],
    )
    def test_wrong_images_are_refused(self, shape, message):
        with pytest.raises(ValueError, match=message):
            ConstrainToBoundaryLoss()(torch.zeros(2, 2, 4, 4), torch.zeros(shape))

    def test_a_stride_for_each_axis(self):
        with pytest.raises(ValueError, match="for each of 2 axes"):
            ConstrainToBoundaryLoss(stride=[1, 2, 2])(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))


def terms(**settings: object) -> dict[str, tuple[nn.Module, float]]:
    return {
        "seed": (SeedingLoss(), 1.0),
        "expand": (ExpansionLoss(), 0.5),
        "constrain": (ConstrainToBoundaryLoss(**settings), 2.0),
    }


class TestTogether:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("which", ["seed", "balanced", "expand", "constrain"])
    def test_gradcheck(self, shape, which):
        logits, cues, tags, image = make(shape)
        q = torch.softmax(make(shape)[0].flip(-1), 1)
        loss, target = {
            "seed": (SeedingLoss(), cues),
            "balanced": (SeedingLoss(balanced=True), cues),
            "expand": (ExpansionLoss(absent=0.3), tags),
            "constrain": (ConstrainToBoundaryLoss(Given(q)), image),
        }[which]
        assert torch.autograd.gradcheck(lambda z: loss(z, target), logits.requires_grad_())

    @pytest.mark.parametrize("shape", SHAPES)
    def test_parts_of_the_sum(self, shape):
        logits, cues, tags, image = make(shape)
        loss = WeightedSumLoss(terms())
        assert loss.target_keys() == {"weak_label", "slice_tags", "image", "spacing"}
        total = loss(logits, {"weak_label": cues, "slice_tags": tags, "image": image})
        parts = [SeedingLoss()(logits, cues), ExpansionLoss()(logits, tags), ConstrainToBoundaryLoss()(logits, image)]
        assert list(loss.parts) == ["seed", "expand", "constrain"]
        for name, part in zip(loss.parts, parts, strict=True):
            torch.testing.assert_close(loss.parts[name], part, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(total, parts[0] + 0.5 * parts[1] + 2 * parts[2], rtol=1e-6, atol=1e-7)

    def test_keys_may_be_chosen(self):
        expand, seed = ExpansionLoss(tags_key="tags"), SeedingLoss(target_key="cues")
        constrain = ConstrainToBoundaryLoss(DenseCRF(), image_key="raw", mm=True)
        loss = WeightedSumLoss({"e": (expand, 1), "s": (seed, 1), "c": (constrain, 1)})
        assert loss.target_keys() == {"tags", "cues", "raw", "spacing"}
        with pytest.raises(KeyError, match="spacing"):
            loss(
                torch.zeros(1, 2, 4, 4),
                {"tags": torch.ones(1, 2), "cues": torch.zeros(1, 1, 4, 4), "raw": torch.zeros(1, 1, 4, 4)},
            )

    def test_an_unlabelled_image_is_still_drawn_to_its_boundaries(self):
        logits, cues, tags, image = make((2, 3, 6, 5))
        loss = WeightedSumLoss(terms())
        leaf = logits.requires_grad_()
        loss(
            leaf,
            {"weak_label": torch.full_like(cues, 255), "slice_tags": torch.full_like(tags, -1), "image": image},
        ).backward()
        assert loss.parts["seed"] == 0 and loss.parts["expand"] == 0 and loss.parts["constrain"] > 0
        assert leaf.grad.isfinite().all() and leaf.grad.any()

    def test_classes_may_be_renamed(self):
        logits, cues, tags, image = make((2, 4, 6, 5))
        order = [0, 3, 1, 2]
        renamed = torch.full_like(cues, 255)
        for new, old in enumerate(order):
            renamed[cues == old] = new
        loss = WeightedSumLoss(terms())
        expected = loss(logits, {"weak_label": cues, "slice_tags": tags, "image": image})
        value = loss(logits[:, order], {"weak_label": renamed, "slice_tags": tags[:, order], "image": image})
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)

    def test_slices_equal_volumes_of_depth_one(self):
        logits, cues, tags, image = make((2, 3, 6, 5))
        loss = WeightedSumLoss(terms())
        expected = loss(logits, {"weak_label": cues, "slice_tags": tags, "image": image})
        target = {"weak_label": cues.unsqueeze(2), "slice_tags": tags, "image": image.unsqueeze(2)}
        torch.testing.assert_close(loss(logits.unsqueeze(2), target), expected, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("stride", [1, 2])
    def test_autocast_and_half_logits_give_float32(self, stride):
        logits, cues, tags, image = make((2, 3, 8, 8))
        half = logits.bfloat16()
        target = {"weak_label": cues, "slice_tags": tags, "image": image.float()}
        expected = WeightedSumLoss(terms(stride=stride))(half.float(), target)
        for loss, key in ((SeedingLoss(), "weak_label"), (ExpansionLoss(), "slice_tags")):
            torch.testing.assert_close(loss(half, target[key]), loss(half.float(), target[key]))
        alone = ConstrainToBoundaryLoss(stride=stride)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = WeightedSumLoss(terms(stride=stride))(half, target)
            boundary = alone(half, target["image"])
        assert inside.dtype == boundary.dtype == torch.float32
        torch.testing.assert_close(inside, expected)
        torch.testing.assert_close(boundary, alone(half.float(), target["image"]))

    def test_probabilities_may_be_handed_in(self):
        logits, cues, tags, image = make((2, 3, 6, 5))
        probs = torch.softmax(logits, 1)
        for loss, target in ((SeedingLoss(), cues), (ExpansionLoss(), tags), (ConstrainToBoundaryLoss(), image)):
            torch.testing.assert_close(loss(logits, target, probs=probs), loss(logits, target))

    def test_copies_and_pickles(self):
        logits, cues, tags, image = make((2, 3, 6, 5))
        loss = WeightedSumLoss(terms(stride=2))
        target = {"weak_label": cues, "slice_tags": tags, "image": image}
        expected = loss(logits, target)
        for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            assert torch.equal(other(logits, target), expected)
        assert loss.state_dict() == {}

    @pytest.mark.parametrize("value", ["false", 1])
    def test_truth_values_of_a_command_line_are_refused(self, value):
        with pytest.raises(ValueError, match="balanced must be true or false"):
            SeedingLoss(balanced=value)
