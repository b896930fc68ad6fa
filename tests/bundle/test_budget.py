# SPDX-License-Identifier: Apache-2.0
"""The length of a run, from what the user says of it."""

from __future__ import annotations

import pytest

from wss_monai.bundle import Budget


@pytest.mark.parametrize(
    ("said", "epochs", "length"),
    [
        ((200, 200, None), 200, 200),
        ((30, None, None), 30, None),  # an epoch is a pass
        ((200, 200, 4000), 20, 200),
        ((200, 200, 4001), 21, 200),  # whole epochs
        ((200, 200, 150), 19, 8),  # shorter epochs, so that schedules have steps: 19 x 8 = 152
        ((200, 200, 3), 3, 1),
        ((7, 3, 90), 30, 3),
        ((7, 3, 90.0), 30, 3),
    ],
)
def test_epochs_and_their_length(said, epochs, length):
    budget = Budget(*said)
    assert (budget.max_epochs, budget.epoch_iterations) == (epochs, length)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ((10, None, 500), r"--iterations 500 needs epochs of a fixed length.*--max_epochs"),
        ((0, 200, None), "'--max_epochs' must be a whole number of at least 1; got 0"),
        ((10, 200, 1.5), "'--iterations' must be a whole number of at least 1; got 1.5"),
        ((10, "many", None), "'--epoch_iterations' must be a whole number of at least 1; got 'many'"),
        ((10, True, None), "'--epoch_iterations'"),
    ],
)
def test_what_is_no_length_is_refused(said, words):
    with pytest.raises(ValueError, match=words):
        Budget(*said)
