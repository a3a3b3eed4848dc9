"""What DICOM headers say of a patient reaches no log, record, report or message of ours."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from autoseg.cli import run
from autoseg.core.errors import EXIT_DONE, EXIT_FINDINGS, EXIT_PARTIAL, AutosegError
from autoseg.imaging.dicom_seg_write import write_segmentation
from autoseg.imaging.read import read_image
from planners.fingerprint import Label
from tests.imaging.test_dicom import save, series
from tests.steps.test_predict import make_model

CANARY = "Kanarienvogel"
LABELS = (Label(name="organ", values=(1,)),)


def patient(folder, number, **options):
    """A series whose headers have the canary wherever a clinic types text, and in a private element."""
    slices = series(size=(16, 16), **options)
    study = generate_uid(entropy_srcs=["study", str(number)])
    for index, dataset in enumerate(slices):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(
            entropy_srcs=[str(number), str(index)]
        )
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, generate_uid(entropy_srcs=["s", str(number)])
        dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", str(number)])
        dataset.PatientName, dataset.PatientID = f"{CANARY}^Person", f"{CANARY}-ID"
        for keyword in ("SeriesDescription", "StudyDescription", "InstitutionName", "ImageComments", "OperatorsName"):
            setattr(dataset, keyword, f"{CANARY} {keyword}")
        block = dataset.private_block(0x0009, "VENDOR", create=True)
        block.add_new(0x01, "LO", f"{CANARY}-private")
        rng = np.random.default_rng(100 * number + index)
        dataset.PixelData = rng.integers(0, 300, (16, 16)).astype(np.int16).tobytes()
    return save(folder, slices)


def dataset_folder(place, count=3):
    for number in range(count):
        folder = patient(place / f"case_{number}" / "image", number)
        label = np.zeros((8, 16, 16), np.uint8)
        label[2:6, 4:12, 4:12] = 1
        write_segmentation(place / f"case_{number}" / "seg.dcm", label, folder, LABELS)
    return place


def leaks(folder):
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes() and path.suffix != ".dcm"
    ]


def test_inspect_says_nothing_of_the_patient(tmp_path, capfd):
    folder = dataset_folder(tmp_path / "clinic")
    code = run(["inspect", str(folder), "--workspace", str(tmp_path / "w"), "--json"])
    said = capfd.readouterr()
    assert code in (EXIT_DONE, EXIT_FINDINGS)
    assert "case_0" in said.out
    assert CANARY not in said.out + said.err
    assert (tmp_path / "w" / "inspection.json").is_file()
    assert leaks(tmp_path / "w") == []


def test_predict_says_nothing_of_the_patient(tmp_path, capfd):
    patient(tmp_path / "new" / "a", 1)
    patient(tmp_path / "new" / "b", 2, count=3)
    cut = next((tmp_path / "new" / "b").iterdir())
    cut.write_bytes(cut.read_bytes()[:-300])
    make_model(tmp_path / "model")
    arguments = ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "out"), "--format", "sr", "-v"]
    assert run(["predict", str(tmp_path / "new"), *arguments]) == EXIT_PARTIAL
    said = capfd.readouterr()
    assert CANARY not in said.out + said.err
    assert leaks(tmp_path / "out") == []
    for path in (tmp_path / "out" / "a.dcm", tmp_path / "out" / "reports" / "a.dcm"):
        assert pydicom.dcmread(path).PatientID == f"{CANARY}-ID"  # an archive must know whose it is
        for text in (b"-private", b" ImageComments", b" SeriesDescription", b" InstitutionName"):
            assert CANARY.encode() + text not in path.read_bytes()


@pytest.mark.parametrize("element", ["DS", "IS", "several"])
def test_messages_do_not_quote_headers(tmp_path, element):
    folder = patient(tmp_path / "s", 1)
    path = next(folder.iterdir())
    if element == "several":
        patient(tmp_path / "other", 2, count=2)
        folder = tmp_path
    else:
        old = {"DS": b"0.8\\0.7 ", "IS": b"IS\x02\x00" + str(pydicom.dcmread(path).InstanceNumber).encode() + b" "}
        data = path.read_bytes()
        assert old[element] in data
        new = b"Kanarien" if element == "DS" else old["IS"][:4] + b"Ka"
        path.write_bytes(data.replace(old[element], new, 1))
    if element == "IS":  # not used: no reason to refuse
        assert read_image(folder).grid.shape == (8, 16, 16)
        return
    with pytest.raises(AutosegError) as caught:
        read_image(folder)
    assert "Kanarien" not in str(caught.value)


@pytest.mark.slow
def test_a_whole_run_says_nothing_of_the_patient(tmp_path, capfd):
    folder = dataset_folder(tmp_path / "clinic", 6)
    arguments = ["--workspace", str(tmp_path / "w"), "--steps", "2", "--device", "cpu"]
    assert run(["plan-and-train", str(folder), *arguments]) == EXIT_DONE
    said = capfd.readouterr()
    assert CANARY not in said.out + said.err
    assert (tmp_path / "w" / "report.html").is_file()
    assert leaks(tmp_path / "w") == []
