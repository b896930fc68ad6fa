# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.data.phantoms.toy import Circles, Discs, add_noise, ellipse


@pytest.mark.parametrize(
    ("radius", "edge", "pixels"),
    [
        (50, 0.45, 8005),
        (25, 0.45, 2025),
        (5, 0.45, 97),
        (2, 0.45, 21),
        (0, 0.45, 1),
        (50, 0.0, 7845),
        (10, 0.0, 317),
        (0, 0.0, 1),
    ],
)
def test_discs_have_the_published_numbers_of_pixels(radius, edge, pixels):
    mask = ellipse((130, 121), (60, 60), (radius, radius), edge)
    assert mask.shape == (130, 121) and mask.sum() == pixels
    x, y = np.nonzero(mask)
    assert (x.min(), x.max(), y.min(), y.max()) == (60 - radius, 60 + radius, 60 - radius, 60 + radius)


def test_an_ellipse_by_hand():
    # |x| / 2.45 and |y| / 1.45: (2, 0), (1, 1) lie inside, (2, 1) does not.
    mask = ellipse((7, 5), (3, 2), (2, 1))
    rows = ["".join(str(int(v)) for v in row) for row in mask]
    assert rows == ["00000", "00100", "01110", "01110", "01110", "00100", "00000"]


def test_what_reaches_beyond_the_picture_is_cut():
    assert ellipse((3, 3), (0, 0), (5, 5)).all()
    assert ellipse((4, 4), (0, 0), (2, 2)).sum() == 8


def clean_values(picture, mask) -> float:
    return float(np.median(picture.image[mask].astype(float)))


def quiet(toy, part: str = "train") -> int:
    """The first picture with little noise."""
    return next(i for i in range(200) if 0 < toy.picture(0, part, i).sigma < 12)


@pytest.mark.parametrize(
    ("edition", "greys", "disc", "weak"),
    [("2022", (0, 68, 200), 8005, 97), ("2019", (42, 169, 247), 7845, 317)],
)
def test_toy_1(edition, greys, disc, weak):
    toy = Discs(edition=edition)
    picture = toy.picture(0, "train", quiet(toy))
    assert picture.image.shape == picture.label.shape == picture.weak_label.shape == (256, 256)
    assert picture.image.dtype == picture.label.dtype == picture.weak_label.dtype == np.uint8
    assert set(np.unique(picture.label)) == {0, 1} and set(np.unique(picture.weak_label)) == {1, 255}
    assert picture.label.sum() == disc and (picture.weak_label == 1).sum() == weak
    assert (picture.label[picture.weak_label == 1] == 1).all()
    assert np.argwhere(picture.label == 1).mean(0).tolist() == [128, 128]
    radius = np.hypot(*(np.indices((256, 256)) - 128))
    where = (radius > 101, (radius > 51) & (radius < 100), radius < 50)
    assert [clean_values(picture, mask) for mask in where] == pytest.approx(greys, abs=1)


def test_pictures_of_toy_1_differ_in_noise_alone():
    one, two = Discs().picture(0, "train", 0), Discs().picture(0, "train", 1)
    assert np.array_equal(one.label, two.label) and np.array_equal(one.weak_label, two.weak_label)
    assert not np.array_equal(one.image, two.image)


def test_greys_of_the_2019_edition_after_noise():
    """The means over noise of all levels, clipped: 49, 167 and 231."""
    toy = Discs((64, 64), 10, "2019")
    radius = np.hypot(*(np.indices((64, 64)) - 32))
    images = np.stack([toy.picture(3, "train", i).image for i in range(300)])
    means = [images[:, mask].mean() for mask in (radius > 21, (radius > 11) & (radius < 20), radius < 10)]
    assert means == pytest.approx([49, 167, 231], abs=3)


@pytest.mark.parametrize("toy", [Discs((120, 70), 20), Circles((120, 70), 20), Circles((120, 70), 20, ellipses=True)])
def test_height_is_honoured(toy):
    pictures = [toy.picture(0, "val", i) for i in range(40)]
    assert all(p.image.shape == p.label.shape == p.weak_label.shape == (120, 70) for p in pictures)
    if isinstance(toy, Discs):
        assert np.argwhere(pictures[0].label).mean(0).tolist() == [60, 35]
    else:
        centres = np.array([np.argwhere(p.label).mean(0) for p in pictures])
        assert centres.min(0).min() >= 20 and centres[:, 0].max() > 60 and centres[:, 1].max() < 50


def test_toy_2_has_the_grey_circle_on_top_of_the_white_one():
    toy = Circles((60, 60), 20)
    overlaps = 0
    for index in range(60):
        picture = toy.picture(0, "train", index)
        assert picture.label.sum() == ellipse((41, 41), (20, 20), (20, 20)).sum(), "wholly inside, never covered"
        assert (picture.weak_label == 1).sum() == 21
        x, y = np.argwhere(picture.label).mean(0).astype(int)
        assert picture.weak_label[x, y] == 1, "in the middle of the target"
        if picture.sigma <= 15:
            assert clean_values(picture, picture.label == 1) == pytest.approx(125, abs=2)
            white = (picture.image > 190) & (picture.label == 0)
            overlaps += white.sum() < picture.label.sum() - 10
    assert overlaps >= 5


def test_toy_2_at_the_published_size():
    toy = Circles()
    pictures = [toy.picture(0, "train", i) for i in range(30)]
    assert all(p.label.sum() == 2025 and (p.weak_label == 1).sum() == 21 for p in pictures)
    centres = np.array([np.argwhere(p.label).mean(0) for p in pictures])
    assert centres.min() >= 25 and centres.max() <= 230 and (np.ptp(centres, axis=0) > 120).all()


def test_ellipses_have_all_half_axes_and_a_clipped_weak_disc():
    toy = Circles((100, 100), 25, ellipses=True)
    halves, clipped = [], 0
    for index in range(200):
        picture = toy.picture(0, "train", index)
        assert (picture.label[picture.weak_label == 1] == 1).all() and (picture.weak_label == 1).any()
        clipped += (picture.weak_label == 1).sum() < 21
        places = np.argwhere(picture.label)
        size = np.ptp(places, axis=0)
        assert (size % 2 == 0).all()
        halves.append(size // 2)
        if picture.sigma == 0:
            white = (picture.image == 255).sum()
            assert 0 < white <= picture.label.sum(), "both of one shape"
    assert np.min(halves) == 1 and np.max(halves) == 24 and clipped > 0
    assert any(a != b for a, b in halves)


@pytest.mark.parametrize("toy", [Discs((40, 30), 6), Circles((40, 30), 6), Circles((40, 30), 6, True)])
def test_a_picture_is_a_function_of_seed_part_and_index(toy):
    first = toy.picture(7, "train", 3)
    np.random.seed(1)
    again = toy.picture(7, "train", 3)
    for field in ("image", "label", "weak_label"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert first.sigma == again.sigma
    others = [toy.picture(8, "train", 3), toy.picture(7, "val", 3), toy.picture(7, "train", 4)]
    assert all(not np.array_equal(first.image, other.image) for other in others)


def test_noise_has_the_drawn_strength_whole_numbers_and_limits():
    clean = np.full((200, 200), 127, np.uint8)
    for seed in range(6):
        noisy, sigma = add_noise(clean, np.random.RandomState(seed))
        assert noisy.dtype == np.uint8
        if 5 < sigma < 40:
            assert (noisy.astype(float) - 127).std() == pytest.approx(sigma, rel=0.05)
            assert noisy.astype(float).mean() == pytest.approx(127, abs=0.6)
    # Cutting towards 0 leaves |noise| < 1 unchanged: 68 % at strength 1 where rounding would leave 38 %.
    weakest = next(seed for seed in range(1000) if np.random.RandomState(seed).randint(100) == 1)
    assert (add_noise(clean, np.random.RandomState(weakest))[0] == 127).mean() == pytest.approx(0.683, abs=0.01)
    for value, half in ((0, "lower"), (255, "upper")):
        noisy, sigma = add_noise(np.full((50, 50), value, np.uint8), np.random.RandomState(2))
        assert sigma > 0 and 0.45 < (noisy == value).mean() < 0.65, f"the {half} half is clipped"


def test_noise_levels_are_0_to_99_evenly():
    toy = Discs((9, 9), 2)
    levels = np.array([toy.picture(0, "train", i).sigma for i in range(3000)])
    assert levels.min() == 0 and levels.max() == 99
    assert levels.mean() == pytest.approx(49.5, abs=2) and levels.std() == pytest.approx(28.9, abs=1)


def test_a_given_noise_level_changes_the_noise_alone():
    drawn, given = (Circles((60, 60), 5).picture(3, "train", 1, sigma) for sigma in (None, 7))
    assert given.sigma == 7 != drawn.sigma
    np.testing.assert_array_equal(given.label, drawn.label)
    corner = given.label[:5] == 0
    assert (given.image[:5][corner] > 0).mean() == pytest.approx(0.44, abs=0.15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Discs((256, 256), 0), "radius must be 1 pixel or more, got 0"),
        (lambda: Discs((256, 100), 50), "size 256 x 100 is too small for discs of radius 50"),
        (lambda: Discs(edition="2020"), "edition must be one of 2019, 2022, got '2020'"),
        (lambda: Circles((50, 256), 25), "size 50 x 256 is too small"),
        (lambda: Circles((50, 50), 1, ellipses=True), "radius must be 2 or more for ellipses, got 1"),
        (lambda: Discs().picture(0, "test", 0), "part must be one of train, val, got 'test'"),
        (lambda: Discs().picture(-1, "val", 0), "seed and index must be 0 or more, got -1 and 0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
