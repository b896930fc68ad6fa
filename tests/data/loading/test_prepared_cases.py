# SPDX-License-Identifier: Apache-2.0
"""Cases prepared one by one, by several processes, and kept up to a size."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform

from wss_monai.data import PreparedCases, SliceStore


class Count(MapTransform):
    """Adds one to the image, and says on a file which case passed."""

    def __init__(self, log) -> None:
        super().__init__("image")
        self.log = log

    def __call__(self, data):
        with self.log.open("a") as file:
            file.write(f"{data['case']} ")
        image = MetaTensor(
            torch.full((1, 4, 4, 2), float(data["number"])), affine=torch.diag(torch.tensor([2.0, 3, 4, 1]))
        )
        return {**data, "image": image + 1}


def cases(log, count: int = 5, **settings) -> PreparedCases:
    data = [{"case": f"c{n}", "number": n} for n in range(count)]
    return PreparedCases(data, Compose([Count(log)]), progress=False, **settings)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_order_values_geometry_and_random_state_are_the_same(tmp_path, workers):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    prepared = list(cases(tmp_path / "log", workers=workers))
    assert torch.equal(torch.get_rng_state(), before)
    assert [case["case"] for case in prepared] == ["c0", "c1", "c2", "c3", "c4"]
    assert [case["image"].unique().tolist() for case in prepared] == [[1], [2], [3], [4], [5]]
    assert all(case["image"].affine.diag().tolist() == [2, 3, 4, 1] for case in prepared)
    assert sorted((tmp_path / "log").read_text().split()) == ["c0", "c1", "c2", "c3", "c4"]
    assert SliceStore(cases(tmp_path / "log", workers=workers)).tensors["spacing"].unique(dim=0).tolist() == [[2, 3]]


def test_a_part_of_the_cases(tmp_path):
    some = cases(tmp_path / "log", workers=2)[1:3]
    assert isinstance(some, PreparedCases)
    assert [case["case"] for case in some] == ["c1", "c2"]
    assert some.workers == 2
    assert [case["case"] for case in cases(tmp_path / "log")[[4, 0]]] == ["c4", "c0"]


def test_the_first_cases_that_fit_are_kept_and_the_rest_prepared_anew(tmp_path):
    """An image takes 128 bytes; 300 hold two."""
    log = tmp_path / "log"
    kept = cases(log, keep_gb=300e-9)
    assert log.read_text().split() == ["c0", "c1", "c2"]  # the third showed that it does not fit
    log.write_text("")
    for _ in range(2):
        assert [case["image"].max().item() for case in kept] == [1, 2, 3, 4, 5]
    assert log.read_text().split() == ["c2", "c3", "c4"] * 2
    kept[0]["image"].zero_()
    assert kept[0]["image"].max() == 1
    assert kept[-5]["image"].max() == 1
    log.write_text("")
    assert len(list(cases(log, keep_gb=1.0, workers=2))) == 5
    assert sorted(log.read_text().split()) == ["c0", "c1", "c2", "c3", "c4"]


def test_a_faulty_case_is_named_whoever_prepares_it(tmp_path):
    for workers in (0, 2):
        faulty = cases(tmp_path / "log", workers=workers)
        faulty.data[3] = {"case": "c3"}
        with pytest.raises(Exception, match=r"KeyError|applying transform"):
            list(faulty)


@pytest.mark.parametrize("settings", [{"workers": -1}, {"keep_gb": -1.0}])
def test_negative_numbers(tmp_path, settings):
    with pytest.raises(ValueError, match="must not be negative"):
        cases(tmp_path / "log", **settings)
