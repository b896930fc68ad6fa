# SPDX-License-Identifier: Apache-2.0
"""Sizes of a set on three volumes of a few pixels: what counts, when it is solved, what is told."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import pytest
import torch
from monai.data import MetaTensor

from wss_monai.handlers import SetSize
from wss_monai.handlers.set_size import sizes_of
from wss_monai.losses import MixedLabelLoss, PartialCrossEntropyLoss, WeightedSumLoss

NAN = math.nan
NAMES = ["background", "core"]


def case(logits, expected, tags=None, weak=None, kind="points", number=0):
    """A volume (1, 1, N, S) at 2 x 2 x 10 mm whose values are the log-odds of the class; rows are slices."""
    image = torch.tensor(logits).T[None, None]
    slices = image.shape[-1]
    rows = torch.tensor([[-1, 1]] * slices if tags is None else tags)
    drawn = torch.full(image.shape, 255, dtype=torch.uint8)
    if weak is not None:
        drawn = torch.tensor(weak, dtype=torch.uint8).T[None, None]
    return {
        "case": f"case{number}",
        "image": MetaTensor(image, affine=torch.diag(torch.tensor([2.0, 2.0, 10.0, 1.0]))),
        "weak_label": drawn,
        "weak_kind": kind,
        "expected_size": torch.tensor(expected),
        "slice_tags": rows,
        "tags": rows.amax(0),
    }


def predict(image, network):
    """Log-odds as logits (1, 2, ...)."""
    return torch.cat((-image / 2, image / 2), 1)


def loss_of(weight=1.0):
    return WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0), "pseudo": (MixedLabelLoss(), weight)})


def handler(volumes, weight=1.0, **settings):
    settings = {"tolerance": 0.0, "every": 10, **settings}
    return SetSize(torch.nn.Identity(), loss_of(weight), volumes, predict, NAMES, **settings)


def engine(iteration=1, epochs=10, length=10):
    return SimpleNamespace(
        state=SimpleNamespace(iteration=iteration, device=None, max_epochs=epochs, epoch_length=length)
    )


def test_slices_count_in_mm2_where_something_is_expected():
    volume = case([[1.0, -1.0]] * 3, [[NAN, 8.0], [NAN, 0.0], [NAN, NAN]], [[-1, 1], [-1, 0], [-1, -1]])
    size, possible, total = sizes_of(volume, 2)
    assert size.tolist() == [[0, 4], [0, 4], [0, 0]]
    assert possible[:, 1].tolist() == [True, False, True]
    assert total.tolist() == [0, 8]


def test_volumes_count_in_ml_but_for_slices_without_the_class():
    volume = case([[1.0, -1.0]] * 3, [NAN, 0.12], [[-1, 1], [-1, 0], [-1, -1]])
    size, possible, total = sizes_of(volume, 2)
    assert size[:, 1].tolist() == pytest.approx([0.04, 0, 0.04])  # 2 x 2 x 10 mm3
    assert possible[:, 1].tolist() == [True, False, True] and total.tolist() == pytest.approx([0, 0.12])


def test_volumes_that_were_resampled_across_their_slices_have_tags_as_a_whole():
    volume = case([[1.0, -1.0]] * 3, [NAN, 0.12]) | {"slice_tags": torch.tensor([[-1, 0]])}
    assert sizes_of(volume, 2)[0][:, 1].tolist() == pytest.approx([0.04] * 3)
    with pytest.raises(ValueError, match="sizes of 1 slices are expected in an image of 3"):
        sizes_of(volume | {"expected_size": torch.tensor([[NAN, 1.0]])}, 2)


def test_one_shift_for_the_sum_of_the_volumes():
    volumes = [case([[2.0, 0.5, -1.0]], [[NAN, 4.0]]), case([[1.0, -0.4, -3.0]], [[NAN, 12.0]])]
    sizes = handler(volumes)  # 16 mm2 are four pixels of six: 2, 1, .5 and -.4
    sizes(engine())
    assert float(sizes.shift[1]) == pytest.approx(0.4, abs=1e-4)
    assert float(sizes.logged["set_size_core"]) == pytest.approx(3 / 4)
    assert sizes.logged["set_shift_core"] is not None


def test_it_is_solved_when_the_term_gets_a_weight_and_then_every_so_often():
    sizes = handler([case([[1.0, -1.0]], [[NAN, 4.0]])], weight=0.0)
    solved = []
    for iteration in range(1, 31):
        if iteration == 13:
            sizes.loss.weights["pseudo"] = 0.1
        before = sizes.solved
        sizes(engine(iteration))
        solved += [iteration] * (sizes.solved - before)
    assert solved == [13, 20, 30]


def test_the_volumes_are_drawn_by_seed_and_iteration():
    volumes = [case([[x / 7, -1.0]], [[NAN, 4.0]], number=x) for x in range(1, 8)]
    seen = []

    def watch(image, network):
        seen.append(float(image.max()))
        return predict(image, network)

    def drawn(iteration, seed=0):
        seen.clear()
        SetSize(torch.nn.Identity(), loss_of(), volumes, watch, NAMES, count=3, seed=seed).solve(iteration)
        return list(seen)

    assert drawn(100) == drawn(100) and len(set(drawn(100))) == 3
    assert len({tuple(drawn(n)) for n in range(10)}) > 3 and drawn(100, 1) != drawn(100)


def test_a_saved_state_goes_on():
    sizes = handler([case([[2.0, -0.5]], [[NAN, 8.0]])])
    sizes(engine())
    other = handler([case([[2.0, -0.5]], [[NAN, 8.0]])])
    other.load_state_dict(sizes.state_dict())
    other(engine(5))
    assert torch.equal(other.shift, sizes.shift) and other.logged == sizes.logged and other.solved == 1


def warnings_of(caplog, sizes, *iterations):
    with caplog.at_level(logging.WARNING):
        sizes.compare(engine())
        for iteration in iterations:
            sizes(engine(iteration))
    return caplog.text


def test_more_drawn_than_expected_is_told(caplog):
    volume = case([[2.0, 2.0]], [[NAN, 4.0]], weak=[[1, 1]])
    text = warnings_of(caplog, handler([volume]))
    assert "core: 8 mm2 of it are drawn in the training set, and set_size expects 4" in text


def test_a_difference_from_dense_volumes_is_told(caplog):
    dense = case([[2.0, 2.0, 2.0]], [NAN, 0.06], weak=[[1, 0, 0]])
    text = warnings_of(caplog, handler([dense, case([[2.0, 2.0]], [NAN, 9.0])]))
    assert "expects 1.50 times what the densely drawn training volumes show" in text
    caplog.clear()
    right = case([[2.0, 2.0, 2.0]], [NAN, 0.045], weak=[[1, 0, 0]])
    assert warnings_of(caplog, handler([right])) == ""


def test_stated_sizes_that_scribbles_do_not_show_are_told(caplog):
    volume = case([[2.0, 2.0, 2.0]], [NAN, 0.08], kind="scribble")
    text = warnings_of(caplog, handler([volume]), 20, 50, 60)
    assert text.count("from scribbles the network finds 1.50 times the expected size") == 1
    caplog.clear()
    assert warnings_of(caplog, handler([case([[2.0, 2.0, 2.0]], [NAN, 0.08])]), 20, 50) == ""  # points


def test_a_shift_at_the_cap_is_told(caplog):
    text = warnings_of(caplog, handler([case([[-9.0, 1.0]], [[NAN, 8.0]])]), 60)
    assert "core: no shift up to 4 gives the expected size" in text


def test_a_set_of_which_nothing_is_expected_is_refused():
    with pytest.raises(ValueError, match="set_size expects no size of any class in any of the 1 training cases"):
        handler([case([[1.0, 1.0]], [[NAN, NAN]])]).compare(engine())


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="choose --mode pseudo"):
        SetSize(None, loss_of(), [], predict, NAMES)
    with pytest.raises(ValueError, match="count and every must be at least 1"):
        handler([], count=0)
