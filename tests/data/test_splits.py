# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from wss_monai.data.splits import fold_name, kfold, patient_count, read_split_file, stratified

PATIENTS = [f"p{i:02d}" for i in range(20)]
GROUPS = {p: "ABCD"[i % 4] for i, p in enumerate(PATIENTS)}


def rng(seed=0):
    return np.random.RandomState(seed)


@pytest.mark.parametrize("n", range(21))
def test_stratified_draws_n_in_proportion(n):
    drawn = stratified(PATIENTS, GROUPS, n, rng())
    assert len(drawn) == len(set(drawn)) == n
    assert drawn == sorted(drawn)
    counts = Counter(GROUPS[p] for p in drawn)
    assert all(abs(counts[g] - n / 4) < 1 for g in "ABCD")


def test_stratified_hand_computed_shares():
    """6, 3 and 1 patients, 5 drawn: shares 3, 1.5 and 0.5, one remainder to give by lot between the last two."""
    groups = {p: "A" if i < 6 else "B" if i < 9 else "C" for i, p in enumerate(PATIENTS[:10])}
    seen = set()
    for seed in range(30):
        counts = Counter(groups[p] for p in stratified(PATIENTS[:10], groups, 5, rng(seed)))
        assert counts["A"] == 3
        seen.add((counts["B"], counts["C"]))
    assert seen == {(2, 0), (1, 1)}


def test_stratified_depends_on_the_seed_and_not_on_the_order():
    draws = [stratified(PATIENTS, GROUPS, 8, rng(seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert stratified(reversed(PATIENTS), GROUPS, 8, rng()) == draws[0]


@pytest.mark.parametrize("n", [-1, 21])
def test_stratified_refuses_what_cannot_be_drawn(n):
    with pytest.raises(ValueError, match=f"between 0 and the number of patients, 20; got {n}"):
        stratified(PATIENTS, GROUPS, n, rng())


@pytest.mark.parametrize("k", [2, 3, 5, 7, 20])
def test_folds_cover_everyone_once_and_are_even(k):
    folds = kfold(PATIENTS, GROUPS, k, seed=3)
    assert sorted(p for fold in folds for p in fold) == PATIENTS
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    for group in "ABCD":
        shares = [sum(GROUPS[p] == group for p in fold) for fold in folds]
        assert max(shares) - min(shares) <= 1


def test_folds_without_groups_and_with_missing_ones():
    assert sorted(map(len, kfold(PATIENTS, {}, 3))) == [6, 7, 7]
    folds = kfold(PATIENTS, {"p00": "A", "p01": None}, 4)
    assert sorted(p for fold in folds for p in fold) == PATIENTS


def test_folds_depend_on_the_seed_and_not_on_the_order_or_global_state():
    np.random.seed(1)
    one = kfold(PATIENTS, GROUPS, 5, seed=0)
    np.random.seed(2)
    assert kfold(PATIENTS[::-1], GROUPS, 5, seed=0) == one
    assert kfold(PATIENTS, GROUPS, 5, seed=1) != one


@pytest.mark.parametrize("k", [0, 1, 21])
def test_folds_out_of_range(k):
    with pytest.raises(ValueError, match=f"folds must lie between 2 and the number of patients, 20; got {k}"):
        kfold(PATIENTS, GROUPS, k)


def test_a_patient_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match=r"patients \['p00'\] come twice"):
        kfold([*PATIENTS, "p00"], GROUPS, 5)


@pytest.mark.parametrize(
    ("size", "message"),
    [(-1, "test must be a number of patients"), (1.0, "test=1.0 is no fraction below 1")],
)
def test_a_number_of_patients_is_refused_by_the_name_of_its_part(size, message):
    with pytest.raises(ValueError, match=message):
        patient_count(size, 20, "test")


@pytest.mark.parametrize(("size", "n"), [(0, 0), (0.0, 0), (3, 3), (0.125, 4), (0.001, 1), (0.5, 16)])
def test_patient_count(size, n):
    assert patient_count(size, 32) == n


@pytest.mark.parametrize("size", [True, "3", None, -0.1, 1.5])
def test_patient_count_refuses(size):
    with pytest.raises(ValueError, match="validation"):
        patient_count(size, 32, "validation")


@pytest.mark.parametrize(("fold", "name"), [(None, "fold1"), (0, "fold1"), (1, "fold2"), ("fold2", "fold2")])
def test_fold_names(fold, name):
    assert fold_name(fold, ["fold1", "fold2"], "split") == name


@pytest.mark.parametrize("fold", [2, -1, "fold3", True, 0.5])
def test_unknown_folds(fold):
    with pytest.raises(ValueError, match=rf"no fold {fold!r} in the split; it has \['fold1', 'fold2'\]"):
        fold_name(fold, ["fold1", "fold2"], "split")


def written(tmp_path, content):
    file = tmp_path / "split.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.mark.parametrize(
    "content",
    [
        {"test": {"fold1": ["a"], "fold2": ["b", "c"]}, "patients": ["a", "b", "c"], "note": "kept out"},
        {"folds": {"fold1": ["a"], "fold2": ["b", "c"]}, "patients": ["a", "b", "c"]},
        {"folds": [["a"], ["b", "c"]], "patients": ["a", "b", "c"]},
    ],
)
def test_files_with_folds(tmp_path, content):
    split = read_split_file(written(tmp_path, content))
    assert split.folds == {"fold1": ["a"], "fold2": ["b", "c"]}
    assert split.patients == ["a", "b", "c"]
    assert split.parts is None
    assert split.fold_name(1) == "fold2"


def test_explicit_file(tmp_path):
    split = read_split_file(written(tmp_path, {"training": ["a", "b"], "test": ["c"]}))
    assert split.parts == {"training": ["a", "b"], "test": ["c"]}
    assert split.folds is split.patients is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ([], "a split file holds a JSON object, got list"),
        ({"train": ["a"]}, r"neither .* it has the keys \['train'\]"),
        ({"test": ["a"]}, r"neither .* it has the keys \['test'\]"),
        ({"folds": {}}, "folds must be an object of lists"),
        ({"folds": {"fold1": "a"}}, "'fold1' must be a list of patient names, got 'a'"),
        ({"folds": {"fold1": [1]}}, r"'fold1' must be a list of patient names, got \[1\]"),
        ({"folds": {"fold1": ["a", "a"]}}, r"'fold1' names \['a'\] twice"),
        ({"folds": {"fold1": ["a"], "fold2": ["a"]}}, "patient 'a' is in 'fold1' and in 'fold2'"),
        ({"training": ["a"], "validation": ["a"]}, "patient 'a' is in 'training' and in 'validation'"),
        ({"training": ["a"], "patients": "a"}, "'patients' must be a list of patient names"),
    ],
)
def test_broken_split_files(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read_split_file(written(tmp_path, content))
    assert "split.json" in str(error.value)


def test_missing_split_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no split file"):
        read_split_file(tmp_path / "none.json")
