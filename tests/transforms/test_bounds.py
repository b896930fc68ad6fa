# SPDX-License-Identifier: Apache-2.0
"""Bounds: units, tags, margins, boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from wss_monai.functional.descriptors import DESCRIPTORS, Centroid, Compactness, Length, Size, Spread
from wss_monai.functional.pieces import StrayShare
from wss_monai.functional.relations import Enclosure, SizeRatio
from wss_monai.io.grids import spacing_of
from wss_monai.transforms import BoxBounds, BoxBoundsd, ConstantBounds, ConstantBoundsd, LabelBounds, LabelBoundsd

INF = math.inf
NAMES = ["background", "RV", "LV"]


def volume(shape: tuple[int, ...] = (6, 5, 4), spacing: tuple[float, ...] = (2.0, 3.0, 10.0), value: float = 0.0):
    """Channel-first MetaTensor whose oblique affine has these voxel sizes."""
    c, s = math.cos(0.4), math.sin(0.4)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, : len(shape)] = turn[:, : len(shape)] * np.array(spacing[: len(shape)])
    affine[:3, 3] = [7, -30, 200]
    return MetaTensor(torch.full((1, *shape), value), affine=torch.from_numpy(affine))


def in_slices(values: dict, tags: list | None = None, **settings) -> torch.Tensor:
    return ConstantBounds(values, NAMES, slice_axis=2, **settings)(
        volume(), None if tags is None else torch.tensor(tags)
    )


class TestUnits:
    def test_mm2_in_slices(self):
        bounds = in_slices({"LV": (6, 60)}, tags=[[-1, -1, 1]] * 4, unit="mm2")
        assert bounds.shape == (4, 3, 1, 2)
        torch.testing.assert_close(bounds[:, 2, 0], torch.tensor([1.0, 10.0]).repeat(4, 1))
        assert (bounds[:, :2] == torch.tensor([-INF, INF])).all()

    @pytest.mark.parametrize(("axis", "voxel"), [(0, 30.0), (1, 20.0), (2, 6.0)])
    def test_mm2_along_each_axis(self, axis, voxel):
        bounds = ConstantBounds({"LV": (None, 120)}, NAMES, unit="mm2", slice_axis=axis)(volume())
        assert bounds.shape[0] == (6, 5, 4)[axis]
        torch.testing.assert_close(bounds[:, 2, 0, 1], torch.full((bounds.shape[0],), 120 / voxel))

    def test_ml_in_volumes(self):
        bounds = ConstantBounds({"LV": (0.6, 6)}, NAMES, unit="ml")(volume())  # 60 mm3 a voxel
        torch.testing.assert_close(bounds[2, 0], torch.tensor([10.0, 100.0]))

    def test_voxels_are_the_default(self):
        assert ConstantBounds({"RV": (2, 30)}, NAMES)(volume())[1, 0].tolist() == [2, 30]

    def test_2d_image(self):
        bounds = ConstantBounds({"RV": (6, 60)}, NAMES, unit="mm2")(volume((6, 5)))
        torch.testing.assert_close(bounds[1, 0], torch.tensor([1.0, 10.0]))

    def test_centroid_in_mm_from_the_centre(self):
        values = {"LV": [(-4, 4), (-3, 6)]}
        bounds = in_slices(values, tags=[[-1, -1, 1]] * 4, unit="mm", descriptor=Centroid())
        torch.testing.assert_close(bounds[0, 2], torch.tensor([[0.5, 4.5], [1.0, 4.0]]))
        whole = ConstantBounds({"LV": [(-4, 4), (-3, 6), (-5, None)]}, NAMES, unit="mm", descriptor=Centroid())
        torch.testing.assert_close(whole(volume())[2], torch.tensor([[0.5, 4.5], [1.0, 4.0], [1.0, INF]]))

    @pytest.mark.parametrize(
        ("descriptor", "unit"), [(Spread(), "mm"), (Length(), "mm"), (Compactness(), "1"), (Centroid(), "voxel")]
    )
    def test_others_in_their_own_unit(self, descriptor, unit):
        bounds = in_slices({"LV": (2, 3)}, tags=[[-1, -1, 1]] * 4, unit=unit, descriptor=descriptor)
        assert (bounds[:, 2] == torch.tensor([2.0, 3.0])).all()
        assert bounds.shape == (4, 3, descriptor.components(2), 2)

    def test_area_in_3d(self):
        bounds = ConstantBounds({"LV": (2, 300)}, NAMES, unit="mm2", descriptor=Length())(volume())
        assert bounds[2, 0].tolist() == [2, 300]

    @pytest.mark.parametrize(
        ("descriptor", "unit", "slice_axis"),
        [
            (Size(), "ml", 2),
            (Size(), "mm2", None),
            (Size(), "mm", 2),
            (Spread(), "voxel", 2),
            (Length(), "mm", None),
            (Compactness(), "mm", 2),
            (Centroid(), "ml", None),
        ],
    )
    def test_units_that_do_not_fit_are_refused(self, descriptor, unit, slice_axis):
        transform = ConstantBounds({"LV": (2, 3)}, NAMES, unit=unit, descriptor=descriptor, slice_axis=slice_axis)
        with pytest.raises(
            ValueError, match=f"unit '{unit}' does not fit '{descriptor.name}' in [23]D: {descriptor.name} takes"
        ):
            transform(volume())

    def test_spacing_of_oblique_and_plain_tensors(self):
        assert spacing_of(volume()) == pytest.approx([2, 3, 10])
        assert spacing_of(volume((6, 5))) == pytest.approx([2, 3])
        assert spacing_of(torch.zeros(1, 4, 4)) == [1, 1]

    def test_a_plane_in_space_has_the_edges_of_its_voxels(self):
        upright = torch.zeros(4, 4, dtype=torch.float64)
        upright[0, 0], upright[2, 1], upright[1, 2], upright[3, 3] = 2, 3, 1, 1  # its second axis is the body's third
        assert spacing_of(MetaTensor(torch.zeros(1, 6, 5), affine=upright)) == pytest.approx([2, 3])


class TestTags:
    def test_lower_side_of_a_slice_needs_a_present_tag(self):
        bounds = in_slices({"LV": (2, 20)}, tags=[[1, 1, 1], [1, 1, -1], [1, 1, 0], [-1, -1, -1]])
        assert bounds[:, 2, 0].tolist() == [[2, 20], [-INF, 20], [-INF, 0], [-INF, 20]]

    def test_without_tags_slices_keep_the_upper_side(self):
        assert in_slices({"LV": (2, 20)})[:, 2, 0].tolist() == [[-INF, 20]] * 4

    def test_a_volume_loses_its_lower_side_only_where_absent(self):
        transform = ConstantBounds({"RV": (2, 20), "LV": (2, 20)}, NAMES)
        assert transform(volume(), torch.tensor([1, -1, 0]))[:, 0].tolist() == [[-INF, INF], [2, 20], [-INF, 0]]
        assert transform(volume(), torch.tensor([1, 1, 1]))[1, 0].tolist() == [2, 20]
        assert transform(volume())[1, 0].tolist() == [2, 20]

    def test_tags_alone_speak(self):
        transform = ConstantBounds({}, NAMES, slice_axis=2)
        bounds = transform(volume(), torch.tensor([[1, 0, 1], [1, 1, 0], [-1, -1, -1], [0, 0, 0]]))
        assert bounds[0, :, 0].tolist() == [[-INF, INF], [-INF, 0], [-INF, INF]]
        assert bounds[1, :, 0].tolist() == [[-INF, INF], [-INF, INF], [-INF, 0]]
        assert not bounds[2].isfinite().any()
        assert (bounds[3, :, 0, 1] == 0).all()
        assert (transform.origin, ConstantBounds({"LV": (1, 2)}, NAMES).origin) == ("tag", "constant")

    @pytest.mark.parametrize(("descriptor", "unit"), [(Centroid(), "voxel"), (Spread(), "mm"), (Length(), "mm")])
    def test_other_descriptors_are_bounded_only_where_the_class_is(self, descriptor, unit):
        tags = [[1, 1, 1], [1, 1, -1], [1, 1, 0], [1, 1, 1]]
        bounds = in_slices({"LV": (2, 3)}, tags=tags, unit=unit, descriptor=descriptor)
        assert bounds[:, 2].isfinite().flatten(1).all(1).tolist() == [True, False, False, True]
        assert not bounds[1:3, 2].isfinite().any()

    def test_tags_of_the_wrong_kind_are_refused(self):
        with pytest.raises(ValueError, match=r"tags must be \(1, 3\).*got \(4, 3\); set tags_key .* to 'tags'"):
            ConstantBounds({}, NAMES)(volume(), torch.zeros(4, 3))
        with pytest.raises(ValueError, match=r"tags must be \(4, 3\).*got \(3,\); set tags_key to 'slice_tags'"):
            ConstantBounds({}, NAMES, slice_axis=2)(volume(), torch.zeros(3))


class TestValues:
    @pytest.mark.parametrize("lower", [0, -5, None])
    def test_a_lower_side_at_or_below_zero_says_nothing(self, lower):
        assert ConstantBounds({"LV": (lower, 20)}, NAMES)(volume())[2, 0].tolist() == [-INF, 20]

    def test_but_a_coordinate_may_be_zero(self):
        bounds = ConstantBounds({"LV": (0, 2)}, NAMES, descriptor=Centroid())(volume())
        assert (bounds[2] == torch.tensor([0.0, 2.0])).all()

    @pytest.mark.parametrize("value", [(5, 4), (math.nan, 4), (2, math.nan), (None, -1)])
    def test_impossible_intervals_are_refused_by_class(self, value):
        with pytest.raises(ValueError, match=r"bounds of 'size' for class 'LV' cannot hold: \["):
            ConstantBounds({"LV": value}, NAMES)

    @pytest.mark.parametrize("value", [5, (1, 2, 3), [], "ab", [(1, 2), (3,)], ("1", "2"), [(1, 2), 3], None])
    def test_malformed_values_are_refused_by_class(self, value):
        with pytest.raises(ValueError, match=r"class 'LV': give \(lower, upper\)"):
            ConstantBounds({"LV": value}, NAMES)

    def test_unknown_class(self):
        with pytest.raises(ValueError, match=r"\['lv'\], which are not among \['background', 'RV', 'LV'\]"):
            ConstantBounds({"lv": (1, 2)}, NAMES)

    @pytest.mark.parametrize(("unit", "setting"), [("mm2", "--size_bounds"), ("ml", "--volume_bounds")])
    def test_unknown_class_names_the_setting(self, unit, setting):
        with pytest.raises(ValueError, match=rf"set {setting} to yours, such as .'LV': \[20, 4000\]"):
            ConstantBounds({"Anterior": (1, 2)}, NAMES, unit=unit)

    def test_number_of_intervals_must_fit(self):
        transform = ConstantBounds({"LV": [(0, 2), (1, 3)]}, NAMES, descriptor=Centroid())
        with pytest.raises(ValueError, match="class 'LV': 'centroid' has 3 values in 3D, but 2 intervals are given"):
            transform(volume())

    def test_what_no_prediction_can_keep_is_refused_by_case_and_class(self):
        transform = ConstantBoundsd("volume", values={"LV": (20, 400)}, class_names=NAMES, unit="ml")
        with pytest.raises(
            ValueError,
            match=r"case 'p1': bounds of term 'volume': class 'LV': no 'size' on a grid of \[6, 5, 4",
        ):
            transform({"case": "p1", "image": volume()})
        far = ConstantBoundsd("middle", values={"RV": (9, 12)}, class_names=NAMES, descriptor=Centroid())
        with pytest.raises(ValueError, match="case 'p2': bounds of term 'middle': class 'RV': no 'centroid' on a grid"):
            far({"case": "p2", "image": volume()})

    @pytest.mark.parametrize("descriptor", [Enclosure("RV", NAMES), StrayShare()])
    def test_no_share_is_above_one(self, descriptor):
        given = {"values": {"LV": (1.5, None)}, "class_names": NAMES, "descriptor": descriptor, "unit": "1"}
        with pytest.raises(ValueError, match=f"case 'p': bounds of term 'part': class 'LV': no '{descriptor.name}' on"):
            ConstantBoundsd("part", tags_key=None, **given)({"case": "p", "image": volume()})
        sides = ConstantBounds(**{**given, "values": {"LV": (0.9, 1)}})(volume())
        assert sides[2, 0].tolist() == [pytest.approx(0.9), 1]

    def test_a_relation_of_a_class_to_itself_says_nothing(self):
        given = {"values": {"RV": (2, 3)}, "class_names": NAMES, "descriptor": SizeRatio("RV", NAMES), "unit": "1"}
        with pytest.raises(ValueError, match="bounds of term 'ratio': 'size_ratio' relates each class to 'RV': leave"):
            ConstantBoundsd("ratio", **given)

    @pytest.mark.parametrize("values", [5, [1, 2], "x", None])
    def test_values_without_classes_are_refused(self, values):
        with pytest.raises(ValueError, match=r"bounds of term 'size': bounds must be \[lower, upper\] by class"):
            ConstantBoundsd("size", values=values, class_names=NAMES)

    def test_but_not_where_a_tag_frees_it(self):
        transform = ConstantBounds({"LV": (20, 400)}, NAMES, unit="ml")
        assert transform(volume(), torch.tensor([1, 1, 0]))[2, 0].tolist() == [-INF, 0]


def label_map() -> MetaTensor:
    """Slice 0: RV and LV; slice 1: LV; slice 2: background only; slice 3: nothing known."""
    label = volume()
    label[0, 1:3, 1:4, 0] = 1
    label[0, 4, 2, 0] = label[0, 4, 3, 0] = 2
    label[0, 1:5, 1:3, 1] = 2
    label[..., 3] = 255
    return label


class TestLabelBounds:
    @pytest.mark.parametrize("descriptor", [descriptor() for descriptor in DESCRIPTORS], ids=lambda d: d.name)
    @pytest.mark.parametrize("mode", ["relative", "absolute"])
    @pytest.mark.parametrize("slice_axis", [2, None])
    def test_interval_around_the_measure(self, descriptor, mode, slice_axis):
        label = label_map()
        bounds = LabelBounds(NAMES, 0.1, mode, descriptor, slice_axis)(label)
        spacing = torch.tensor([[2.0, 3.0, 10.0]])
        plain = label.as_tensor()[0]
        if slice_axis is None:
            bounds, maps = bounds[None], plain[None]
        else:
            maps, spacing = plain.movedim(2, 0), spacing[:, :2].repeat(4, 1)
        one_hot = torch.stack([maps == k for k in range(3)], 1).float()
        measure = descriptor(one_hot, spacing=spacing)
        margin = 0.1 * measure.abs() if mode == "relative" else torch.full_like(measure, 0.1)
        for unit, k in [(0, 1), (0, 2), (1, 2)][: 3 if slice_axis is not None else 2]:
            lower = measure[unit, k] - margin[unit, k]
            if descriptor.nonnegative:
                lower = torch.where(lower > 0, lower, -INF)
            torch.testing.assert_close(bounds[unit, k, :, 0], lower)
            torch.testing.assert_close(bounds[unit, k, :, 1], measure[unit, k] + margin[unit, k])

    def test_by_hand(self):
        bounds = LabelBounds(NAMES, slice_axis=2)(label_map())
        torch.testing.assert_close(bounds[0, 1, 0], torch.tensor([5.4, 6.6]))
        torch.testing.assert_close(bounds[1, 2, 0], torch.tensor([7.2, 8.8]))
        centroid = LabelBounds(NAMES, 1.5, "absolute", Centroid(), slice_axis=2)(label_map())
        assert centroid[0, 1].tolist() == [[0, 3], [0.5, 3.5]]
        assert LabelBounds(NAMES, 3, "absolute", slice_axis=2)(label_map())[0, 2, 0].tolist() == [-INF, 5]

    @pytest.mark.parametrize("descriptor", [descriptor() for descriptor in DESCRIPTORS], ids=lambda d: d.name)
    def test_absent_classes_and_unknown_slices(self, descriptor):
        bounds = LabelBounds(NAMES, descriptor=descriptor, slice_axis=2)(label_map())
        absent = [-INF, 0.0] if descriptor.name == "size" else [-INF, INF]
        for unit, k in [(1, 1), (2, 1), (2, 2)]:
            assert (bounds[unit, k] == torch.tensor(absent)).all()
        assert not bounds[3].isfinite().any()
        assert not bounds[:, 0].isfinite().any()
        assert not bounds.isnan().any()

    def test_spacing_decides_spread(self):
        bounds = LabelBounds(NAMES, 0.01, descriptor=Spread(), slice_axis=2)(label_map())
        torch.testing.assert_close(bounds[0, 2, 0], torch.tensor([1.5 * 0.99, 1.5 * 1.01]))  # two voxels 3 mm apart

    def test_2d_label(self):
        label = volume((6, 5))
        label[0, 1:3, 1:3] = 1
        torch.testing.assert_close(LabelBounds(NAMES)(label)[1, 0], torch.tensor([3.6, 4.4]))

    def test_a_size_relative_to_a_coordinate_depends_on_the_place(self):
        """Published for centroids: nothing at the edge, and the wider the farther from it; absolute is the same."""
        label = volume((40, 40))
        for name, at in ((1, 0), (2, 30)):
            label[0, at, at] = name
        relative = LabelBounds(NAMES, 0.1, descriptor=Centroid())(label)
        torch.testing.assert_close(relative[1], torch.zeros(2, 2))
        torch.testing.assert_close(relative[2], torch.tensor([[27.0, 33.0]] * 2))
        absolute = LabelBounds(NAMES, 3, "absolute", Centroid())(label)
        assert (absolute[1:, :, 1] - absolute[1:, :, 0]).tolist() == [[6, 6], [6, 6]]

    def test_published_intervals_of_absent_classes(self):
        bounds = LabelBounds(NAMES, 0.25, absent=(None, 3), slice_axis=2)(label_map())
        assert bounds[:, 1, 0].tolist() == [[4.5, 7.5], [-INF, 3], [-INF, 3], [-INF, INF]]
        upper = LabelBounds(NAMES, 5, "absolute", lower=1, absent=(0, 5), slice_axis=2)(label_map())
        assert upper[:, 1, 0].tolist() == [[1, 11], [-INF, 5], [-INF, 5], [-INF, INF]]
        assert not upper[:, 0].isfinite().any()
        with pytest.raises(ValueError, match=r"bounds of 'size' for an absent class cannot hold: \[3.0, 2.0\]"):
            LabelBounds(NAMES, absent=(3, 2))

    def test_wrong_arguments(self):
        with pytest.raises(ValueError, match="mode must be 'relative' or 'absolute', got 'percentage'"):
            LabelBounds(NAMES, mode="percentage")
        for margin in (0, -1, math.nan):
            with pytest.raises(ValueError, match="margin must be positive"):
                LabelBounds(NAMES, margin=margin)


def boxes_map():
    """The label as boxes (K, *spatial), one a class."""
    return torch.cat([(label_map() == k).to(torch.uint8) for k in range(3)])


class TestBoxBounds:
    def test_fractions_of_the_box(self):
        bounds = BoxBounds(NAMES, (0.5, 0.75), slice_axis=2)(boxes_map())
        assert bounds[0, :, 0].tolist() == [[-INF, INF], [3, 4.5], [1, 1.5]]
        assert bounds[1, 1, 0].tolist() == [-INF, INF]
        assert not bounds[2:].isfinite().any()
        assert BoxBounds(NAMES, (0, 1))(boxes_map())[1, 0].tolist() == [-INF, 6]

    def test_tags_say_what_is_absent(self):
        tags = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 0, -1], [-1, -1, -1]])
        bounds = BoxBounds(NAMES, (0.5, 0.75), slice_axis=2)(boxes_map(), tags)
        assert bounds[:, 1, 0].tolist() == [[3, 4.5], [-INF, 0], [-INF, 0], [-INF, INF]]
        assert bounds[2, 2, 0].tolist() == [-INF, INF]

    @pytest.mark.parametrize("fractions", [(0.9, 0.5), (-0.1, 0.5), (0.5, 0.5), (math.nan, 1), (0.5, math.nan)])
    def test_wrong_fractions(self, fractions):
        with pytest.raises(ValueError, match="fractions must be 0 <= lower < upper"):
            BoxBounds(NAMES, fractions)


class TestDictionaries:
    def test_keys_and_origins(self):
        label = label_map()
        data = {"case": "a", "image": volume(), "label": label, "boxes": boxes_map(), "slice_tags": torch.ones(4, 3)}
        out = data
        for transform, origin in (
            (ConstantBoundsd("size", values={"LV": (2, 20)}, class_names=NAMES, slice_axis=2), "constant"),
            (ConstantBoundsd("present", values={}, class_names=NAMES, slice_axis=2), "tag"),
            (LabelBoundsd("oracle", class_names=NAMES, descriptor=Centroid(), slice_axis=2), "oracle"),
            (BoxBoundsd("box", class_names=NAMES, slice_axis=2), "box"),
        ):
            out = transform(out)
            assert transform.origin == origin
        assert {k for k in out if k not in data} == {"bounds_size", "bounds_present", "bounds_oracle", "bounds_box"}
        assert "bounds_size" not in data
        assert out["bounds_size"][0, 2, 0].tolist() == [2, 20]
        assert out["bounds_oracle"].shape == (4, 3, 2, 2)

    def test_tags_are_optional(self):
        out = ConstantBoundsd(values={"LV": (2, 20)}, class_names=NAMES, slice_axis=2)({"image": volume()})
        assert out["bounds_size"][0, 2, 0].tolist() == [-INF, 20]
        ignoring = ConstantBoundsd(values={"LV": (2, 20)}, class_names=NAMES, slice_axis=2, tags_key=None)
        out = ignoring({"image": volume(), "slice_tags": torch.zeros(4, 3)})
        assert out["bounds_size"][0, 2, 0].tolist() == [-INF, 20]

    def test_a_map_on_another_grid_is_refused(self):
        data = {"case": "p1", "image": volume(), "boxes": boxes_map()[:, :2]}
        with pytest.raises(ValueError, match=r"case 'p1': boxes has shape .*; give 'boxes' to every spatial transform"):
            BoxBoundsd(class_names=NAMES, slice_axis=2)(data)

    def test_errors_name_the_case(self):
        transform = ConstantBoundsd(values={"LV": (2, 3)}, class_names=NAMES, unit="mm", slice_axis=2)
        with pytest.raises(ValueError, match="case 'patient007_ED': bounds of term 'size': unit 'mm' does not fit"):
            transform({"case": "patient007_ED", "image": volume()})
        with pytest.raises(ValueError, match="case 'p3': bounds of term 'size': tags must be"):
            ConstantBoundsd(values={}, class_names=NAMES)(
                {"case": "p3", "image": volume(), "slice_tags": torch.ones(4, 3)}
            )
