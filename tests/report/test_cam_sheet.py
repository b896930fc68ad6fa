# SPDX-License-Identifier: Apache-2.0
"""The sheet of activation maps."""

from __future__ import annotations

import numpy as np
import pytest

from wss_monai.report import cam_sheet
from wss_monai.report.cam_sheets import OUTLINE

SHAPE = (20, 30, 6)
RAS = np.diag([1.0, 1.0, 3.0, 1.0])


def volumes(modalities: int):
    """Images of noise; a box of foreground in slices 1 to 4, where every map is 1; the prediction one voxel smaller."""
    image = np.random.RandomState(0).rand(modalities, *SHAPE).astype(np.float32)
    reference = np.zeros(SHAPE, np.uint8)
    reference[4:10, 6:16, 1:5] = 1
    prediction = np.zeros(SHAPE, np.uint8)
    prediction[5:10, 6:16, 1:5] = 1
    maps = np.stack([reference.astype(np.float32)] * (modalities + 1))
    return image, maps, prediction, reference


def tiles(sheet, title):
    return [np.asarray(sheet.crop(box)).astype(int) for box in sheet.info["boxes"][title]]


def coloured(tile) -> np.ndarray:
    return (tile.max(-1) - tile.min(-1)) > 12


@pytest.mark.parametrize("modalities", [1, 2, 4])
def test_columns_rows_and_proportions(modalities):
    image, maps, prediction, reference = volumes(modalities)
    names = ["T2", "ADC", "T1", "FLAIR"][:modalities]
    sheet = cam_sheet(image, maps, prediction, (1, 2, 3), names, reference=reference, affine=RAS, tile=120)
    fused = ["fused map"] if modalities > 1 else []
    assert list(sheet.info["boxes"]) == [*names, *(f"map of {n}" for n in names), *fused, "prediction", "reference"]
    for boxes in sheet.info["boxes"].values():
        assert [(right - left, low - top) for left, top, right, low in boxes] == [(40, 120)] * 3  # 20 x 60 mm
    assert "reference" not in cam_sheet(image, maps, prediction, (1, 1, 3), names).info["boxes"]
    nothing = np.full(SHAPE, 255, np.uint8)
    assert "reference" not in cam_sheet(image, maps, prediction, (1, 1, 3), names, reference=nothing).info["boxes"]


def test_colour_is_where_the_map_is(tmp_path):
    image, maps, prediction, reference = volumes(2)
    maps[1] = 0
    arguments = {"reference": reference, "affine": RAS, "slices": [0, 2], "tile": 120}
    sheet = cam_sheet(image, maps, prediction, (1, 1, 3), ["T2", "ADC"], **arguments)
    outside, inside = tiles(sheet, "map of T2")
    assert not coloured(outside).any()
    # x runs to the left of the screen (R at the left edge), y from the foot to the top, four pixels a voxel
    rows, columns = np.nonzero(coloured(inside))
    height, width = inside.shape[:2]
    assert (width, height) == (80, 120)
    assert (columns.min(), columns.max()) == pytest.approx((width - 40, width - 16), abs=3)
    assert (rows.min(), rows.max()) == pytest.approx((height - 64, height - 24), abs=3)
    assert not any(coloured(tile).any() for tile in tiles(sheet, "map of ADC"))
    for title, mask in (("prediction", prediction), ("reference", reference)):
        line = (tiles(sheet, title)[1] == OUTLINE).all(-1)
        where = np.nonzero(line)
        assert where[1].max() - where[1].min() == pytest.approx(4 * mask.any((1, 2)).sum(), abs=2)
        assert not (tiles(sheet, title)[0] == OUTLINE).all(-1).any()


def test_slices_are_spread_over_those_of_the_reference_then_of_the_prediction():
    image, maps, prediction, reference = volumes(1)
    prediction[..., 3:] = 0

    def shown(**more):
        sheet = cam_sheet(image, maps, prediction, (1, 1, 1), ["T2"], **more)
        return [tile.sum() for tile in tiles(sheet, "map of T2")]

    def of(*slices, **more):
        return shown(slices=slices, **more)

    assert shown(reference=reference) == of(1, 3, 4, reference=reference)
    assert shown() == of(1, 2)
    prediction[:] = 0
    assert len(shown()) == 3


def test_a_blank_margin_is_left_out_and_what_is_marked_in_it_is_not():
    image, maps, prediction, _ = volumes(1)
    image[:, :, :4], image[:, :, 20:] = 0, 0
    sheet = cam_sheet(image, maps, prediction, (1, 1, 1), ["T2"], tile=160)
    ((left, top, right, low), *_) = sheet.info["boxes"]["T2"]
    assert (right - left, low - top) == (160, 128)  # 20 x 16 voxels
    sheet = cam_sheet(image, maps, prediction, (1, 1, 1), ["T2"], tile=150, whole=True)
    ((left, top, right, low), *_) = sheet.info["boxes"]["T2"]
    assert (right - left, low - top) == (100, 150)  # 20 x 30
    maps[:, :, 28] = 1
    sheet = cam_sheet(image, maps, prediction, (1, 1, 1), ["T2"], tile=160)
    ((left, top, right, low), *_) = sheet.info["boxes"]["T2"]
    assert (right - left, low - top) == (128, 160)  # 20 x 25


def test_images_of_two_axes_empty_maps_and_nothing_finite():
    image, maps, prediction, reference = (a[..., 2] for a in volumes(2))
    sheet = cam_sheet(image, maps, prediction, (1, 1), ["T2", "ADC"], reference=reference)
    assert [len(boxes) for boxes in sheet.info["boxes"].values()] == [1] * 7
    blank = cam_sheet(image * np.nan, maps * 0, prediction * 0, (1, 1), ["T2", "ADC"])
    assert not coloured(tiles(blank, "fused map")[0]).any()


def test_messages():
    image, maps, prediction, _ = volumes(2)
    with pytest.raises(ValueError, match="3 modalities need an image of as many channels"):
        cam_sheet(image, maps, prediction, (1, 1, 1), ["a", "b", "c"])
    with pytest.raises(ValueError, match="not on one grid"):
        cam_sheet(image, maps[..., :3], prediction, (1, 1, 1), ["a", "b"])
    with pytest.raises(ValueError, match="the map 'prediction' has shape"):
        cam_sheet(image, maps, prediction[..., :3], (1, 1, 1), ["a", "b"])
