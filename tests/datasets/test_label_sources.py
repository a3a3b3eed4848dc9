"""Labels without their images: DICOM SEG, folders of structures and label maps give the same voxels on one grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.datasets.label_sources import find_sources, grid_of, names_in, read_source, values_of
from autoseg.datasets.load import same_place
from autoseg.imaging.dicom_seg_write import write_segmentation
from autoseg.imaging.read import read_header
from autoseg.imaging.write import write_label
from planners.fingerprint import Label
from tests.imaging.test_dicom_seg_write import scan

LABELS = (Label(name="Liver", values=(1,)), Label(name="portal vein", values=(7,)))
SHAPE = (8, 6, 7)


def label_map(start: int = 1) -> np.ndarray:
    array = np.zeros(SHAPE, dtype=np.uint8)
    array[start : start + 4, 1:4, 2:5] = 1
    array[start + 1, 2, 3:6] = 7
    return array


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), np.diag([2.0, 2.0, 5.0, 1.0])), path)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return scan(tmp_path / "clinic" / "T1")


def segmented(folder: Path, series: Path, array: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    write_segmentation(folder / "case.dcm", array, series, LABELS)
    return folder


def test_segments_alone_have_the_grid_of_their_image(tmp_path: Path, series: Path) -> None:
    (source,) = find_sources(segmented(tmp_path / "seg", series, label_map()), folders=False)
    assert (source.name, source.kind, names_in([source])) == ("case", "SEG", ("Liver", "portal vein"))
    grid = grid_of([source])
    assert same_place(read_header(series).grid, grid)
    found = read_source(source, read_header(series).grid, LABELS)
    np.testing.assert_array_equal(found, label_map())
    assert sorted(np.unique(read_source(source, grid, LABELS))) == [0, 1, 7]


def test_segments_lie_on_the_voxels_of_a_label_map_of_the_same_image(tmp_path: Path, series: Path) -> None:
    write_label(tmp_path / "maps" / "case.nii.gz", label_map(), series)
    (drawn,) = find_sources(tmp_path / "maps", folders=False)
    (source,) = find_sources(segmented(tmp_path / "seg", series, label_map()), folders=False)
    grid = grid_of([drawn, source])
    np.testing.assert_array_equal(read_source(source, grid, LABELS), read_source(drawn, grid, LABELS))


def test_segments_whose_names_are_no_labels_go_by_their_numbers(tmp_path: Path, series: Path) -> None:
    (source,) = find_sources(segmented(tmp_path / "seg", series, label_map()), folders=False)
    unnamed = (Label(name="label_1", values=(1,)), Label(name="label_2", values=(2,)))
    found = read_source(source, read_header(series).grid, unnamed)
    np.testing.assert_array_equal(found, np.array([0, 1, 0, 0, 0, 0, 0, 2])[label_map()])
    assert values_of(source) == (1, 2)


def test_a_folder_with_images_beside_the_labels_holds_no_label_files(series: Path) -> None:
    assert find_sources(series, folders=False) == ()


def test_structures_that_do_not_overlap_are_one_map_and_others_are_masks(tmp_path: Path) -> None:
    array = label_map().T
    for name, mask in (("liver", array == 1), ("Portal_Vein", array == 7)):
        save(tmp_path / "apart" / "a" / f"{name}.nii.gz", mask)
        save(tmp_path / "over" / "a" / f"{name}.nii.gz", mask | (array == 7))
    apart, over = (find_sources(tmp_path / name, folders=True)[0] for name in ("apart", "over"))
    assert find_sources(tmp_path / "apart", folders=False) == ()
    np.testing.assert_array_equal(read_source(apart, grid_of([apart]), LABELS), label_map())
    masks = read_source(over, grid_of([over]), LABELS)
    np.testing.assert_array_equal(masks, np.stack([label_map() > 0, label_map() == 7]))


def test_a_structure_that_is_no_label_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a" / "spleen.nii.gz", label_map().T)
    (source,) = find_sources(tmp_path, folders=True)
    message = r"spleen\.nii\.gz: no label is called spleen; name files after the labels \(Liver, portal vein\)"
    with pytest.raises(AutosegError, match=message):
        read_source(source, grid_of([source]), LABELS)


def test_segments_that_overlap_and_have_no_names_are_refused(tmp_path: Path, series: Path) -> None:
    for name in ("one", "two"):
        write_label(tmp_path / "case" / f"{name}.nii.gz", label_map(), series)
    (source,) = find_sources(tmp_path / "case" / "..", folders=True)[:1]
    assert [structure.name for structure in source.structures] == ["one", "two"]
    labels = tuple(Label(name=name, values=(n,)) for n, name in enumerate(("one", "two"), start=1))
    assert read_source(source, grid_of([source]), labels).shape == (2, *SHAPE)
