# SPDX-License-Identifier: Apache-2.0
"""Scores of the foreground from raw class activation maps."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, Compose, EnsureChannelFirstd, Invertd, SpatialPadd

from wss_monai.functional.cams.channels import per_slice, slice_tag_logits
from wss_monai.transforms import CAMLogitsd, CAMScores, CAMScoresd

# one modality, 1 x 4 voxels a slice, two slices: the first is positive (mean 1 > 0), the second negative
POSITIVE, NEGATIVE = [4.0, 2.0, 0.0, -2.0], [-4.0, 1.0, 0.5, -2.0]
ZERO = [0.0] * 4


def volume(*modalities: list[list[float]], background: float = 0.0) -> torch.Tensor:
    """Raw maps (2 M, 1, 4, S) of foreground values by modality and slice, over a constant background map."""
    maps = []
    for slices in modalities:
        foreground = torch.tensor(slices).T[None]
        maps += [torch.full_like(foreground, background), foreground]
    return torch.stack(maps)


def rows(score: torch.Tensor, channel: int = 0) -> list[list[float]]:
    return [[round(float(v), 4) for v in score[channel, 0, :, s]] for s in range(score.shape[-1])]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_evidence_is_not_scaled():
    """Its sigmoid is the score, so that 0.5 is where evidence is 0, in strong and in weak slices."""
    score = CAMScores(1, gate="none", normalize="evidence")(volume([POSITIVE, NEGATIVE]))
    assert rows(score) == [[round(sigmoid(v), 4) for v in values] for values in (POSITIVE, NEGATIVE)]


class TestOneModality:
    raw = volume([POSITIVE, NEGATIVE])

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, [[1, 0.5, 0, 0], [0, 0, 0, 0]]),
            ({"gate": "none"}, [[1, 0.5, 0, 0], [0, 1, 0.5, 0]]),
            ({"gate": "none", "normalize": "volume"}, [[1, 0.5, 0, 0], [0, 0.25, 0.125, 0]]),
            ({"fuse": "max", "gate": "none"}, [[1, 0.5, 0, 0], [0, 1, 0.5, 0]]),
            ({"fuse": 0}, [[1, 0.5, 0, 0], [0, 0, 0, 0]]),
        ],
    )
    def test_by_hand(self, settings, expected):
        score = CAMScores(1, **settings)(self.raw)
        assert score.shape == (1, 1, 4, 2) and score.dtype == torch.float32
        assert rows(score) == expected

    def test_soft_gate_multiplies_by_the_probability(self):
        score = CAMScores(1, gate="soft")(self.raw)
        assert float(score[0, 0, 0, 0]) == pytest.approx(sigmoid(1), abs=1e-6)
        assert float(score[0, 0, 1, 1]) == pytest.approx(sigmoid(-4.5 / 4), abs=1e-6)

    @pytest.mark.parametrize(
        ("tags", "kept"), [([1, 1], [1, 1]), ([0, 0], [0, 0]), ([0, 1], [0, 1]), ([-1, -1], [1, 0])]
    )
    def test_known_tags_decide_and_the_prediction_where_they_are_unknown(self, tags, kept):
        known = torch.tensor([[-1, tag] for tag in tags])
        score = CAMScores(1, gate="tags")(self.raw, known)
        assert [float(v) for v in score.amax((0, 1, 2))] == pytest.approx(kept, abs=1e-5)

    def test_the_background_counts_for_the_gate(self):
        assert CAMScores(1)(volume([POSITIVE, POSITIVE], background=1.5)).max() == 0

    def test_nowhere_positive_and_constant_maps_are_0(self):
        raw = volume([[-1.0] * 4, [2.0] * 4, [0.0] * 4], background=-9)
        score = CAMScores(1)(raw)
        assert bool((score == 0).all())

    def test_a_third_channel_is_shown_and_does_not_gate(self):
        shown = torch.tensor([[0.0, 0.0, 3.0, 6.0], [0.0, 1.0, 0.0, 0.0]]).T[None, None]
        assert rows(CAMScores(1)(torch.cat((self.raw, shown)))) == [[0, 0, 0.5, 1], ZERO]


class TestSeveral:
    # slice 0: both positive; slice 1: the first strongly positive, the second weakly negative; slice 2 the reverse
    first = [[4.0, 2.0, 0.0, 0.0], [8.0, 0.0, 0.0, 4.0], [-1.0, 1.0, -4.0, 0.0]]
    second = [[0.0, 0.0, 2.0, 1.0], [0.2, -0.8, 0.0, 0.2], [-9.0, 1.0, 0.0, 0.0]]

    def test_mean_with_the_gate_of_all_together(self):
        maps = CAMScores(["T2", "ADC"]).all_maps(volume(self.first, self.second))
        assert maps.shape == (3, 1, 4, 3)
        assert rows(maps, 0) == [[1, 0.5, 0, 0], [1, 0, 0, 0.5], ZERO]
        assert rows(maps, 1) == [[0, 0, 1, 0.5], ZERO, ZERO]
        # slice 1: the mean of sigmoid(3) and sigmoid(-0.1) is above a half, so the second's map counts too
        assert rows(maps, 2) == [[0.5, 0.25, 0.5, 0.25], [1, 0, 0, 0.75], ZERO]

    def test_max_and_single_modalities(self):
        raw = volume(self.first, self.second)
        assert rows(CAMScores(2, "max")(raw))[0] == pytest.approx([1, 0.5, 1, 0.5], abs=1e-5)
        for choice in (1, "ADC"):
            score = CAMScores(["T2", "ADC"], choice)(raw)
            assert rows(score) == [[0, 0, 1, 0.5], ZERO, ZERO]

    @pytest.mark.parametrize("modalities", [1, 2, 4])
    @pytest.mark.parametrize("each", [2, 3])
    @pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4)])
    @pytest.mark.parametrize("axis", [0, 1, 2, None])
    def test_finite_and_in_range(self, modalities, each, shape, axis):
        raw = torch.randn(modalities * each, *shape, generator=torch.Generator().manual_seed(0)).half()
        for gate in ("predicted", "soft", "none"):
            for norm in ("slice", "volume"):
                maps = CAMScores(modalities, gate=gate, normalize=norm, slice_axis=axis).all_maps(raw)
                assert maps.shape == (modalities + 1, *shape) and maps.dtype == torch.float32
                assert bool(maps.isfinite().all()) and float(maps.min()) >= 0 and float(maps.max()) <= 1

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_every_axis_is_the_last_one_turned(self, axis):
        raw = torch.randn(4, 3, 4, 5, generator=torch.Generator().manual_seed(1))
        turned = CAMScores(2)(raw.movedim(axis + 1, 3))
        torch.testing.assert_close(CAMScores(2, slice_axis=axis)(raw).movedim(axis + 1, 3), turned)

    def test_the_volume_as_one_image(self):
        raw = volume([POSITIVE, NEGATIVE])  # mean of all: (4 - 4.5) / 8 < 0
        assert CAMScores(1, slice_axis=None)(raw).max() == 0
        score = CAMScores(1, gate="tags", slice_axis=None)(raw, [0, 1])
        assert rows(score) == [[1, 0.5, 0, 0], [0, 0.25, 0.125, 0]]

    def test_an_image_of_two_axes_is_one_slice(self):
        raw = volume([POSITIVE])
        flat, whole = CAMScores(1)(raw[..., 0]), CAMScores(1)(raw)
        torch.testing.assert_close(flat, whole[..., 0])
        assert CAMScores(1, gate="tags")(raw[..., 0], torch.tensor([[1, 0]])).max() == 0

    def test_logits_of_slices(self):
        logits = slice_tag_logits(volume(self.first, self.second, background=0.5), 2)
        assert logits.shape == (3, 2, 2)
        torch.testing.assert_close(logits[1], torch.tensor([[0.5, 3.0], [0.5, -0.1]]))


class TestMessages:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((0,), "modalities must be at least 1"),
            (([],), "modalities must be at least 1"),
            ((2, "median"), "fuse must be one of mean, max, 0, 1 or an index below 2, got 'median'"),
            ((2, 2), "fuse must be one of"),
            ((2, True), "fuse must be one of"),
            ((1, "mean", "oracle"), "gate must be one of predicted, tags, none, soft, got 'oracle'"),
            ((1, "mean", "none", "z"), "normalize must be one of slice, volume, evidence, got 'z'"),
        ],
    )
    def test_words(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            CAMScores(*arguments)

    def test_maps_and_tags_that_do_not_fit(self):
        raw = volume([POSITIVE, NEGATIVE])
        with pytest.raises(ValueError, match="2 channels are not 2 or 3 for each of 2 modalities"):
            CAMScores(2)(raw)
        with pytest.raises(ValueError, match="gate 'tags' needs the tags"):
            CAMScores(1, gate="tags")(raw)
        with pytest.raises(ValueError, match=r"tags must be \(2, 2\)"):
            CAMScores(1, gate="tags")(raw, torch.zeros(3, 2))
        with pytest.raises(ValueError, match="diverged"):
            CAMScores(1)(raw * math.nan)
        with pytest.raises(ValueError, match="slice_axis must be 0, 1 or 2"):
            per_slice(raw, 3)


class TestDictionary:
    def test_keys_tags_and_maps(self):
        case = {"raw": volume([POSITIVE, NEGATIVE]), "slice_tags": torch.tensor([[1, 0], [1, 1]]), "name": "a"}
        before = case["raw"].clone()
        out = CAMScoresd("raw", 1, gate="tags", maps_key="maps")(case)
        assert rows(out["raw"]) == [ZERO, [0, 1, 0.5, 0]]
        assert out["maps"].shape == (2, 1, 4, 2) and out["name"] == "a"
        assert torch.equal(case["raw"], before) and "maps" not in case

    def test_keys_that_are_missing_or_do_not_pair(self):
        assert CAMScoresd("pred", 1, allow_missing_keys=True)({"a": 1}) == {"a": 1}
        with pytest.raises(KeyError):
            CAMScoresd("pred", 1)({"a": 1})
        with pytest.raises(ValueError, match="there are none: take gate 'predicted'"):
            CAMScoresd("pred", 1, gate="tags")({"pred": torch.zeros(2, 4, 4, 2)})
        with pytest.raises(ValueError, match="maps_key must name one key for each"):
            CAMScoresd(["a", "b"], 1, maps_key="maps")

    def test_back_on_the_image_s_own_grid(self):
        """Raw maps on a padded grid: score, logits and mask keep the meta data, and Invertd takes the padding off."""
        load = Compose([EnsureChannelFirstd("image", channel_dim="no_channel"), SpatialPadd("image", (6, 8, 3))])
        affine = torch.diag(torch.tensor([2.0, 0.5, 4.0, 1.0], dtype=torch.float64))
        case = load({"image": MetaTensor(torch.zeros(4, 6, 3), affine=affine)})
        raw = torch.full((2, 6, 8, 3), -0.01)
        raw[1, 2:4, 3:5, 1] = 20.0
        case["pred"] = MetaTensor(raw, meta=case["image"].meta, applied_operations=case["image"].applied_operations)
        post = Compose(
            [
                CAMScoresd("pred", 1, maps_key="maps"),
                CAMLogitsd("pred", 0.5),
                Invertd(["pred", "maps"], load, orig_keys="image", nearest_interp=False),
                AsDiscreted("pred", argmax=True),
            ]
        )
        out = post(case)
        assert out["pred"].shape == (1, 4, 6, 3) and out["maps"].shape == (2, 4, 6, 3)
        expected = torch.zeros(1, 4, 6, 3)
        expected[:, 1:3, 2:4, 1] = 1
        assert torch.equal(out["pred"].as_tensor(), expected)
        assert torch.allclose(out["pred"].affine, affine) and torch.allclose(out["maps"].affine, affine)

    def test_meta_data_stays(self):
        raw = MetaTensor(volume([POSITIVE, NEGATIVE]), applied_operations=[{"class": "X"}])
        score = CAMScores(1)(raw)
        assert isinstance(score, MetaTensor) and score.applied_operations == [{"class": "X"}]
        assert not isinstance(CAMScores(1)(raw.as_tensor()), MetaTensor)
