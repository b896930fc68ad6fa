# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.estimation import (
    CaseMeasures,
    audit_bounds,
    audit_profiles,
    check_profiles,
    fit_bounds,
    fit_profile,
)
from wss_monai.estimation.conformal import fit_few, widening
from wss_monai.functional.interval_models import AreaProfile, positions_in_stack

NAMES = ["background", "A"]
INF = np.inf


def measured(patient, *areas):
    """A case whose class has these areas in its slices, and tags that say where it is."""
    area = np.array([(0, value) for value in areas], float)
    return CaseMeasures(
        patient, patient, "position", np.zeros((*area.shape, 3)), area > 0, 5.0, area, area * np.nan, area * np.nan,
        area.sum(0) / 200, area.sum(0) * np.nan,
    )  # fmt: skip


def profile(*cases):
    return fit_profile([measured(f"p{i}", *areas) for i, areas in enumerate(cases)], 1)


def test_positions_are_the_middles_of_the_slices():
    assert positions_in_stack(4).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_two_patients_by_hand():
    fitted = profile((0, 400, 300, 200, 100), (500, 200, 300, 100, 0))
    assert fitted.factor == 1.75 and fitted.directed
    # both show the class from 0.2 to 0.8
    assert np.allclose(fitted.sure, (0.3, 0.7))
    low, high = fitted(5).T
    # slices 1 and 3, at 0.3 and 0.7, are just far enough from where one volume lacks the class
    assert np.allclose(low, [-INF, 200 / 1.75, 300 / 1.75, 100 / 1.75, -INF])
    # at the ends the nearest slices that show the class: 400 and 500, 100 and 100
    assert np.allclose(high, [875, 700, 525, 350, 175])


def test_neighbours_within_a_tenth_of_the_stack_count():
    fitted = profile((100, 200, 400, 800, 1600))
    low, high = fitted(10).T
    assert fitted.factor == 2.5
    # positions 0.05, 0.15, 0.25 lie within 0.05 of one slice's 0.1 or 0.3; two slices are never within 0.1 of one
    assert np.allclose(high[:3], [250, 250, 500])
    assert np.allclose(low[:3], [-INF, 40, 80])
    # a stack of 5 slices shifted by half a slice: 0.2 is as far from 0.1 as from 0.3
    shifted = AreaProfile([[0.1, 0.3]], [[100, 200]], 2.0, 0.1, (0.0, 1.0))(10)
    assert np.allclose(shifted[1], [50, 200]) and np.allclose(shifted[9], [100, 400])
    between = AreaProfile([[0.4, 0.6]], [[100, 200]], 2.0, 0.1, (0.0, 1.0))(3)
    assert np.allclose(between[1], [50, 400])


@pytest.mark.parametrize(
    ("cases", "sure"),
    [
        ([(5, 5, 5, 5)], (0.1, 0.9)),  # the ends of the stack need their distance too
        ([(0, 5, 5, 5)], (0.35, 0.9)),
        ([(5, 5, 0, 5, 5, 5, 5, 5)], (0.475, 0.9)),  # the longest range of two
        ([(0, 5, 5, 0), (0, 0, 0, 5)], None),  # nowhere in both
        ([(5, 5), (0, 0)], None),  # a volume without the class
        ([(0, 0, 0, 0, 5, 0, 0, 0, 0, 0)], None),  # shorter than twice the distance
    ],
)
def test_positions_of_sure_presence(cases, sure):
    found = profile(*cases).sure
    assert found is None if sure is None else found == pytest.approx(sure)


@pytest.mark.parametrize("cases", [[(100, 200, 300), (300, 200, 100)], [(300,), (100, 200)], [(300,)]])
def test_positions_that_mean_nothing_leave_the_largest_area_alone(cases):
    fitted = profile(*cases)
    assert not fitted.directed and fitted.sure is None
    assert fitted(4).tolist() == [[-INF, 300 * fitted.factor]] * 4


def test_a_single_slice_has_no_position():
    assert profile((100, 300, 200, 100))(1).tolist() == [[-INF, 750.0]]


def test_a_symmetric_profile_has_no_direction_to_mistake():
    assert profile((100, 300, 110), (110, 300, 100)).directed


def test_a_profile_survives_its_file():
    fitted = profile((0, 400, 300, 200, 100))
    assert AreaProfile.from_dict(fitted.to_dict()) == fitted
    nowhere = profile((300,))
    assert AreaProfile.from_dict(nowhere.to_dict()) == nowhere


def test_a_class_that_no_volume_shows():
    with pytest.raises(ValueError, match="no labelled volume shows class 1"):
        profile((0, 0, 0))


@pytest.mark.parametrize(("patients", "factor"), [(1, 2.5), (2, 1.75), (3, 1.5), (15, 1.1)])
def test_fewer_patients_wider_bounds(patients, factor):
    assert widening(patients) == factor


def test_interval_of_few_reaches_beyond_the_patients_by_the_factor():
    areas = np.array([200.0, 400, 200, 400])
    features = np.tile([1.0, 0.5, 0.25], (4, 1))
    low, high = fit_few(features, areas, np.array(["a", "a", "b", "b"]))(features).T
    assert np.allclose(low, 200 / 1.75) and np.allclose(high, 400 * 1.75)
    low, high = fit_few(features, areas, np.array(["a"] * 4))(features).T
    assert np.allclose(low, 80) and np.allclose(high, 1000)


@pytest.mark.parametrize("patients", [1, 2])
def test_one_or_two_patients_are_enough_for_sizes_from_position(patients):
    cases = [measured(f"p{i}", 0, 400, 300, 200, 100) for i in range(patients)]
    fitted = fit_bounds(cases, NAMES)
    models = fitted["size"]["classes"]["A"]
    assert set(models) == {"position", "unknown"} and np.allclose(models["unknown"]["sure"], (0.3, 0.9))
    assert len(fitted["size"]["check"]) == patients - 1  # one patient cannot be left out
    (row,) = audit_bounds(fitted, [measured("q", 0, 500, 250, 200, 150)], NAMES)["size"]
    assert row["coverage"] == 1.0 and 3 < row["width_ratio"] < 30


def test_other_terms_need_three():
    with pytest.raises(ValueError, match=r"2 of the dense patients show it .* at least 3.*Sizes from position alone"):
        fit_bounds([measured(f"p{i}", 100, 200, 100) for i in range(2)], NAMES, ["volume"])


def test_audit_by_hand():
    fitted = {"A": {"unknown": profile((100, 100, 100, 100, 100)).to_dict()}}  # 40 to 250, the lower side everywhere
    cases = [measured("q", 0, 50, 300, 200, 100), measured("r", 100, 100, 100, 100, 30)]
    (row,) = audit_profiles(fitted, cases, NAMES)
    assert row == {
        "class": "A",
        "patients": 2,
        "n": 10,
        "coverage": 0.7,  # 0 and 30 are too small, 300 too large
        "upper": 0.9,
        "lower_share": 1.0,
        "lower": 0.8,
        "upper_over_true": 2.5,
        "true_over_lower": 2.5,
    }
    fitted["A"]["constant"] = [20, 200]  # tighter above
    assert audit_profiles(fitted, cases, NAMES)[0]["upper_over_true"] == 2.0
    assert audit_profiles(fitted, [], NAMES) == []


def test_audit_where_there_is_no_lower_side():
    fitted = {"A": {"unknown": profile((300,)).to_dict()}}
    (row,) = audit_profiles(fitted, [measured("q", 0, 0, 0)], NAMES)
    assert (row["coverage"], row["lower_share"]) == (1.0, 0.0)
    assert row["lower"] is row["upper_over_true"] is row["true_over_lower"] is None


def test_check_leaves_each_patient_out():
    cases = [measured("p", 100, 100, 100, 100), measured("q", 300, 300, 300, 300)]
    fitted = fit_bounds(cases, NAMES)["size"]["classes"]
    (row,) = check_profiles(fitted, cases, NAMES)
    # p says at most 250, q at least 120; the lower side holds everywhere but covers q alone
    assert row | {"patients": 2, "n": 8, "coverage": 0.0, "upper": 0.5, "lower": 0.5, "lower_share": 1.0} == row
    assert check_profiles(fitted, cases[:1], NAMES) == []
