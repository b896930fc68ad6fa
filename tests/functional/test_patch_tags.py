# SPDX-License-Identifier: Apache-2.0
"""Tags of patches that are read off the tags of the slices in them."""

from __future__ import annotations

import logging

import pytest
import torch

from wss_monai.data import BatchLoader, PatchStore
from wss_monai.functional.patch_tags import longest_absence, tags_of_part, tags_of_slices
from wss_monai.transforms import BatchAugment

ORGAN = [0, 0, 0, 1, 1, 1, 0, 0]
"""Slices of a volume that show class 1."""


def case(number: int = 0, rows=None, axis: int = 2, plane: tuple[int, int] = (4, 4), **more) -> dict:
    """A volume whose intensities are the numbers of its slices, from 1."""
    rows = [[1, t] for t in ORGAN] if rows is None else rows
    depth = more.pop("depth", len(rows))
    image = torch.arange(1.0, depth + 1).expand(1, *plane, depth).movedim(3, axis + 1)
    return {"case": f"c{number}", "image": image.clone(), "slice_tags": torch.tensor(rows, dtype=torch.int8), **more}


def patches(store: PatchStore, axis: int = 2, count: int = 60) -> dict[tuple[int, ...], list[int]]:
    """Tags of patches, by the slices (from 0) that they hold; the same slices have the same tags."""
    batch = store.batch([0] * count, seed=3)
    found: dict[tuple[int, ...], list[int]] = {}
    for image, tags in zip(batch["image"], batch["tags"].tolist(), strict=True):
        values = image[0].movedim(axis, 0).flatten(1).amax(1)
        held = tuple(int(v) - 1 for v in values if v > 0)
        assert found.setdefault(held, tags) == tags
    return found


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slabs_inside_outside_and_across(axis):
    size = [4, 4, 4]
    size[axis] = 2
    found = patches(PatchStore([case(axis=axis)], size, slice_axis=axis), axis)
    assert {held: tags[1] for held, tags in found.items()} == {
        (0, 1): 0, (1, 2): 0, (2, 3): 1, (3, 4): 1, (4, 5): 1, (5, 6): 1, (6, 7): 0,
    }  # fmt: skip
    assert {tags[0] for tags in found.values()} == {1}


def test_the_tag_of_the_volume_does_not_make_a_slab_present():
    found = patches(PatchStore([case(tags=torch.tensor([1, 1], dtype=torch.int8))], [4, 4, 2]))
    assert (found[0, 1], found[3, 4], found[6, 7]) == ([1, 0], [1, 1], [1, 0])


def test_unknown_slices():
    rows = [[1, 0, -1], [1, -1, -1], [1, 1, 0], [1, -1, 0], [1, -1, 0]]
    found = patches(PatchStore([case(rows=rows)], [4, 4, 2]))
    assert found == {(0, 1): [1, -1, -1], (1, 2): [1, 1, -1], (2, 3): [1, 1, 0], (3, 4): [1, -1, 0]}


def test_what_is_absent_from_the_volume_is_absent_from_slabs_of_unknown_slices():
    tags = torch.tensor([1, 0], dtype=torch.int8)
    store = PatchStore([case(rows=[[1, -1]] * 4, tags=tags)], [4, 4, 2])
    assert {tuple(t) for t in patches(store).values()} == {(1, 0)}


def test_cut_in_the_plane():
    """Of slices that show the class, a part may not; of slices without it, every part is without."""
    tags = torch.tensor([1, 1], dtype=torch.int8)
    found = patches(PatchStore([case(tags=tags)], [4, 3, 2]))
    assert (found[0, 1], found[2, 3], found[3, 4], found[6, 7]) == ([-1, 0], [-1, -1], [-1, -1], [-1, 0])


def test_drawn_in_a_patch_that_is_cut_in_the_plane():
    weak = torch.full((1, 4, 4, 8), 255, dtype=torch.uint8)
    weak[0, :, :, 4] = 1
    store = PatchStore([case(tags=torch.tensor([1, 1]), weak_label=weak)], [4, 3, 2])
    found = patches(store)
    assert (found[3, 4], found[4, 5], found[2, 3], found[0, 1]) == ([-1, 1], [-1, 1], [-1, -1], [-1, 0])


@pytest.mark.parametrize("tags", [None, [1, 1], [-1, -1]])
def test_padded_slices_show_nothing(tags):
    given = {} if tags is None else {"tags": torch.tensor(tags)}
    rows = [[1, 0], [1, 1], [1, 0]]
    store = PatchStore([case(rows=rows, plane=(6, 3), **given)], [3, 4, 5])  # padded below and above, and in the plane
    assert patches(store) == {(0, 1, 2): [-1, -1]}
    store = PatchStore([case(rows=rows, plane=(2, 3), **given)], [3, 4, 5])  # all of the volume
    assert store.batch([0], 0)["tags"].tolist() == [[1, 1]]
    store = PatchStore([case(rows=[[1, 0]] * 3, plane=(6, 3))], [3, 4, 5])
    assert patches(store) == {(0, 1, 2): [-1, 0]}


def test_rows_that_do_not_fit_are_not_used(caplog):
    """A volume that was resampled across its slices keeps the rule of volumes, and says so where nothing is drawn."""
    tags = torch.tensor([1, 1], dtype=torch.int8)
    with caplog.at_level(logging.WARNING, logger="wss_monai"):
        store = PatchStore([case(n, tags=tags, depth=12) for n in range(2)], [4, 4, 2])
    assert {tuple(t) for t in patches(store).values()} == {(-1, -1)}
    assert [r.getMessage().split(",")[0] for r in caplog.records] == ["case 'c0': slice_tags has 8 rows"]
    caplog.clear()
    weak = torch.full((1, 4, 4, 12), 255, dtype=torch.uint8)
    PatchStore([case(tags=tags, depth=12, weak_label=weak)], [4, 4, 2])
    assert not caplog.records
    only_rows = PatchStore([case(depth=12)], [4, 4, 12])
    assert only_rows.batch([0], 0)["tags"].tolist() == [[1, 1]]  # of the whole volume they are true all the same


def test_no_slice_tags():
    whole = {"tags": torch.tensor([1, 1], dtype=torch.int8)}
    for rows in ({}, {"slice_tags": None}):
        one = {k: v for k, v in case().items() if k != "slice_tags"} | whole | rows
        assert {tuple(t) for t in patches(PatchStore([one], [4, 4, 2])).values()} == {(-1, -1)}


def test_volumes_of_different_depth():
    store = PatchStore([case(), case(1, rows=[[1, 1]] * 3)], [4, 4, 2], patches_per_volume=8)
    batch = store.batch(range(16), 0)
    assert batch["tags"][8:].tolist() == [[1, 1]] * 8
    assert "slice_tags" not in batch
    assert [tags.tolist() for _, tags in store.by_case("tags")] == [[[1, 1]], [[1, 1]]]


def test_slabs_that_are_too_thick(caplog):
    with caplog.at_level(logging.WARNING, logger="wss_monai"):
        PatchStore([case(), case(1, rows=[[1, 1]] * 5)], [4, 4, 3])
        PatchStore([case(rows=[[1, 1]] * 5)], [4, 4, 3])
        assert not caplog.records
        PatchStore([case(), case(1, rows=[[1, 1]] * 5)], [4, 4, 12])
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert message.startswith("no patch of 12 slices is known to be without class 1")
    assert "at most 3 slices" in message


def test_slice_axis():
    with pytest.raises(ValueError, match="slice_axis must be 0, 1 or 2, got 3"):
        PatchStore([case()], [4, 4, 2], slice_axis=3)


def test_functions():
    rows = torch.tensor([[1, 0, -1, 0], [-1, 0, 0, 1], [0, 0, 0, -1]])
    assert tags_of_slices(rows).tolist() == [1, 0, -1, 1]
    assert tags_of_slices(rows, whole_plane=False).tolist() == [-1, 0, -1, -1]
    tags = torch.tensor([1, 1, 0, -1], dtype=torch.int8)
    assert tags_of_part(tags, torch.tensor([[0, 255]])).tolist() == [1, -1, 0, -1]
    mixed = tags_of_part(tags, torch.tensor([[0, 255]]), rows, whole_plane=True)
    assert mixed.tolist() == [1, 0, 0, 1]
    assert mixed.dtype == torch.int8
    assert longest_absence(rows).tolist() == [1, 3, 2, 1]
    assert longest_absence(torch.tensor([[0], [1], [0], [0], [-1], [0]])).tolist() == [2]


@pytest.mark.parametrize("plane", [32, 64])
def test_small_moves_keep_the_tags_of_slabs(plane):
    """The augmentation of the cross-modality bundle: flips of the first axis and shifts of 2 %."""
    store = PatchStore([case(plane=(plane, plane), tags=torch.tensor([1, 1]))], [plane, plane, 3], 200)
    batch = store.batch(range(200), 1)
    augment = BatchAugment(2, flips=[0], turns=None, rotation=0.0, scaling=0.0, translation=0.02)
    after = augment(batch, 5)["tags"]
    changed = after[:, 1] != batch["tags"][:, 1]
    assert (batch["tags"][:, 1] == 0).any()
    assert (after[changed, 1] == -1).all()
    assert (batch["tags"][changed, 1] == 1).all()
    assert changed.float().mean() < 0.05


def test_batches():
    loader = BatchLoader(PatchStore([case(n) for n in range(3)], [4, 4, 2], 2), batch_size=3)
    assert [batch["tags"].shape for batch in loader] == [(3, 2), (3, 2)]
