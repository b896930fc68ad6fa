# SPDX-License-Identifier: Apache-2.0
"""Post-processing by a dense CRF."""

from __future__ import annotations

import logging
from copy import deepcopy

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, Compose, EnsureTyped, Invertd, ResizeWithPadOrCropd, Spacingd

from wss_monai.functional.crf import dense_crf
from wss_monai.transforms import DenseCRFd, RefineByDenseCRF
from wss_monai.transforms.dense_crf import to_bytes_range

EXACT = {"method": "exact"}


def affine(*spacing: float) -> torch.Tensor:
    return torch.diag(torch.tensor([*spacing, *[1.0] * (4 - len(spacing))], dtype=torch.float64))


def regions(shape: tuple[int, ...], spacing: tuple[float, ...] = (1.0, 1.0, 1.0), seed: int = 0):
    """An image of two noisy halves, its reference, and logits of a network that errs in one voxel of six."""
    R = np.random.RandomState(seed)
    reference = torch.zeros(1, *shape)
    reference[:, shape[0] // 2 :] = 1
    image = 100 + 80 * reference + 5 * torch.from_numpy(R.randn(1, *shape)).float()
    wrong = torch.from_numpy(R.rand(*shape) < 1 / 6)[None]
    seen = torch.where(wrong, 1 - reference, reference)
    logits = torch.cat([1 - seen, seen]) * 2 + 0.5 * torch.from_numpy(R.randn(2, *shape)).float()
    grid = affine(*spacing)
    return MetaTensor(image, affine=grid), reference.long(), MetaTensor(logits, affine=grid)


def accuracy(scores: torch.Tensor, reference: torch.Tensor) -> float:
    return float((torch.as_tensor(scores).argmax(0) == reference[0]).double().mean())


def probabilities(log_q: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(log_q).exp()


class TestLabels:
    @pytest.mark.parametrize(("shape", "axis"), [((24, 24), None), ((16, 12, 6), 2), ((16, 12, 6), None)])
    def test_noisy_labels_get_better(self, shape, axis):
        image, reference, logits = regions(shape)
        refined = RefineByDenseCRF(axis, **EXACT)(logits, image)
        assert accuracy(logits, reference) < 0.9
        assert accuracy(refined, reference) > 0.99
        assert refined.shape == logits.shape
        assert refined.dtype == torch.float32
        assert probabilities(refined).sum(0).sub(1).abs().max() < 1e-4

    def test_an_image_without_edges_does_not_hold_the_classes_apart(self):
        image, reference, logits = regions((24, 24))
        flat = MetaTensor(torch.full_like(image.as_tensor(), 7.0), affine=image.affine)
        with_edges = RefineByDenseCRF(theta_alpha=40.0, **EXACT)(logits, image)
        without = RefineByDenseCRF(theta_alpha=40.0, **EXACT)(logits, flat)
        assert accuracy(without, reference) < accuracy(with_edges, reference) - 0.2

    def test_what_it_writes(self):
        """log max(Q, floor) of the CRF on log max(p, floor) and the image in 0..255."""
        image, _, logits = regions((12, 10), (1.5, 2.0))
        settings = {"theta_alpha": 6.0, "theta_beta": 20.0, "theta_gamma": 2.0, "w_bilateral": 4.0, "iterations": 3}
        refined = RefineByDenseCRF(floor=1e-3, **settings, **EXACT)(10 * logits, image)
        unary = (10 * logits.as_tensor()).softmax(0).clamp_min(1e-3).log()
        values = to_bytes_range(image.as_tensor())
        expected = dense_crf(unary[None], values[None], spacing=[1.5, 2.0], method="exact", **settings)[0]
        torch.testing.assert_close(refined.as_tensor(), expected.clamp_min(1e-3).log())
        assert refined.min() == pytest.approx(np.log(1e-3))

    def test_widths_in_voxels(self):
        image, _, logits = regions((12, 10), (1.5, 2.0))
        bare, scores = (MetaTensor(t.as_tensor(), affine=affine(1.0, 1.0)) for t in (image, logits))
        found = RefineByDenseCRF(theta_alpha=6.0, mm=False, **EXACT)(logits, image)
        torch.testing.assert_close(
            found.as_tensor(), RefineByDenseCRF(theta_alpha=6.0, **EXACT)(scores, bare).as_tensor()
        )
        assert not torch.allclose(found, RefineByDenseCRF(theta_alpha=6.0, **EXACT)(logits, image))

    def test_logits_log_probabilities_and_probabilities_are_one(self):
        image, _, logits = regions((12, 10))
        expected = RefineByDenseCRF(**EXACT)(logits, image)
        torch.testing.assert_close(RefineByDenseCRF(**EXACT)(logits.log_softmax(0), image), expected)
        probs = RefineByDenseCRF(softmax=False, **EXACT)(logits.softmax(0), image)
        torch.testing.assert_close(probs, expected)

    def test_half_precision(self):
        image, _, logits = regions((12, 10))
        half = RefineByDenseCRF(**EXACT)(logits.half(), image.half())
        assert half.dtype == torch.float32
        torch.testing.assert_close(half.exp(), RefineByDenseCRF(**EXACT)(logits, image).exp(), rtol=0, atol=0.1)


class TestSlices:
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_a_volume_of_one_slice_is_its_slice(self, axis):
        shape, spacing = [14, 12], [1.2, 0.8]
        shape.insert(axis, 1)
        spacing.insert(axis, 8.0)
        image, _, logits = regions(tuple(shape[:]), tuple(spacing), seed=axis)
        image = MetaTensor(torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)), affine=image.affine)
        each, whole = RefineByDenseCRF(axis, **EXACT), RefineByDenseCRF(**EXACT)
        torch.testing.assert_close(each(logits, image), whole(logits, image))

    def test_slices_together_are_slices_one_by_one(self, monkeypatch):
        image, _, logits = regions((12, 10, 5), (1.0, 1.3, 5.0))
        image[..., 3] *= 0.5
        refine = RefineByDenseCRF(2, **EXACT)
        together = refine(logits, image)
        monkeypatch.setattr("wss_monai.transforms.dense_crf.CHUNK", 1)
        torch.testing.assert_close(refine(logits, image), together)
        values = to_bytes_range(image.as_tensor())  # the scale is that of the volume, in every slice
        unary = logits.as_tensor().log_softmax(0)
        for s in range(5):
            alone = dense_crf(unary[None, ..., s], values[None, ..., s], spacing=[1.0, 1.3], **refine.settings)[0]
            torch.testing.assert_close(probabilities(together[..., s]), alone, rtol=1e-3, atol=2e-5)

    def test_one_crf_over_the_volume_looks_across_slices(self):
        image, reference, logits = regions((12, 10, 5))
        logits[..., 2] = logits[..., 2].flip(0)  # a slice whose labels are the wrong way round
        sliced, whole = RefineByDenseCRF(2, **EXACT)(logits, image), RefineByDenseCRF(**EXACT)(logits, image)
        assert accuracy(sliced[..., 2], reference[..., 2]) < 0.1
        assert accuracy(whole[..., 2], reference[..., 2]) > 0.9
        far = MetaTensor(image.as_tensor(), affine=affine(1, 1, 80))  # too far for a width of 10 mm
        apart = MetaTensor(logits.as_tensor(), affine=far.affine)
        assert accuracy(RefineByDenseCRF(**EXACT)(apart, far)[..., 2], reference[..., 2]) < 0.1


class TestSpacing:
    def test_widths_are_in_mm(self):
        """Twice the voxel size and twice the width is the same; the width alone is not."""
        image, _, logits = regions((14, 12), (1.0, 1.0))
        fine = RefineByDenseCRF(theta_alpha=3.0, theta_gamma=1.0, **EXACT)(logits, image)
        grid = affine(2.0, 2.0)
        image2, logits2 = (MetaTensor(t.as_tensor(), affine=grid) for t in (image, logits))
        coarse = RefineByDenseCRF(theta_alpha=6.0, theta_gamma=2.0, **EXACT)(logits2, image2)
        torch.testing.assert_close(fine.as_tensor(), coarse.as_tensor())
        other = RefineByDenseCRF(theta_alpha=3.0, theta_gamma=1.0, **EXACT)(logits2, image2)
        assert (fine.as_tensor() - other.as_tensor()).abs().max() > 0.1

    def test_without_an_affine_voxels_are_1_mm_with_one_warning(self, caplog):
        image, _, logits = regions((14, 12))
        refine = RefineByDenseCRF(**EXACT)
        with caplog.at_level(logging.WARNING, logger="wss_monai"):
            first, bare = (refine(logits.as_tensor(), image.as_tensor()) for _ in range(2))
            assert torch.equal(first, bare)
        assert [record.getMessage() for record in caplog.records] == [
            "the image carries no affine: the CRF takes voxels of 1 mm."
        ]
        assert type(bare) is torch.Tensor
        torch.testing.assert_close(bare, refine(logits, image).as_tensor())


class TestImage:
    def test_percentiles_become_0_and_255_in_each_channel(self):
        ramp = torch.linspace(0, 1, 2001)
        image = torch.stack([ramp, 1000 * ramp - 500]).view(2, 2001, 1)
        scaled = to_bytes_range(image)
        torch.testing.assert_close(scaled[0], scaled[1], rtol=0, atol=1e-3)
        torch.testing.assert_close(scaled[0, :, 0], ((ramp - 0.005) / 0.99 * 255).clamp(0, 255), rtol=0, atol=1e-3)

    def test_constant_and_nearly_constant_channels(self):
        image = torch.full((2, 40, 40), 3.0)
        image[1, 0, 0] = 5.0
        scaled = to_bytes_range(image)
        assert (scaled[0] == 0).all()
        assert scaled[1].unique().tolist() == [0, 255]
        assert scaled[1, 0, 0] == 255

    def test_its_scale_does_not_matter(self):
        image, _, logits = regions((14, 12))
        refine = RefineByDenseCRF(**EXACT)
        torch.testing.assert_close(refine(logits, image), refine(logits, image / 200 - 3), rtol=1e-3, atol=1e-3)


class TestInABundle:
    def case(self) -> dict:
        image, reference, _ = regions((24, 20, 5), (1.0, 1.0, 5.0))
        return {"image": image, "reference": reference}

    def prepare(self) -> Compose:
        return Compose(
            [
                EnsureTyped(keys="image", track_meta=True),
                Spacingd(keys="image", pixdim=(1.5, 1.25, -1.0), mode="bilinear"),
                ResizeWithPadOrCropd(keys="image", spatial_size=(20, 12, -1)),
            ]
        )

    def test_inverted_as_without_it(self):
        case = self.case()
        prepare = self.prepare()
        item = prepare({"image": case["image"]})
        R = torch.Generator().manual_seed(1)
        bright = (item["image"] > 140).float()
        logits = torch.cat([1 - bright, bright]) + 1.2 * torch.randn(2, *bright.shape[1:], generator=R)
        item["pred"] = logits
        assert len(DenseCRFd(**EXACT)(item)["pred"].applied_operations) == len(item["image"].applied_operations) == 2
        after = [
            Invertd(keys="pred", transform=prepare, orig_keys="image", nearest_interp=False),
            AsDiscreted(keys="pred", argmax=True),
        ]
        plain = Compose(after)(deepcopy(item))["pred"]
        refined = Compose([DenseCRFd(keys="pred", slice_axis=2, **EXACT), *after])(deepcopy(item))["pred"]
        assert refined.shape == plain.shape == case["image"].shape
        assert torch.equal(refined.affine, plain.affine)
        inside = torch.zeros_like(case["reference"], dtype=torch.bool)
        inside[:, :, 4:16] = True  # what was cropped away comes back as background
        right = [float((p == case["reference"])[inside].double().mean()) for p in (plain, refined)]
        assert right[0] < 0.85
        assert right[1] > 0.95

    def test_keys_and_names(self):
        image, _, logits = regions((10, 8))
        data = {"pred": logits, "t1": image, "case": "a"}
        out = DenseCRFd("pred", image_key="t1", iterations=2, **EXACT)(data)
        assert out["case"] == "a"
        assert data["pred"] is logits
        torch.testing.assert_close(out["pred"], RefineByDenseCRF(iterations=2, **EXACT)(logits, image))
        assert DenseCRFd("other", allow_missing_keys=True)(data)["pred"] is logits


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"method": "fast"}, "method must be one of .*, got 'fast'"),
            ({"floor": 0.0}, "floor must lie between 0 and 1, got 0.0"),
        ],
    )
    def test_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            DenseCRFd(**settings)

    @pytest.mark.parametrize(
        ("pred", "image", "settings", "message"),
        [
            (
                (2, 8, 8),
                (1, 8, 9),
                {},
                r"\(2, 8, 8\) and image \(1, 8, 9\) are not on one grid: put the CRF",
            ),
            ((2, 8, 8), (8, 8), {}, r"both channel-first and of one case, got \(2, 8, 8\) and \(8, 8\)"),
            ((2, 2, 8, 8, 8), (1, 1, 8, 8, 8), {}, "both channel-first and of one case"),
            ((1, 8, 8), (1, 8, 8), {}, r"prediction \(1, 8, 8\) has a single channel: .* put it before AsDiscreted"),
            ((2, 8, 8), (1, 8, 8), {"slice_axis": 2}, r"slice_axis 2 needs a volume of three spatial axes"),
            ((2, 8, 8, 4), (1, 8, 8, 4), {"slice_axis": 3}, r"slice_axis 3 needs a volume"),
            ((2, 8, 8), (1, 8, 8), {"softmax": False}, "softmax=False needs a prediction of probabilities"),
        ],
    )
    def test_data(self, pred, image, settings, message):
        with pytest.raises(ValueError, match=message):
            DenseCRFd(**settings)({"pred": torch.randn(pred), "image": torch.rand(image)})

    def test_probabilities_for_logits(self):
        with pytest.raises(ValueError, match="the prediction holds probabilities, but logits are expected"):
            DenseCRFd()({"pred": torch.randn(3, 8, 8).softmax(0), "image": torch.rand(1, 8, 8)})

    def test_affines_that_differ(self):
        image, _, logits = regions((8, 8), (2.0, 2.0))
        moved = MetaTensor(logits.as_tensor(), affine=affine(1.5, 2.0))
        with pytest.raises(ValueError, match="different affines"):
            DenseCRFd(**EXACT)({"pred": moved, "image": image})
        bare = MetaTensor(logits.as_tensor())  # a network that lost the affine: the image's counts
        assert DenseCRFd(**EXACT)({"pred": bare, "image": image})["pred"].shape == logits.shape
