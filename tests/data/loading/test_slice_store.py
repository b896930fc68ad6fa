# SPDX-License-Identifier: Apache-2.0
"""Stores of slices and patches."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from monai.data import MetaTensor

from wss_monai.data import PatchStore, SliceStore

INF = math.inf


def volume(
    number: int,
    shape: tuple[int, ...] = (6, 5, 4),
    channels: int = 1,
    spacing: tuple[float, ...] = (1.5, 2.0, 8.0),
    **more,
) -> dict:
    """A case whose voxels all differ: case number and place can be read off the intensities."""
    count = math.prod(shape)
    image = 1000 * number + torch.arange(count, dtype=torch.float32).view(1, *shape)
    image = torch.cat([image + 0.5 * c for c in range(channels)])
    label = (image[:1] % 4).round().to(torch.uint8)
    affine = torch.diag(torch.tensor([*spacing, 1.0]))
    return {
        "case": f"c{number}",
        "image": MetaTensor(image, affine=affine),
        "label": MetaTensor(label, affine=affine),
        "weak_label": MetaTensor(torch.where(label == 0, 255, label.long()).to(torch.uint8), affine=affine),
        **more,
    }


def slice_bounds(slices: int = 4, start: float = 0.0) -> torch.Tensor:
    bounds = torch.tensor([-INF, INF]).repeat(slices, 3, 1, 1)
    bounds[:, 1, 0, 1] = start + torch.arange(slices) + 10
    return bounds


def volume_bounds(upper: float = 50.0, lower: float = 5.0) -> torch.Tensor:
    bounds = torch.tensor([-INF, INF]).repeat(3, 1, 1)
    bounds[1, 0] = torch.tensor([lower, upper])
    return bounds


class TestSliceStore:
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_rows_are_the_slices(self, axis):
        cases = [volume(0), volume(1)]
        store = SliceStore(cases, slice_axis=axis)
        count = (6, 5, 4)[axis]
        assert len(store) == 2 * count
        assert store.volume.tolist() == [0] * count + [1] * count
        assert store.cases == ["c0", "c1"]
        batch = store.batch([count + 1, 0], seed=0)
        for key in ("image", "label", "weak_label"):
            for row, (case, place) in zip(batch[key], [(1, 1), (0, 0)], strict=True):
                assert torch.equal(row, cases[case][key].as_tensor().select(axis + 1, place))
        assert type(batch["image"]) is torch.Tensor
        assert batch["weak_label"].dtype == torch.uint8
        steps = [s for a, s in enumerate((1.5, 2.0, 8.0)) if a != axis]
        assert batch["spacing"].tolist() == [steps, steps]
        assert batch["volume"].tolist() == [1, 0]

    def test_modalities(self):
        assert SliceStore([volume(0, channels=3)]).batch([2], 0)["image"].shape == (1, 3, 6, 5)

    def test_volumes_of_different_depth(self):
        store = SliceStore([volume(0), volume(1, (6, 5, 7))])
        assert len(store) == 11
        assert store.batch(range(11), 0)["volume"].tolist() == [0] * 4 + [1] * 7

    def test_bounds_of_slices_and_volumes(self):
        cases = [volume(n, bounds_size=slice_bounds(start=100 * n), bounds_ml=volume_bounds(50 + n)) for n in range(2)]
        store = SliceStore(cases)
        batch = store.batch([5, 2], seed=0)
        assert batch["bounds_size"][:, 1, 0, 1].tolist() == [111, 12]
        assert batch["bounds_ml"][:, 1, 0].tolist() == [[5, 51], [5, 50]]
        assert store.volume_terms == {"ml"}

    def test_tags_of_slices(self):
        tags = torch.tensor([[1, 0, -1], [1, 1, 0], [0, 0, 1], [-1, -1, -1]])
        assert SliceStore([volume(0, slice_tags=tags)]).batch([1, 3], 0)["slice_tags"].tolist() == tags[[1, 3]].tolist()

    def test_plain_tensors(self):
        store = SliceStore([{"image": torch.zeros(1, 6, 5, 4)}])
        assert store.batch([0], 0)["spacing"].tolist() == [[1, 1]]
        assert store.cases == ["0"]

    def test_a_batch_is_a_copy(self):
        store = SliceStore([volume(0)])
        store.batch([0], 0)["image"].zero_()
        assert store.batch([0], 0)["image"].max() > 0

    def test_nothing_to_train_on(self):
        with pytest.raises(ValueError, match="the training set is empty"):
            SliceStore([])

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            (volume(1, (6, 6, 4)), r"case 'c1': slices of image have \(1, 6, 6\), but those before \(1, 6, 5\)"),
            (volume(1, channels=2), r"case 'c1': slices of image have \(2, 6, 5\)"),
            (
                {k: v for k, v in volume(1).items() if k != "label"},
                r"case 'c1': has .* but the cases before have .*label",
            ),
            (volume(1, bounds_size=slice_bounds()), r"case 'c1': has .*'bounds_size'"),
        ],
    )
    def test_cases_that_do_not_fit_together(self, second, message):
        with pytest.raises(ValueError, match=message):
            SliceStore([volume(0), second])

    def test_bounds_that_do_not_fit(self):
        with pytest.raises(ValueError, match="case 'c0': bounds_size has 3 rows for 4 slices"):
            SliceStore([volume(0, bounds_size=slice_bounds(3))])
        mixed = [volume(0, bounds_size=slice_bounds()), volume(1, bounds_size=volume_bounds())]
        with pytest.raises(ValueError, match=r"case 'c1': the bounds of \['size'\] are about slices in some cases"):
            SliceStore(mixed)

    def test_images_of_two_axes_are_refused(self):
        with pytest.raises(ValueError, match=r"case 'a': an image of \(4, 5\) is not cut into slices; store 2D"):
            SliceStore([{"case": "a", "image": torch.zeros(1, 4, 5)}])

    def test_a_map_that_missed_a_transform(self):
        case = volume(0)
        case["weak_label"] = case["weak_label"][:, :4]
        with pytest.raises(
            ValueError, match=r"case 'c0': weak_label has shape \(4, 5, 4\), but the image has \(6, 5, 4\)"
        ):
            SliceStore([case])
        with pytest.raises(ValueError, match="case 'c0': weak_label has shape"):
            PatchStore([case], (2, 2, 2))


class TestPatchStore:
    def test_patches_are_windows_of_their_volume(self):
        cases = [volume(0), volume(1, (7, 5, 6))]
        store = PatchStore(cases, (3, 4, 2), patches_per_volume=20)
        assert len(store) == 40
        batch = store.batch(range(40), seed=1)
        assert batch["image"].shape == (40, 1, 3, 4, 2)
        assert batch["volume"].tolist() == [0] * 20 + [1] * 20
        assert batch["spacing"].tolist() == [[1.5, 2.0, 8.0]] * 40
        corners = set()
        for row in range(40):
            case = cases[int(batch["volume"][row])]
            image = case["image"].as_tensor()
            corner = (image[0] == batch["image"][row, 0, 0, 0, 0]).nonzero()[0].tolist()
            window = (slice(None), *[slice(c, c + p) for c, p in zip(corner, (3, 4, 2), strict=True)])
            for key in ("image", "label", "weak_label"):
                assert torch.equal(batch[key][row], case[key].as_tensor()[window])
            corners.add((int(batch["volume"][row]), *corner))
        assert len(corners) > 20

    def test_every_place_is_reached(self):
        store = PatchStore([volume(0, (4, 3, 2))], (2, 2, 2), patches_per_volume=200)
        corners = store.batch(range(200), 0)["image"][:, 0, 0, 0, 0]
        assert corners.unique().tolist() == [0, 2, 6, 8, 12, 14]

    def test_places_are_a_function_of_the_seed(self):
        store = PatchStore([volume(0, (12, 12, 12))], (3, 3, 3), patches_per_volume=8)
        state = torch.get_rng_state()
        first = store.batch(range(8), 7)["image"]
        assert torch.equal(first, store.batch(range(8), 7)["image"])
        assert not torch.equal(first, store.batch(range(8), 8)["image"])
        assert torch.equal(torch.get_rng_state(), state)

    def test_small_volumes_are_padded(self):
        store = PatchStore([volume(3, (2, 3, 4))], (4, 4, 3))
        batch = store.batch([0], 0)
        known = batch["label"][0, 0] != 255
        assert known.sum() == 2 * 3 * 3
        assert known[1:3, 0:3].all()
        assert (batch["image"][0, 0][~known] == 0).all()
        assert (batch["image"][0, 0][known] >= 3000).all()
        assert (batch["weak_label"][0, 0][~known] == 255).all()
        assert batch["label"].dtype == torch.uint8

    def test_a_patch_keeps_the_upper_side_with_one_warning(self, caplog):
        cases = [volume(n, bounds_ml=volume_bounds(), bounds_more=volume_bounds()) for n in range(3)]
        with caplog.at_level(logging.WARNING, logger="wss_monai"):
            store = PatchStore(cases, (3, 3, 3))
        batch = store.batch([0, 9], 0)
        assert batch["bounds_ml"][:, 1, 0].tolist() == [[-INF, 50]] * 2
        assert [record.getMessage().split(":")[0] for record in caplog.records] == ["bounds_ml", "bounds_more"]
        assert store.volume_terms == set()

    def test_no_warning_where_nothing_is_lost(self, caplog):
        with caplog.at_level(logging.WARNING, logger="wss_monai"):
            PatchStore([volume(0, bounds_ml=volume_bounds(lower=-INF))], (3, 3, 3))
            whole = PatchStore([volume(0, bounds_ml=volume_bounds())], (6, 5, 6))
        assert whole.batch([0], 0)["bounds_ml"][0, 1, 0].tolist() == [5, 50]
        assert not caplog.records

    def test_tags_of_patches(self):
        """Class 1 is drawn in one corner, class 2 is tagged but not drawn, class 3 is absent, class 4 unknown."""
        case = volume(0, (4, 2, 2), tags=torch.tensor([1, 1, 1, 0, -1], dtype=torch.int8))
        case["weak_label"] = torch.full((1, 4, 2, 2), 255, dtype=torch.uint8)
        case["weak_label"][0, 0, 0, 0] = 1
        store = PatchStore([case, volume(1, (4, 2, 2), tags=[0, -1, 1, 1, 0])], (2, 2, 2), patches_per_volume=30)
        batch = store.batch(range(30), 0)
        with_corner = (batch["weak_label"] == 1).flatten(1).any(1)
        assert 0 < with_corner.sum() < 30
        assert batch["tags"].dtype == torch.int8
        assert batch["tags"][with_corner].unique(dim=0).tolist() == [[-1, 1, -1, 0, -1]]
        assert batch["tags"][~with_corner].unique(dim=0).tolist() == [[-1, -1, -1, 0, -1]]
        assert store.columns.entry("tags", 0).tolist() == [1, 1, 1, 0, -1]
        assert store.batch([30], 0)["tags"].tolist() == [[0, -1, 1, 1, 0]]  # classes 1 to 3 are drawn everywhere

    def test_tags_of_a_patch_that_holds_the_volume(self):
        tags = torch.tensor([1, 1, 0])
        for patch in ((6, 5, 4), (8, 8, 8)):
            store = PatchStore([volume(0, tags=tags)], patch)
            assert store.batch([0], 0)["tags"].tolist() == [[1, 1, 0]]
        case = {key: value for key, value in volume(0, tags=tags).items() if key != "weak_label"}
        assert PatchStore([case], (3, 3, 3)).batch([0], 0)["tags"].tolist() == [[-1, -1, 0]]
        assert "tags" not in PatchStore([volume(0)], (3, 3, 3)).batch([0], 0)

    def test_places_cannot_be_bounded_in_patches(self):
        bounds = torch.tensor([-INF, INF]).repeat(3, 3, 1)
        free = PatchStore([volume(0, bounds_centre=bounds)], (3, 3, 3))
        assert not free.batch([0], 0)["bounds_centre"].isfinite().any()
        bounds = bounds.clone()
        bounds[1, 0] = torch.tensor([1.0, 4.0])
        for patch in ((3, 3, 3), (8, 5, 4)):  # a part of the volume; all of it, but padded
            with pytest.raises(ValueError, match="case 'c0': bounds_centre is about a place in the volume"):
                PatchStore([volume(0, bounds_centre=bounds)], patch)
        exact = PatchStore([volume(0, bounds_centre=bounds)], (6, 5, 4))
        assert torch.equal(exact.batch([0], 0)["bounds_centre"][0], bounds)

    def test_refusals(self):
        with pytest.raises(ValueError, match="the training set is empty"):
            PatchStore([], (2, 2, 2))
        with pytest.raises(
            ValueError, match=r"case 'c0' has shape \(6, 5, 1\): a single slice cannot train a 3D network"
        ):
            PatchStore([volume(0, (6, 5, 1))], (2, 2, 2))
        with pytest.raises(ValueError, match="case 'c0': bounds_size is about slices"):
            PatchStore([volume(0, bounds_size=slice_bounds())], (2, 2, 2))
        with pytest.raises(ValueError, match=r"patch_size \[2, 2\] does not fit case 'c0' of \(6, 5, 4\)"):
            PatchStore([volume(0)], (2, 2))
        for settings in ({"patch_size": (2, 2, 0)}, {"patch_size": (2, 2, 2), "patches_per_volume": 0}):
            with pytest.raises(ValueError, match="patches_per_volume and patch_size must be positive"):
                PatchStore([volume(0)], **settings)
        other = {key: value for key, value in volume(1).items() if key != "label"}
        with pytest.raises(ValueError, match=r"case 'c1': has .* but the cases before have .*label"):
            PatchStore([volume(0), other], (2, 2, 2))


def test_where_each_slice_lies():
    """Along the slice axis, in mm, from the first slice of its volume."""
    affine = torch.diag(torch.tensor([2.0, 2.0, 7.5, 1.0], dtype=torch.float64))
    cases = [{"image": MetaTensor(torch.rand(1, 4, 4, 3), affine=affine)}, {"image": torch.rand(1, 4, 4, 2)}]
    store = SliceStore(cases)
    assert store.position.tolist() == [0.0, 7.5, 15.0, 0.0, 1.0]
    assert store.batch([2, 4], 0)["position"].tolist() == [15.0, 1.0]
