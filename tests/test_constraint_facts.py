# SPDX-License-Identifier: Apache-2.0
"""When the constraints of a benchmark run held, read from its metrics.csv, and the curves of a grid."""

from __future__ import annotations

import constraint_facts
import pytest
from constraint_facts import constraint_facts as facts_of


def write(folder, rows, names="epoch,iteration,violation_size,violation_centroid"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").write_text("\n".join([names, *rows]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("violations", "steps"),
    [
        ([0.2, 0.04, 0.06, 0.05, 0.01], 40),  # below, above again, and from the fourth epoch on to stay
        ([0.2, 0.04, 0.06], "never"),
        ([0.01, 0.02], 10),
        ([0.2, float("nan")], "never"),
    ],
)
def test_the_first_epoch_from_which_on_the_violation_stays_small(tmp_path, violations, steps):
    rows = [f"{epoch},{10 * epoch},{value},0.0" for epoch, value in enumerate(violations, 1)]
    found = facts_of(write(tmp_path, rows))
    assert found == {"steps_to_satisfy": steps, "final_violation": f"{violations[-1]:.4g}"}


def test_the_largest_of_several_terms_counts(tmp_path):
    write(tmp_path, ["1,10,0.01,0.3", "2,20,0.02,0.03"])
    assert constraint_facts.violations(tmp_path) == [(10, 0.3), (20, 0.03)]
    assert facts_of(tmp_path)["steps_to_satisfy"] == 20


def test_a_run_without_constraints_has_no_facts_of_them(tmp_path):
    nothing = {"steps_to_satisfy": None, "final_violation": None}
    assert facts_of(tmp_path) == nothing
    assert facts_of(write(tmp_path, ["1,10,0.5"], "epoch,iteration,loss")) == nothing


def test_curves_of_a_grid(tmp_path):
    write(tmp_path / "relu_s0", ["1,10,0.5,0", "2,20,0.25,0"])
    write(tmp_path / "partial_s0", ["1,10,0.5"], "epoch,iteration,loss")
    constraint_facts.write_curves(tmp_path, ["partial", "relu"], [0, 1], tmp_path / "new" / "curves.csv")
    lines = (tmp_path / "new" / "curves.csv").read_text().splitlines()
    assert lines == ["arm,seed,iteration,violation", "relu,0,10,0.5", "relu,0,20,0.25"]
