# SPDX-License-Identifier: Apache-2.0
"""Logits of two classes from a score and a threshold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, Compose

from wss_monai.transforms import CAMLogits, CAMLogitsd, DenseCRFd


def score_of(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, -1)


def mask(logits: torch.Tensor) -> list[int]:
    return logits.argmax(0).flatten().tolist()


def test_values_by_hand():
    logits = CAMLogits(0.2)(score_of(0.5, 0.8, 0.2))
    assert logits.shape == (2, 1, 3) and logits.dtype == torch.float32
    assert logits[0].abs().max() == 0
    assert logits[1].flatten().tolist() == pytest.approx([math.log(4), math.log(16), 0], abs=1e-5)


def test_the_ends_are_bounded():
    logits = CAMLogits(0.5, clip=0.01)(score_of(0, 1, 0.001))
    assert logits[1].flatten().tolist() == pytest.approx([-math.log(99), math.log(99), -math.log(99)], abs=1e-4)


@pytest.mark.parametrize("threshold", [1e-5, 0.05, 0.1, 0.3, 0.5, 0.7, 0.95, 0.99999])
def test_the_larger_logit_is_the_side_of_the_threshold(threshold):
    step = np.nextafter(np.float32(threshold), np.float32(1))
    below = np.nextafter(np.float32(threshold), np.float32(0))
    score = score_of(0, 1, threshold, float(step), float(below), *np.linspace(0, 1, 41).tolist(), 1e-6, 1 - 1e-6)
    assert mask(CAMLogits(threshold)(score)) == (score > threshold).int().flatten().tolist()


class TestOtsu:
    def test_it_takes_the_positive_scores_alone(self):
        low, high = np.linspace(0.1, 0.2, 20).tolist(), np.linspace(0.8, 1.0, 20).tolist()
        score = score_of(*[0.0] * 1000, *low, *high)
        assert mask(CAMLogits("otsu")(score)) == [0] * 1020 + [1] * 20

    @pytest.mark.parametrize("values", [[0, 0, 0], [0, 0.3, 0.3], [0, 1.0, 1.0], [1.0], [0.0]])
    def test_nothing_to_split_is_background(self, values):
        logits = CAMLogits("otsu")(score_of(*values))
        assert bool(logits.isfinite().all())
        assert mask(logits) == [0] * len(values)


class TestFile:
    def test_it_is_read_when_it_is_used(self, tmp_path):
        file = tmp_path / "threshold.json"
        logits = CAMLogits(str(file), command="monai.bundle run choosing")
        with pytest.raises(FileNotFoundError, match=r"threshold\.json .*monai\.bundle run choosing writes it.*'otsu'"):
            logits(score_of(0.5))
        file.write_text(json.dumps({"threshold": 0.4, "patients": ["a"]}))
        assert mask(logits(score_of(0.3, 0.4, 0.45))) == [0, 0, 1]
        file.write_text(json.dumps({"threshold": 0.2}))
        assert mask(CAMLogits(file)(score_of(0.3, 0.4, 0.2))) == [1, 1, 0]

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"threshold": 1.5}', '{"threshold": "a"}', '{"threshold": []}'])
    def test_other_content_is_refused(self, tmp_path, text):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(ValueError, match=r"t\.json"):
            CAMLogits(tmp_path / "t.json")(score_of(0.5))


@pytest.mark.parametrize("threshold", [0, 1, -0.1, True, float("nan"), "half"])
def test_other_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold must"):
        CAMLogits(threshold)


def test_other_scores_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 4, 4\)"):
        CAMLogits()(torch.zeros(2, 4, 4))
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
            CAMLogits()(score_of(0.5, wrong))
    assert mask(CAMLogits()(score_of(-1e-6, 1 + 1e-6))) == [0, 1]  # interpolation rounds
    with pytest.raises(ValueError, match="clip must"):
        CAMLogits(clip=0.5)


def test_in_a_dictionary_with_the_dense_crf_behind():
    """A square of the image whose score says so in most places: the CRF fills the rest of it."""
    image = torch.zeros(1, 12, 12)
    image[:, 3:9, 3:9] = 100
    score = 0.9 * (image > 0).float()
    score[:, 5, 5] = 0.1
    affine = torch.eye(4, dtype=torch.float64)
    case = {"pred": MetaTensor(score, affine=affine), "image": MetaTensor(image, affine=affine)}
    discrete = AsDiscreted("pred", argmax=True)
    plain = Compose([CAMLogitsd("pred", threshold=0.5), discrete])(case)["pred"]
    refined = Compose([CAMLogitsd("pred", threshold=0.5), DenseCRFd("pred", method="exact"), discrete])(case)["pred"]
    assert int(plain.sum()) == 35 and int(refined.sum()) == 36
    assert isinstance(refined, MetaTensor)
    assert CAMLogitsd("a", allow_missing_keys=True)({"b": 1}) == {"b": 1}
