"""Links in a dataset: data are linked on purpose, so links are followed; nothing is ever written through one."""

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_bytes
from autoseg.datasets.options import Options
from autoseg.datasets.understand import understand
from autoseg.imaging.read import read_image
from autoseg.imaging.write import write_label


@pytest.fixture
def linked(tmp_path):
    """Two cases whose images and labels are links to files elsewhere."""
    for index in range(2):
        for kind, array in (
            ("images", np.random.default_rng(index).normal(size=(6, 5, 4))),
            ("labels", np.ones((6, 5, 4))),
        ):
            real = tmp_path / "archive" / kind / f"scan{index}.nii.gz"
            real.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array.astype(np.float32 if kind == "images" else np.uint8), np.eye(4)), real)
            link = tmp_path / "data" / kind / f"c{index}.nii.gz"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(real)
    return tmp_path / "data"


def test_images_and_labels_that_are_links_to_elsewhere_are_cases(linked):
    found = understand(linked, Options())
    assert [case.name for case in found.cases] == ["c0", "c1"]
    assert read_image(linked / found.cases[0].images[0]).array.shape == (1, 4, 5, 6)


def test_a_link_to_what_is_no_image_is_refused_without_telling_what_it_holds(tmp_path):
    (tmp_path / "secret").write_text("root:x:0:0")
    for ending in (".nii.gz", ".nii", ".png", ".tif", ".nrrd", ".mha", ".dcm"):
        link = tmp_path / f"a{ending}"
        link.symlink_to(tmp_path / "secret")
        with pytest.raises(AutosegError, match=rf"a{ending}") as caught:
            read_image(link)
        assert "root:x" not in str(caught.value)


def test_a_link_that_leads_nowhere_is_one_line(linked):
    (linked / "images" / "c1.nii.gz").resolve().unlink()
    with pytest.raises(AutosegError) as caught:
        read_image(linked / "images" / "c1.nii.gz")
    assert "\n" not in str(caught.value)


def test_a_file_is_written_in_the_place_of_a_link_and_not_through_it(linked, tmp_path):
    image, label = linked / "images" / "c0.nii.gz", linked / "labels" / "c0.nii.gz"
    before = label.resolve().read_bytes()
    original = label.resolve()
    write_label(label, np.zeros((4, 5, 6), np.uint8), image)
    assert not label.is_symlink()
    assert original.read_bytes() == before
    (tmp_path / "elsewhere").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("elsewhere")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"kept"
