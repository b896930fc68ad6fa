# SPDX-License-Identifier: Apache-2.0
"""Label files: segmentations of 3D Slicer by name, label maps by value, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from wss_monai.io.labels import read_label
from wss_monai.io.volumes import UnreadableVolume, affine_of

SHAPE = (6, 5, 4)
CLASSES = {"background": 0, "LV": 1, "RV": 2, "unlabelled": 255}


def geometry(array: np.ndarray, start=(0, 0, 0)) -> sitk.Image:
    """An (x, y, z[, layer]) array as an oblique image; ``start`` is its first voxel on the grid of the others."""
    image = sitk.GetImageFromArray(array.swapaxes(0, 2), isVector=array.ndim == 4)
    image.SetSpacing((1.5, 1.0, 6.0))
    image.SetDirection(sitk.VersorTransform((0.3, -0.2, 0.5), 0.4).GetMatrix())
    image.SetOrigin((-20.0, 14.5, 3.0))
    image.SetOrigin(image.TransformContinuousIndexToPhysicalPoint([float(i) for i in start]))
    return image


@pytest.fixture
def image() -> MetaTensor:
    return MetaTensor(torch.zeros(1, *SHAPE), affine=torch.from_numpy(affine_of(geometry(np.zeros(SHAPE)))))


@pytest.fixture
def slicer(tmp_path):
    """Write a segmentation as 3D Slicer does."""

    def write(array, segments, start=(0, 0, 0), name="drawn.seg.nrrd", number=True) -> Path:
        picture = geometry(np.asarray(array, np.uint8), start)
        for n, (title, value, layer) in enumerate(segments):
            entries = {"ID": f"Segment_{n + 1}", "Name": title, "Color": "0.5 0.6 0.5"}
            entries |= {"LabelValue": str(value), "Layer": str(layer)} if number else {}
            for key, text in entries.items():
                picture.SetMetaData(f"Segment{n}_{key}", text)
        picture.SetMetaData("Segmentation_ReferenceImageExtentOffset", " ".join(map(str, start)))
        sitk.WriteImage(picture, str(tmp_path / name), useCompression=True)
        return tmp_path / name

    return write


def test_segments_by_name(slicer, image):
    array = np.zeros(SHAPE)
    array[1, 2, 3], array[0, 0], array[5, 4, 0] = 7, 2, 5
    path = slicer(array, [("background", 2, 0), ("LV", 7, 0), ("RV", 5, 0)])
    weak = read_label(path, image, segments=CLASSES, undrawn=255)
    assert weak.dtype == torch.uint8
    expected = np.full(SHAPE, 255)
    expected[1, 2, 3], expected[0, 0], expected[5, 4, 0] = 1, 0, 2
    np.testing.assert_array_equal(weak[0].numpy(), expected)
    assert torch.equal(weak.affine, image.affine)
    dense = read_label(path, image, segments=CLASSES)
    np.testing.assert_array_equal(dense[0].numpy(), np.where(expected == 255, 0, expected))


def test_layers_and_names_through_a_map(slicer, image):
    array = np.zeros((*SHAPE, 2))
    array[1:4, 2, 1, 0] = 1
    array[2:5, 2, 1, 1] = 1  # overlaps, the same class
    array[0, 0, 0, 1] = 2
    path = slicer(array, [("endo", 1, 0), ("papillary", 1, 1), ("note", 2, 1), ("empty", 9, 0)])
    segments = CLASSES | {"endo": 1, "papillary": 1, "note": 255}
    weak = read_label(path, image, segments=segments, undrawn=255)[0].numpy()
    assert (weak[1:5, 2, 1] == 1).all()
    assert (weak != 255).sum() == 4


def test_files_without_values_have_a_layer_a_segment(slicer, image):
    array = np.zeros((*SHAPE, 2))
    array[1, 2, 1, 0], array[3, 2, 1, 1] = 1, 1
    path = slicer(array, [("LV", 0, 0), ("RV", 0, 0)], number=False)
    index = read_label(path, image, segments=CLASSES)[0]
    assert (int(index[1, 2, 1]), int(index[3, 2, 1]), int(index.sum())) == (1, 2, 3)


@pytest.mark.parametrize("start", [(1, 2, 1), (-1, 0, 0), (0, -1, 2)])
def test_a_part_of_the_grid_is_pasted(slicer, image, start):
    part = np.zeros((3, 3, 2))
    part[1, 1, 1] = 1
    index = read_label(slicer(part, [("LV", 1, 0)], start), image, segments=CLASSES, undrawn=255)[0].numpy()
    place = tuple(np.add(start, 1))
    assert index[place] == 1
    assert (index == 255).sum() == index.size - 1


def test_a_plane_of_an_image(slicer):
    flat = MetaTensor(torch.zeros(1, 3, 2))
    picture = sitk.GetImageFromArray(np.array([[[0, 1, 0], [0, 0, 0]]], np.uint8))
    picture.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    picture.SetMetaData("Segment0_Name", "LV")
    path = slicer(np.zeros(SHAPE), [("LV", 1, 0)])
    sitk.WriteImage(picture, str(path))
    assert read_label(path, flat, segments=CLASSES).tolist() == [[[0, 0], [1, 0], [0, 0]]]


class TestRefusals:
    def test_unknown_names(self, slicer, image):
        array = np.zeros(SHAPE)
        array[0, 0, 0], array[1, 0, 0], array[2, 0, 0] = 1, 2, 3
        path = slicer(array, [("lv ", 1, 0), ("RV", 2, 0), ("tumour", 3, 0), ("never drawn", 4, 0)])
        match = (
            r"(?s)drawn.seg.nrrd: has the segments \['lv', 'RV', 'tumour'\], of which \['lv', 'tumour'\] are no class; "
            r'.*\["?\'?background.*unlabelled in place of .*"segments": \{"lv": "LV", "tumour": "\?"\}'
        )
        with pytest.raises(ValueError, match=match):
            read_label(path, image, segments=CLASSES)

    def test_overlap(self, slicer, image):
        array = np.zeros((*SHAPE, 2))
        array[1:4, 2, 1, 0] = array[2:5, 2, 1, 1] = 1
        path = slicer(array, [("LV", 1, 0), ("RV", 1, 1)])
        with pytest.raises(ValueError, match="segments 'LV' and 'RV' overlap in 2 voxels and are different classes"):
            read_label(path, image, segments=CLASSES)

    @pytest.mark.parametrize("start", [(0.5, 0, 0), (0, 0, 0.2)])
    def test_another_lattice(self, slicer, image, start):
        path = slicer(np.ones((3, 3, 2)), [("LV", 1, 0)], start)
        with pytest.raises(ValueError, match=r"drawn.seg.nrrd: its voxels are not those of the image: index .*source"):
            read_label(path, image, segments=CLASSES)

    def test_another_spacing(self, slicer, image):
        image.affine = image.affine @ torch.diag(torch.tensor([2.0, 1, 1, 1]).double())
        path = slicer(np.ones((3, 3, 2)), [("LV", 1, 0)])
        with pytest.raises(ValueError, match="its voxels are not those of the image"):
            read_label(path, image, segments=CLASSES)

    def test_drawn_outside_of_the_image(self, slicer, image):
        path = slicer(np.ones((3, 3, 2)), [("LV", 1, 0)], (4, 0, 0))
        with pytest.raises(ValueError, match="segment 'LV' reaches out of the image"):
            read_label(path, image, segments=CLASSES)

    def test_a_layer_that_is_not_there_and_a_cut_file(self, slicer, image):
        path = slicer(np.ones(SHAPE), [("LV", 1, 3)])
        with pytest.raises(UnreadableVolume, match="segment 'LV' lies in layer 3 of 1"):
            read_label(path, image, segments=CLASSES)
        with pytest.raises(UnreadableVolume, match=r"drawn.seg.nrrd: its header says Segment0_Layer 'top', which is"):
            read_label(slicer(np.ones(SHAPE), [("LV", 1, "top")]), image, segments=CLASSES)
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(UnreadableVolume, match=r"drawn.seg.nrrd: \S"):
            read_label(path, image, segments=CLASSES)


def test_a_plain_label_map_goes_by_values(tmp_path, image):
    array = np.random.RandomState(0).choice([0, 3, 9], SHAPE).astype(np.int16)
    sitk.WriteImage(geometry(array), str(tmp_path / "plain.nrrd"))
    index = read_label(tmp_path / "plain.nrrd", image, {0: 255, 3: 0, 9: 2}, CLASSES)[0].numpy()
    np.testing.assert_array_equal(index, np.select([array == 0, array == 3], [255, 0], 2))
    with pytest.raises(ValueError) as caught:
        read_label(tmp_path / "plain.nrrd", image, {0: 255, 1: 2}, CLASSES)
    text = str(caught.value)
    assert "holds the values [3, 9], which dataset.json does not name; it names [0, 1]" in text
    assert "All values of the file: [0, 3, 9]" in text
    assert text.endswith('{"0": "unlabelled", "1": "RV", "3": "?", "9": "?"}')


def test_an_intensity_image_as_label_shows_few_of_its_values(tmp_path, image):
    sitk.WriteImage(geometry(np.arange(120).reshape(SHAPE).astype(np.int16)), str(tmp_path / "wrong.nrrd"))
    with pytest.raises(ValueError, match=r"\(118 in all\)") as caught:
        read_label(tmp_path / "wrong.nrrd", image, {0: 0, 1: 1}, CLASSES)
    assert len(str(caught.value)) < 1200
