from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import understand
from planners.fingerprint import Label


@pytest.fixture
def dataset(scans):
    return understand(scans(2), Options())


def test_image_and_label_values_of_a_case(dataset):
    arrays = read_case(dataset, dataset.cases[0])
    assert arrays.image.array.shape == (1, 6, 10, 12)
    assert arrays.label.shape == (6, 10, 12)
    assert np.unique(arrays.label).tolist() == [0, 1, 2]


def test_an_unlabelled_case_has_no_label(dataset):
    assert read_case(dataset, replace(dataset.cases[0], references=())).label is None


def test_large_label_values_are_kept(dataset, nifti):
    path = f"{dataset.folder}/labels/case_00.nii.gz"
    label = np.zeros((6, 10, 12), np.uint16)
    label[0] = 60000
    nifti(Path(path), label)
    large = replace(dataset, labels=(Label(name="a", values=(60000,)),))
    assert np.unique(read_case(large, large.cases[0]).label).tolist() == [0, 60000]


def test_a_value_that_came_after_the_inspection_is_refused(dataset, nifti):
    label = np.zeros((6, 10, 12), np.uint8)
    label[2, 3, 4] = 77
    nifti(Path(f"{dataset.folder}/labels/case_00.nii.gz"), label)
    with pytest.raises(AutosegError, match=r"case_00.nii.gz: label values that are not declared: 77; declare them"):
        read_case(dataset, dataset.cases[0])


def test_a_negative_value_is_refused(dataset, nifti):
    nifti(Path(f"{dataset.folder}/labels/case_00.nii.gz"), np.full((6, 10, 12), -3, np.int16))
    with pytest.raises(AutosegError, match="label values from -3 to -3; use values from 0 to 65535"):
        read_case(dataset, dataset.cases[0])


def test_another_number_of_channels_is_refused(dataset):
    with pytest.raises(AutosegError, match="1 channels where 2 are expected; give the channels CT, PET"):
        read_case(replace(dataset, channels=("CT", "PET")), dataset.cases[0])
