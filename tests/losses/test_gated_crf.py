# SPDX-License-Identifier: Apache-2.0
"""The gated CRF loss against the sum over all pairs."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import pytest
import torch
from torch import Tensor

from wss_monai.functional.cue_maps import block_mean
from wss_monai.losses import GatedCRFLoss, WeightedSumLoss

TWO = [{"weight": 0.9, "xy": 2.0, "image": 0.3}, {"weight": 0.1, "xy": 1.0}, {"image": [0.4]}]


def make(shape: tuple[int, ...], channels: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits, torch.rand((shape[0], channels, *shape[2:]), generator=generator, dtype=torch.float64)


def all_pairs(
    logits: Tensor,
    image: Tensor,
    kernels: list[dict],
    radius: list[int],
    source: Tensor | None = None,
    destination: Tensor | None = None,
    spacing: list[float] | None = None,
) -> float:
    """The energy, pair by pair."""
    p = torch.softmax(logits, 1)
    places = list(itertools.product(*(range(n) for n in logits.shape[2:])))
    total = 0.0
    for sample, i, j in itertools.product(range(len(p)), places, places):
        if i == j or any(abs(a - b) > r for a, b, r in zip(i, j, radius, strict=True)):
            continue
        apart = [a - b for a, b in zip(i, j, strict=True)]
        apart = [d * s for d, s in zip(apart, spacing, strict=True)] if spacing else apart
        affinity = 0.0
        for kernel in kernels:
            power = 0.0
            if "xy" in kernel:
                power += sum(d**2 for d in apart) / kernel["xy"] ** 2
            if "image" in kernel:
                width = kernel["image"] if isinstance(kernel["image"], list) else [kernel["image"]] * image.shape[1]
                difference = image[(sample, slice(None), *i)] - image[(sample, slice(None), *j)]
                power += float((difference / torch.tensor(width, dtype=torch.float64)).square().sum())
            affinity += kernel.get("weight", 1.0) * math.exp(-power / 2)
        for gate, at in ((destination, i), (source, j)):
            affinity *= 1.0 if gate is None else float(gate[(sample, 0, *at)])
        agree = float((p[(sample, slice(None), *i)] * p[(sample, slice(None), *j)]).sum())
        total += affinity * (1 - agree)
    gate = source if destination is None else destination
    return total / (len(p) * len(places) if gate is None else float(gate.sum()))


class TestValue:
    def test_by_hand(self):
        logits = torch.tensor([[[0.9, 0.4], [0.1, 0.6]]], dtype=torch.float64).log()
        image = torch.tensor([[[0.2, 0.3]]], dtype=torch.float64)
        # exp(-1 / 72 - 1 / 2) (1 - .36 - .06), once in each direction, over two voxels
        assert GatedCRFLoss()(logits, image).item() == pytest.approx(0.58 * math.exp(-1 / 72 - 0.5))

    @pytest.mark.parametrize(
        ("shape", "radius"),
        [((2, 3, 6), [2]), ((2, 3, 4, 5), [1, 2]), ((2, 2, 3, 2, 4), [1, 1, 2]), ((1, 2, 3, 3), [9, 9])],
    )
    @pytest.mark.parametrize("kernels", [TWO[:1], TWO])
    def test_equals_the_sum_over_all_pairs(self, shape, radius, kernels):
        logits, image = make(shape)
        loss = GatedCRFLoss(kernels, radius)
        assert loss(logits, image).item() == pytest.approx(all_pairs(logits, image, kernels, radius), abs=1e-12)

    def test_channels_have_widths_of_their_own(self):
        logits, image = make((1, 2, 4, 3), channels=2)
        for width in (0.3, [0.2, 0.6]):
            kernels = [{"xy": 2.0, "image": width}]
            expected = all_pairs(logits, image, kernels, [2, 2])
            assert GatedCRFLoss(kernels, 2)(logits, image).item() == pytest.approx(expected)

    @pytest.mark.parametrize("gates", [["source"], ["destination"], ["source", "destination"]])
    def test_gates(self, gates):
        logits, image = make((2, 3, 4, 3))
        masks = {name: make((2, 3, 4, 3))[0][:, k : k + 1] > -0.3 for k, name in enumerate(gates)}
        expected = all_pairs(logits, image, TWO, [2, 2], **masks)
        loss = GatedCRFLoss(TWO, 2)
        assert loss(logits, image, **masks).item() == pytest.approx(expected)
        marked = {name: torch.where(mask, 3, 255) for name, mask in masks.items()}
        assert loss(logits, image, **marked).item() == pytest.approx(expected)

    def test_closed_gates_cost_nothing(self):
        logits, image = make((2, 3, 4, 3))
        logits.requires_grad_()
        value = GatedCRFLoss()(logits, image, source=torch.zeros(2, 1, 4, 3))
        value.backward()
        assert value.item() == 0 and not logits.grad.any()

    def test_widths_in_mm(self):
        logits, image = make((2, 2, 3, 4))
        kernels = [{"xy": 4.0, "image": 0.4}]
        expected = [
            all_pairs(logits[i : i + 1], image[i : i + 1], kernels, [2, 2], spacing=s)
            for i, s in enumerate(([3.0, 1.0], [1.0, 2.0]))
        ]
        value = GatedCRFLoss(kernels, 2, mm=True)(logits, image, spacing=torch.tensor([[3.0, 1.0], [1.0, 2.0]]))
        assert value.item() == pytest.approx(sum(expected) / 2)
        same = GatedCRFLoss(kernels, 2)
        assert torch.equal(same(logits, image, spacing=torch.ones(2, 2) * 7), same(logits, image))

    def test_mm_of_a_coarser_grid(self):
        logits, _ = make((1, 2, 3, 4))
        image = make((1, 2, 17, 8))[1]
        kernels = [{"xy": 4.0, "image": 0.4}]
        value = GatedCRFLoss(kernels, 2, mm=True)(logits, image, spacing=torch.tensor([[0.25, 1.5]]))
        seen = block_mean(image[:, :, ::8], (1, 2))
        expected = all_pairs(logits, seen, kernels, [2, 2], spacing=[2.0, 3.0])
        assert value.item() == pytest.approx(expected)

    def test_stride_averages_softmax_and_image(self):
        logits, image = make((1, 2, 6, 5))
        p, seen = block_mean(torch.softmax(logits, 1), (2, 2)), block_mean(image, (2, 2))
        expected = all_pairs(p.log(), seen, TWO, [1, 1])
        assert GatedCRFLoss(TWO, 1, stride=2)(logits, image).item() == pytest.approx(expected)

    def test_certain_agreement_costs_nothing_and_alike_neighbours_should_agree(self):
        image = torch.zeros(1, 1, 4, 4)
        image[..., 2:] = 1
        halves = torch.zeros(1, 2, 4, 4)
        halves[:, 0], halves[:, 1] = 60 * (image[:, 0] < 0.5), 60 * (image[:, 0] > 0.5)
        assert GatedCRFLoss()(halves, image).item() < 1e-6
        assert GatedCRFLoss()(halves.transpose(2, 3), image).item() > 1


class TestGradient:
    @pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 3, 2, 4)])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_gradcheck(self, shape, stride):
        logits, image = make(shape)
        gate = make(shape)[0][:, :1] > -0.5
        loss = GatedCRFLoss(TWO, 2, stride)
        assert torch.autograd.gradcheck(
            lambda z: loss(z, image, source=gate, destination=~gate | gate.flip(-1)), logits.requires_grad_()
        )

    def test_a_second_derivative_is_refused(self):
        logits, image = make((1, 2, 3, 3))
        value = GatedCRFLoss()(logits.requires_grad_(), image)
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(value, logits, create_graph=True)

    def test_a_step_against_it_lowers_the_energy(self):
        logits, image = make((1, 3, 8, 8))
        loss, leaf = GatedCRFLoss(), logits.clone().requires_grad_()
        value = loss(leaf, image)
        value.backward()
        assert loss(logits - leaf.grad, image) < value

    @pytest.mark.parametrize(("shape", "radii"), [((1, 3, 40, 40), (1, 6)), ((1, 3, 12, 12, 12), (1, 3))])
    def test_memory_does_not_grow_with_the_window(self, shape, radii):
        logits, image = make(shape)
        logits.requires_grad_()
        kept = []
        for radius in radii:
            sizes: list[int] = []
            with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
                GatedCRFLoss(radius=radius)(logits, image)
            kept.append(sum(sizes))
        assert kept[0] == kept[1] <= 4 * logits.numel()

    def test_peak_memory_is_a_few_maps(self):
        logits, image = (t.float() for t in make((1, 4, 64, 64)))
        peaks = []
        for radius in (1, 8):
            leaf = logits.clone().requires_grad_()
            with torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
            ) as profile:
                GatedCRFLoss(radius=radius)(leaf, image).backward()
            held = peak = 0
            for event in sorted(
                (e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"),
                key=lambda e: e.start_ns(),
            ):
                held += event.nbytes()
                peak = max(peak, held)
            peaks.append(peak)
        assert peaks[1] < 1.5 * peaks[0] < 12 * logits.numel() * 4


class TestUse:
    @pytest.mark.parametrize("mm", [False, True])
    def test_term_of_a_sum(self, mm):
        logits, image = make((2, 3, 4, 5))
        loss = WeightedSumLoss({"gated": (GatedCRFLoss(mm=mm), 0.1)})
        assert loss.target_keys() == {"image", "spacing"}
        target = {"image": image, "spacing": torch.ones(2, 2)}
        value = loss(logits, target)
        torch.testing.assert_close(value, 0.1 * GatedCRFLoss()(logits, image), rtol=1e-6, atol=1e-7)
        assert set(loss.parts) == {"gated"}

    def test_gates_from_the_batch(self):
        logits, image = make((2, 3, 4, 5))
        loss = GatedCRFLoss(source_key="body", destination_key="unlabelled")
        total = WeightedSumLoss({"gated": (loss, 1.0)})
        assert total.target_keys() == {"image", "spacing", "body", "unlabelled"}
        body, unlabelled = image > 0.3, image < 0.8
        value = total(logits, {"image": image, "body": body, "unlabelled": unlabelled})
        expected = GatedCRFLoss()(logits, image, source=body, destination=unlabelled)
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)

    def test_autocast_and_half_logits_give_float32(self):
        logits, image = make((2, 3, 8, 8))
        half, image = logits.bfloat16(), image.float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = GatedCRFLoss(stride=2)(half, image)
        assert inside.dtype == torch.float32
        torch.testing.assert_close(inside, GatedCRFLoss(stride=2)(half.float(), image))

    def test_copies_and_pickles(self):
        logits, image = make((2, 3, 4, 5))
        loss = GatedCRFLoss(TWO, [1, 2])
        for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            assert torch.equal(other(logits, image), loss(logits, image))
            assert repr(other) == repr(loss) and "radius=[1, 2]" in repr(loss)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"kernels": []}, "kernels is empty"),
            ({"kernels": [{"weight": 1.0}]}, "a kernel is"),
            ({"kernels": [{"xy": 0.0}]}, "a kernel is"),
            ({"kernels": [{"xy": 6.0, "rgb": 0.1}]}, "a kernel is"),
            ({"kernels": [{"xy": 6.0, "weight": "one"}]}, "a kernel is"),
            ({"radius": 0}, "radius must be a whole number"),
            ({"radius": 2.5}, "radius must be a whole number"),
            ({"stride": [1, 0]}, "stride must be a whole number"),
            ({"mm": "true"}, "mm must be true or false"),
        ],
    )
    def test_wrong_settings_are_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            GatedCRFLoss(**settings)

    @pytest.mark.parametrize(
        ("settings", "targets", "message"),
        [
            ({}, {"image": torch.zeros(1, 1, 4, 4)}, r"image must be \(2, C"),
            ({}, {"image": torch.zeros(2, 1, 3, 4)}, "cannot be put on a grid"),
            ({}, {"source": torch.zeros(2, 3, 4, 4)}, r"source must be \(2, 1"),
            ({}, {"image": torch.full((2, 1, 4, 4), torch.nan)}, "image holds NaN or infinite voxels"),
            ({"radius": [1, 1, 1]}, {}, "for each of 2 axes"),
            ({"kernels": [{"image": [0.1, 0.1]}]}, {}, "for each of 1 channels"),
            ({"mm": True}, {}, r"spacing must be \(B, D\)"),
            ({"mm": True}, {"spacing": torch.ones(2, 3)}, r"spacing must be \(B, D\)"),
        ],
    )
    def test_wrong_targets_are_refused(self, settings, targets, message):
        with pytest.raises(ValueError, match=message):
            GatedCRFLoss(**settings)(torch.zeros(2, 3, 4, 4), **{"image": torch.zeros(2, 1, 4, 4), **targets})
