# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, ResizeWithPadOrCropd, Spacingd

from wss_monai.transforms import EstimatedBoundsd, WeakCuesd, WeakTagsd

NAMES = ["background", "A", "B"]
INF = math.inf


def model(area, kind="position", features=3):
    """An interval of area / 2 to area * 2 whatever the cues."""
    coefficients = [math.log(area)] + [0.0] * (features - 1)
    ends = [-math.log(2), math.log(2)]
    return {"kind": kind, "coefficients": coefficients, "spread": [0.0], "quantiles": ends, "spread_range": [0.1, 10]}


def bounds_file(tmp_path, terms=None, **changes):
    classes = {"A": {"position": model(100)}, "B": {"position": model(40)}}
    content = {
        "format": "wss_monai estimated bounds 1",
        "dense": 5,
        "patients": ["p1", "p2"],
        "terms": terms or {"size": {"classes": classes}},
        **changes,
    }
    path = tmp_path / "bounds.json"
    path.write_text(json.dumps(content))
    return path


def case(affine=None, kind="points", undrawn_means_absent=True):
    """Three slices of 12 x 10 voxels: A in slices 0 and 1, B in slice 1; slice 2 shows background alone."""
    weak = torch.full((1, 12, 10, 3), 255, dtype=torch.uint8)
    weak[0, 0, 0] = 0
    weak[0, 3:6, 4, 0] = 1
    weak[0, 8, 4:6, 1] = 1
    weak[0, 2, 2, 1] = 2
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0])).double() if affine is None else affine
    return {
        "case": "c",
        "image": MetaTensor(torch.zeros(1, 12, 10, 3), affine=affine),
        "weak_label": MetaTensor(weak, affine=affine),
        "weak_kind": kind,
        "undrawn_means_absent": undrawn_means_absent,
        "tags": [-1, -1, -1],
        "slice_axis": 2,
    }


def made(data, *steps, **options):
    return EstimatedBoundsd(class_names=NAMES, **options)(Compose([WeakTagsd(3), WeakCuesd(3), *steps])(data))


def test_present_absent_and_background(tmp_path):
    bounds = made(case(), file=bounds_file(tmp_path))["bounds_size"]
    assert bounds.shape == (3, 3, 1, 2)
    # 100 mm2 at 4 mm2 a pixel
    assert torch.allclose(bounds[0, 1, 0], torch.tensor([12.5, 50.0]))
    assert torch.allclose(bounds[1, 2, 0], torch.tensor([5.0, 20.0]))
    assert bounds[0, 2, 0].tolist() == [-INF, 0.0] and bounds[2, 1, 0].tolist() == [-INF, 0.0]
    assert bounds[:, 0].isinf().all()


def test_an_undrawn_class_of_unknown_presence_has_no_bounds(tmp_path):
    bounds = made(case(undrawn_means_absent=False), file=bounds_file(tmp_path))["bounds_size"]
    assert bounds[0, 2, 0].tolist() == [-INF, INF]


def test_intervals_stay_the_same_in_mm2_after_resampling_and_cropping(tmp_path):
    file = bounds_file(tmp_path)
    here = made(case(), file=file)["bounds_size"]
    keys = ["image", "weak_label"]
    there = made(
        case(),
        Spacingd(keys, pixdim=[1.0, 1.0, -1.0], mode=["bilinear", "nearest"]),
        ResizeWithPadOrCropd(keys, spatial_size=[8, 8, -1]),
        file=file,
    )["bounds_size"]
    assert torch.allclose(here[:, :, 0] * 4, there[:, :, 0])


def test_cues_are_those_of_the_stored_grid():
    data = WeakCuesd(3)(WeakTagsd(3)(case(kind="scribble")))
    assert data["cue_kind"] == "scribble"
    # three voxels along the first axis, 2 mm wide each; a box of 6 x 2 mm
    assert torch.allclose(data["cues"][0, 1, :2], torch.tensor([6.0, 12.0]))
    assert torch.allclose(data["places"][0, 1], torch.tensor([8.0, 8.0, 0.0]))
    assert data["places"][0, 2].isnan().all()


def test_scribble_cues_decide_where_the_file_has_their_model(tmp_path):
    with_length = model(1, "scribble", 6)
    with_length["coefficients"] = [0.0, 0, 0, 2.0, 0, 0]  # (length + 1) squared
    classes = {"A": {"position": model(100), "scribble": with_length}, "B": {"position": model(40)}}
    file = bounds_file(tmp_path, {"size": {"classes": classes}})
    bounds = made(case(kind="scribble"), file=file)["bounds_size"]
    assert torch.allclose(bounds[0, 1, 0] * 4, torch.tensor([24.5, 98.0]))  # length 6 mm
    assert torch.allclose(bounds[1, 1, 0] * 4, torch.tensor([12.5, 50.0]))  # length 4 mm
    points = made(case(), file=file)["bounds_size"]
    assert torch.allclose(points[0, 1, 0] * 4, torch.tensor([50.0, 200.0]))


def test_a_class_that_is_only_tagged_gets_the_interval_of_its_position(tmp_path):
    with_length = {"A": {"position": model(100), "scribble": model(7, "scribble", 6)}, "B": {"position": model(40)}}
    data = case(kind="scribble") | {"slice_tags": [[1, 1, 0], [1, 1, 1], [1, 1, 0]]}
    bounds = made(data, file=bounds_file(tmp_path, {"size": {"classes": with_length}}))["bounds_size"]
    assert torch.allclose(bounds[2, 1, 0] * 4, torch.tensor([50.0, 200.0]))


def test_a_side_beyond_the_constant_bound_is_replaced(tmp_path):
    classes = {"A": {"position": model(100), "constant": [60, None]}, "B": {"position": model(40), "constant": [1, 70]}}
    bounds = made(case(), file=bounds_file(tmp_path, {"size": {"classes": classes}}))["bounds_size"]
    assert torch.allclose(bounds[1, 1:, 0] * 4, torch.tensor([[60.0, 200.0], [20.0, 70.0]]))


def profile(areas, sure=(0.1, 0.9), **changes):
    """What one labelled volume with these areas says, widened by 2."""
    positions = [(i + 0.5) / len(areas) for i in range(len(areas))]
    content = {"positions": [positions], "areas": [areas], "factor": 2.0, "reach": 0.1, "sure": sure, "directed": True}
    return {**content, **changes}


def untold(tmp_path, a, b, **options):
    """A file with profiles of A and B, and what it says."""
    classes = {"A": {"position": model(100), "unknown": a}, "B": {"position": model(40), "unknown": b}}
    file = bounds_file(tmp_path, {"size": {"classes": classes}})
    return {"file": file, "unknown": "position", **options}


def unlabelled(slices=3, **changes):
    """An image of 12 x 10 pixels of 4 mm2 a slice, of which nothing is known."""
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0])).double()
    blank = torch.full((1, 12, 10, slices), 255, dtype=torch.uint8)
    return {
        "case": "u",
        "image": MetaTensor(torch.zeros(1, 12, 10, slices), affine=affine),
        "weak_label": MetaTensor(blank, affine=affine),
        "weak_kind": "nothing",
        **changes,
    }


def test_an_unlabelled_image_gets_bounds_by_position(tmp_path):
    options = untold(tmp_path, profile([80, 160, 40]), profile([80, 160, 40], sure=[0.4, 0.9]))
    bounds = made(unlabelled(), **options)["bounds_size"]
    assert bounds.shape == (3, 3, 1, 2) and bounds.dtype == torch.float32 and bounds[:, 0].isinf().all()
    # halves and doubles, at 4 mm2 a pixel
    assert torch.allclose(bounds[:, 1, 0], torch.tensor([[10.0, 40.0], [20.0, 80.0], [5.0, 20.0]]))
    # B is sure to be there from 0.4 on: the upper side stays everywhere
    assert torch.equal(bounds[:, 2, 0, 1], bounds[:, 1, 0, 1])
    assert bounds[:, 2, 0, 0].tolist() == [-INF, 20.0, 5.0]


def test_a_slice_at_the_edge_of_sure_presence_counts(tmp_path):
    bounds = made(unlabelled(5), **untold(tmp_path, profile([80] * 5, sure=[0.3, 0.7]), profile([80] * 5, sure=None)))
    assert bounds["bounds_size"][:, 1, 0, 0].tolist() == [-INF, 10.0, 10.0, 10.0, -INF]
    assert (bounds["bounds_size"][:, 2, 0, 0] == -INF).all() and (bounds["bounds_size"][:, 2, 0, 1] == 40).all()


def test_without_the_word_unknown_classes_stay_free(tmp_path):
    options = untold(tmp_path, profile([80, 160, 40]), profile([80, 160, 40]), unknown="none")
    assert made(unlabelled(), **options)["bounds_size"].isinf().all()


def test_tags_win_over_the_position(tmp_path):
    options = untold(tmp_path, profile([80, 160, 40]), profile([80, 160, 40]))
    tags = [[-1, 1, 0], [-1, -1, 0], [-1, 0, -1]]
    bounds = made(unlabelled(slice_tags=tags), **options)["bounds_size"]
    assert torch.allclose(bounds[0, 1, 0], torch.tensor([12.5, 50.0]))  # the model of 100 mm2
    assert bounds[2, 1, 0].tolist() == [-INF, 0.0] and bounds[0, 2, 0].tolist() == [-INF, 0.0]
    assert bounds[1, 1, 0].tolist() == [20.0, 80.0] and bounds[2, 2, 0].tolist() == [5.0, 20.0]
    absent = made(unlabelled(tags=[-1, -1, 0]), **options)["bounds_size"]
    assert (absent[:, 2, 0, 1] == 0).all() and absent[:, 1].isfinite().all()


def test_dense_slices_and_scribbled_slices_with_undrawn_classes(tmp_path):
    options = untold(tmp_path, profile([80, 160, 40]), profile([80, 160, 40]))
    data = case(undrawn_means_absent=False)
    data["weak_label"][0, :, :, 1] = 0
    data["weak_label"][0, 2:5, 2:5, 1] = 1
    bounds = made(data, **options)["bounds_size"]
    assert bounds[1, 1, 0].tolist() == [-INF, INF] and bounds[1, 2, 0].tolist() == [-INF, 0.0]
    assert bounds[0, 2, 0].tolist() == [10.0, 40.0] and torch.allclose(bounds[0, 1, 0], torch.tensor([12.5, 50.0]))


def test_constant_bounds_cap_those_by_position(tmp_path):
    options = untold(tmp_path, profile([80, 160, 40], sure=[0.4, 0.9]), profile([80, 160, 40], sure=None))
    content = json.loads(options["file"].read_text())
    content["terms"]["size"]["classes"]["A"]["constant"] = [24, 200]
    content["terms"]["size"]["classes"]["B"]["constant"] = [24, None]
    options["file"].write_text(json.dumps(content))
    bounds = made(unlabelled(), **options)["bounds_size"]
    assert torch.allclose(bounds[:, 1, 0], torch.tensor([[-INF, 40.0], [20.0, 50.0], [6.0, 20.0]]))
    assert (
        bounds[:, 2, 0, 0] == -INF
    ).all()  # the constant lower side holds where the class is there, which none knows


def test_unlabelled_images_of_one_slice_or_two_axes(tmp_path):
    options = untold(tmp_path, profile([80, 160, 40]), profile([40], sure=None, directed=False))
    for data in (unlabelled(1), {k: v[..., 0] if hasattr(v, "shape") else v for k, v in unlabelled(1).items()}):
        bounds = made(data, **options)["bounds_size"]
        assert bounds[0, 1:, 0].tolist() == [[-INF, 80.0], [-INF, 20.0]]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"unknown": "tags"}, "unknown must be 'none' or 'position', got 'tags'"),
        ({"unknown": "position", "term": "volume"}, "unknown='position' bounds the size of slices, not 'volume'"),
        ({"unknown": "position"}, r"does not say where \['A', 'B'\] are sure to be present.*Fit it again with"),
    ],
)
def test_unknown_classes_that_cannot_be_bounded(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        EstimatedBoundsd(file=bounds_file(tmp_path), class_names=NAMES, **options)


def test_densely_drawn_slices_need_no_interval(tmp_path):
    data = case()
    data["weak_label"][0, :, :, 1] = 0
    data["weak_label"][0, 2:5, 2:5, 1] = 1
    bounds = made(data, file=bounds_file(tmp_path))["bounds_size"]
    assert bounds[1, 1, 0].tolist() == [-INF, INF] and bounds[1, 2, 0].tolist() == [-INF, 0.0]
    assert bounds[0, 1, 0].isfinite().all()


@pytest.mark.parametrize("flip", [None, 0, 1])
def test_centroids_lie_around_what_is_drawn(tmp_path, flip):
    classes = {name: {"position": {"reach": 4.0}} for name in NAMES[1:]}
    oblique = torch.tensor([[0.0, -2, 0, 7], [2, 0, 0, -3], [0, 0, 5, 1], [0, 0, 0, 1]]).double()
    steps = [] if flip is None else [Flipd(["image", "weak_label"], spatial_axis=flip)]
    file = bounds_file(tmp_path, {"centroid": {"classes": classes}})
    bounds = made(case(oblique), *steps, file=file, term="centroid")["bounds_centroid"]
    place = torch.tensor([4.0, 4.0])
    if flip is not None:
        place[flip] = (12, 10)[flip] - 1 - place[flip]
    assert torch.allclose(bounds[0, 1], torch.stack((place - 2, place + 2), -1), atol=1e-4)
    assert bounds[0, 2].isinf().all() and bounds[2].isinf().all()


def test_volumes_in_ml(tmp_path):
    classes = {"A": {"position": model(2, features=2)}, "B": {"position": model(1, features=2), "constant": [0.6, 9]}}
    file = bounds_file(tmp_path, {"volume": {"classes": classes}})
    bounds = made(case(), file=file, term="volume")["bounds_volume"]
    assert bounds.shape == (3, 1, 2)
    assert torch.allclose(bounds[1:, 0], torch.tensor([[50.0, 200.0], [30.0, 100.0]]))  # 20 mm3 a voxel


def test_a_volume_without_the_class(tmp_path):
    classes = {name: {"position": model(2, features=2)} for name in NAMES[1:]}
    data = case() | {"tags": [1, 1, -1]}
    data["weak_label"][data["weak_label"] == 2] = 255
    bounds = made(data, file=bounds_file(tmp_path, {"volume": {"classes": classes}}), term="volume")["bounds_volume"]
    assert bounds[2, 0].tolist() == [-INF, 0.0]


def test_volume_centroid_is_around_the_drawn_slices(tmp_path):
    classes = {name: {"position": {"reach": 10.0}} for name in NAMES[1:]}
    file = bounds_file(tmp_path, {"volume_centroid": {"classes": classes}})
    bounds = made(case(), file=file, term="volume_centroid")["bounds_volume_centroid"]
    assert bounds.shape == (3, 3, 2)
    assert torch.allclose(bounds[2], torch.tensor([[-3.0, 7.0], [-3.0, 7.0], [-1.0, 3.0]]), atol=1e-4)


def test_two_dimensions(tmp_path):
    data = case()
    flat = {key: data[key] for key in ("case", "weak_kind", "undrawn_means_absent", "tags", "slice_axis")}
    flat |= {key: MetaTensor(data[key].as_tensor()[..., 0], affine=data[key].affine) for key in ("image", "weak_label")}
    bounds = made(flat, file=bounds_file(tmp_path))["bounds_size"]
    assert bounds.shape == (1, 3, 1, 2) and torch.allclose(bounds[0, 1, 0], torch.tensor([12.5, 50.0]))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "no file .*bounds --fit"),
        ("not json", "not a JSON file"),
        ('{"format": "x"}', "no file of estimated bounds"),
        ("[]", "no file of estimated bounds"),
    ],
)
def test_files_that_are_none(tmp_path, content, match):
    path = tmp_path / "b.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        EstimatedBoundsd(file=path, class_names=NAMES)


def test_patients_that_the_run_is_scored_on(tmp_path):
    with pytest.raises(ValueError, match=r"fitted on \['p2'\], whom this run is scored on"):
        EstimatedBoundsd(file=bounds_file(tmp_path), class_names=NAMES, unseen=["p0", "p2"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"term": "length"}, "measure must be one of"),
        ({"term": "volume"}, "not 'volume'; fit it with --terms volume"),
        ({"class_names": ["background", "A", "C"]}, r"says nothing of \['C'\]"),
    ],
)
def test_what_the_file_does_not_know(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        EstimatedBoundsd(**{"file": bounds_file(tmp_path), "class_names": NAMES, **options})


def test_forgotten_file_and_forgotten_cues(tmp_path):
    with pytest.raises(ValueError, match="case 'c': bounds_from estimated needs bounds_file"):
        made(case(), file=None)
    with pytest.raises(ValueError, match="case 'c': estimated bounds need WeakCuesd"):
        EstimatedBoundsd(file=bounds_file(tmp_path), class_names=NAMES)(WeakTagsd(3)(case()))


def test_slices_that_were_resampled_away(tmp_path):
    with pytest.raises(ValueError, match="case 'c': cues of 3 slices do not fit an image of 2"):
        made(case(), ResizeWithPadOrCropd(["image"], spatial_size=[-1, -1, 2]), file=bounds_file(tmp_path))


def test_origin_names_k(tmp_path):
    assert EstimatedBoundsd(file=bounds_file(tmp_path), class_names=NAMES).origin == "estimated (k=5)"


def places(content, at=()):
    """Every place in a file, as the keys that lead there."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield (*at, key)
        yield from places(value, (*at, key))


def test_whatever_stands_in_a_file_it_is_read_or_named(tmp_path):
    """Each entry becomes a value of another type, or no sense; what comes out is an interval, or a refusal."""
    profile = {"positions": [[0.2, 0.6]], "areas": [[90.0, 120.0]], "factor": 1.5, "reach": 0.1, "sure": [0.2, 0.5]}
    expected = {"expected": {"factor": 1.0, "log_sd": 0.1}}
    classes = {
        name: {"position": model(100) | expected, "constant": [1, 9e3], "unknown": {**profile, "directed": True}}
        for name in NAMES[1:]
    }
    path = bounds_file(tmp_path, {"size": {"classes": classes}})
    content, refused, kept = json.loads(path.read_text()), 0, []
    for place in places(content):
        for value in (None, "x", [], {}, -1e9, math.nan, math.inf, True, 5000 * "9"):
            changed = json.loads(path.read_text())
            holder = changed
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = value
            (tmp_path / "m.json").write_text(json.dumps(changed))
            try:
                bounds = made(case(), file=tmp_path / "m.json", unknown="position")["bounds_size"]
            except ValueError as error:
                assert "m.json" in str(error) and "\n" not in str(error), (place, value)
                refused += 1
            else:
                assert not bounds.isnan().any() and (bounds[..., 0] <= bounds[..., 1]).all(), (place, value)
                kept.append((place[-1], value))
    assert refused > 400
    harmless = {"constant", "expected", "log_sd", "unknown", "sure", "directed", "patients"}
    assert {place for place, _ in kept if not isinstance(place, int)} <= harmless, kept
