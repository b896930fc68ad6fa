# SPDX-License-Identifier: Apache-2.0
"""Expected sizes of slices and volumes, from models whose numbers one can read and as they are stated."""

from __future__ import annotations

import json
import math

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from wss_monai.transforms import EstimatedSizesd, StatedSizesd, WeakCuesd, WeakTagsd

NAMES = ["background", "A", "B"]


def model(size, factor=1.0, slope=0.0):
    """exp(log(size) + slope x second feature), times a factor."""
    fixed = {"spread": [0.0], "quantiles": [-1, 1], "spread_range": [0.1, 10]}
    expected = {"factor": factor, "log_sd": 0.2}
    return {"kind": "position", "coefficients": [math.log(size), slope], **fixed, "expected": expected}


def bounds_file(tmp_path, term="size", **models):
    made = {}
    for name, given in models.items():
        extra = [0.0] if term == "size" else []  # position has the features 1, z, z^2; a volume 1 and log height
        made[name] = {"position": given | {"coefficients": given["coefficients"] + extra}}
    content = {"format": "wss_monai estimated bounds 1", "dense": 5, "patients": ["p1"]}
    path = tmp_path / "bounds.json"
    path.write_text(json.dumps({**content, "terms": {term: {"classes": made}}}))
    return path


def case(undrawn_means_absent=True, **more):
    """Four slices of 6 x 5 voxels of 2 x 2 x 5 mm: A in 0 and 1, B in 1, background alone in 2; 3 is drawn densely."""
    weak = torch.full((1, 6, 5, 4), 255, dtype=torch.uint8)
    weak[0, 0, 0] = 0
    weak[0, 3, 3, :2] = 1
    weak[0, 2, 2, 1] = 2
    weak[..., 3] = 0
    weak[0, :3, 0, 3] = 1
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0])).double()
    data = {
        "case": "c",
        "image": MetaTensor(torch.zeros(1, 6, 5, 4), affine=affine),
        "weak_label": MetaTensor(weak, affine=affine),
        "weak_kind": "points",
        "undrawn_means_absent": undrawn_means_absent,
        "tags": [-1, -1, -1],
        "slice_axis": 2,
        **more,
    }
    return Compose([WeakTagsd(3), WeakCuesd(3)])(data)


def listed(size):
    return [[None if math.isnan(v) else round(v, 3) for v in row] for row in size.tolist()]


def test_slices_in_mm2(tmp_path):
    file = bounds_file(tmp_path, A=model(100, 1.2, math.log(4)), B=model(40))
    transform = EstimatedSizesd(file, NAMES)
    # A lies in the slices 0, 1 and 3: at 1/8 and 3/8 of its range; the third is drawn, 3 pixels of 4 mm2
    first, second = (round(120 * 4**z, 3) for z in (0.125, 0.375))
    expected = [[None, first, 0], [None, second, 40], [None, 0, 0], [None, 12, 0]]
    assert listed(transform(case())["expected_size"]) == [pytest.approx(row) for row in expected]
    assert transform.origin == "set size estimated (k=5)"


def test_what_no_tag_tells_is_not_expected(tmp_path):
    file = bounds_file(tmp_path, A=model(100), B=model(40))
    found = listed(EstimatedSizesd(file, NAMES)(case(undrawn_means_absent=False))["expected_size"])
    assert found == [[None, 100, None], [None, 100, 40], [None, None, None], [None, 12, 0]]


def test_volumes_in_ml(tmp_path):
    file = bounds_file(tmp_path, "volume", A=model(3, 1.5), B=model(2, 1.0, 1.0))
    found = EstimatedSizesd(file, NAMES, measure="volume")(case())["expected_size"]
    # B is 5 mm high, and its law is 2 x height
    assert listed(found[None]) == [[None, 4.5, pytest.approx(10)]]


def test_wrong_files_and_settings(tmp_path):
    with pytest.raises(ValueError, match="set_size estimated needs bounds_file"):
        EstimatedSizesd(None, NAMES)(case())
    with pytest.raises(ValueError, match="measure must be 'size'"):
        EstimatedSizesd(None, NAMES, measure="centroid")
    file = bounds_file(tmp_path, A=model(100), B=model(40))
    with pytest.raises(ValueError, match=r"was fitted on \['p1'\]"):
        EstimatedSizesd(file, NAMES, unseen=["p1"])
    old = {name: value for name, value in model(100).items() if name != "expected"}
    with pytest.raises(ValueError, match=r"does not say which sum of sizes to expect of \['A'\].*Fit it again"):
        EstimatedSizesd(bounds_file(tmp_path, A=old, B=model(40)), NAMES)


def stated(values, **more):
    return StatedSizesd(values, NAMES)(case(**more))["expected_size"]


def test_stated_sizes_for_all_and_by_phase():
    assert listed(stated({"A": 120})[None]) == [[None, 120, None]]
    phases = {"ED": {"A": 120, "B": 30}, "ES": {"A": 60}}
    assert listed(stated(phases, phase="ED")[None]) == [[None, 120, 30]]
    assert listed(stated(phases, phase="ES")[None]) == [[None, 60, None]]
    assert StatedSizesd.origin == "set size stated"


def test_a_class_that_is_absent_has_no_volume():
    data = case() | {"tags": torch.tensor([-1, 1, 0])}
    assert listed(StatedSizesd({"A": 5, "B": 5}, NAMES)(data)["expected_size"][None]) == [[None, 5, 0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "set_size stated needs stated_sizes"),
        ({"C": 5}, r"stated_sizes name 'C'; the classes are \['A', 'B'\]"),
        ({"A": -5}, "class 'A': give a volume in ml above 0, got -5"),
        ({"ED": {"A": "120"}}, "stated_sizes of phase 'ED', class 'A'"),
        ({"ED": {"A": 120}}, r"case 'c' has the phase None, but sizes are stated for \['ED'\]"),
    ],
)
def test_wrong_statements_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        stated(values)
