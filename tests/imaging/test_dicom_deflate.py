"""Deflated DICOM: sound files of any size are read, bombs are refused before they are in memory."""

import io
import time
import tracemalloc
import zlib
from contextlib import contextmanager

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from autoseg.core.errors import AutosegError
from autoseg.imaging.dicom_scan import load, scan
from autoseg.imaging.read import read_header, read_image

ALLOWED_BYTES = 200 << 20
ALLOWED_S = 2.0


def image(size=(6, 7), pixels=None):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"
    dataset.SeriesInstanceUID, dataset.Modality, dataset.InstanceNumber = "1.2.3", "MR", 1
    dataset.Rows, dataset.Columns = size
    dataset.PixelSpacing = [0.8, 0.7]
    dataset.SliceThickness = "1"
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    values = np.arange(size[0] * size[1], dtype=np.uint16) if pixels is None else pixels
    dataset.PixelData = values.astype(np.uint16).tobytes()
    return dataset


def plain_bytes(dataset, meta_padding=0):
    """Return (preamble and file meta, data set) of a deflated file, before it is deflated."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    whole = io.BytesIO()
    dataset.save_as(whole, enforce_file_format=True)
    head = Dataset()
    head.file_meta = FileMetaDataset()
    if meta_padding:  # sorts before the transfer syntax: (0002,0001) may be as long as it likes
        head.file_meta.FileMetaInformationVersion = bytes(meta_padding)
    head.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    head.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta = io.BytesIO()
    pydicom.dcmwrite(meta, head, enforce_file_format=True)
    data = whole.getvalue()
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    empty = zlib.compress(b"", wbits=-15)
    return meta.getvalue().removesuffix(empty), data[start:]


def deflated(path, dataset, *, meta_padding=0, behind=b"", cut=None):
    head, data = plain_bytes(dataset, meta_padding)
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(head + (stream.compress(data + behind) + stream.flush())[:cut])
    return path


def zeros(count, before=b""):
    """Return a raw deflate stream of many zeros behind some bytes, made without holding them."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = stream.compress(before) + stream.flush(zlib.Z_FULL_FLUSH)
    block = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
    return first + block * (count >> 20) + stream.flush()


@contextmanager
def bounded():
    tracemalloc.start()
    started = time.process_time()
    try:
        yield
        assert time.process_time() - started < ALLOWED_S
        assert tracemalloc.get_traced_memory()[1] < ALLOWED_BYTES
    finally:
        tracemalloc.stop()


def refused(path, match):
    for pixels in (False, True):
        with bounded(), pytest.raises(AutosegError, match=match) as caught:
            load(path, pixels=pixels)
        assert "\n" not in str(caught.value)
    with pytest.raises(AutosegError, match=match):
        scan(path)


@pytest.mark.parametrize("meta_padding", [0, 1024, 70000])
def test_a_bomb_behind_the_pixels_is_refused_however_long_the_file_meta_is(tmp_path, meta_padding):
    head, data = plain_bytes(image(), meta_padding)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(head + zeros(400 << 20, before=data))
    assert path.stat().st_size < 500_000
    refused(path, r"bomb\.dcm: inflates to more than the \d+ bytes that its header and size allow; copy it again")


def test_a_bomb_of_pixels_that_the_header_does_not_promise_is_refused(tmp_path):
    head, data = plain_bytes(image())
    element = data.rindex(b"\xe0\x7f\x10\x00OW")
    path = tmp_path / "bomb"
    path.write_bytes(head + zeros(400 << 20, before=data[: element + 8] + (400 << 20).to_bytes(4, "little")))
    refused(path, "inflates to more than")


def test_a_bomb_in_the_header_is_refused(tmp_path):
    head, data = plain_bytes(image())
    private = b"\x09\x00\x10\x10OB\x00\x00" + (400 << 20).to_bytes(4, "little")
    path = tmp_path / "bomb.dcm"
    path.write_bytes(head + zeros(400 << 20, before=data[: data.index(b"\x18\x00\x50\x00")] + private))
    refused(path, "inflates to more than")


def test_a_header_of_too_many_elements_is_refused(tmp_path):
    head, _ = plain_bytes(image())
    path = tmp_path / "bomb.dcm"
    path.write_bytes(head + zeros(0, before=b"\x09\x00\x10\x10CS\x00\x00" * 200_000))
    refused(path, "has more than 5000 elements before its pixels")


def test_a_header_that_promises_more_than_the_file_can_hold_is_refused(tmp_path):
    dataset = image()
    dataset.Rows = dataset.Columns = 65535
    refused(deflated(tmp_path / "a.dcm", dataset), "truncated file: fewer bytes where its pixels take 8589672450")
    dataset.Rows, dataset.Columns = 60, 70
    refused(deflated(tmp_path / "b.dcm", dataset), r"truncated file: \d+ bytes where its pixels take 8400")


def test_a_sound_file_of_several_megabytes_is_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 1 << 16, 1600 * 1500, dtype=np.uint16)
    path = deflated(tmp_path / "a.dcm", image((1600, 1500), noise))
    assert path.stat().st_size > 4_000_000
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array.ravel(), noise)
    assert read_header(path).grid == volume.grid


@pytest.mark.parametrize("meta_padding", [0, 2000])
def test_what_is_read_is_what_pydicom_reads(tmp_path, meta_padding):
    path = deflated(tmp_path / "a.dcm", image(), meta_padding=meta_padding)
    theirs = pydicom.dcmread(path)
    ours = load(path, pixels=True)
    assert ours == theirs
    assert ours.file_meta == theirs.file_meta
    header = load(path, pixels=False)
    assert header == pydicom.dcmread(path, stop_before_pixels=True)
    assert "PixelData" not in header


def test_black_pixels_that_deflate_a_thousandfold_are_no_bomb(tmp_path):
    path = deflated(tmp_path / "a.dcm", image((3000, 3000), np.zeros(9_000_000)))
    assert path.stat().st_size < 20_000
    assert read_image(path).array.shape == (1, 1, 3000, 3000)


def test_a_deflated_file_is_refused_at_every_cut(tmp_path):
    whole = deflated(tmp_path / "a", image()).read_bytes()
    for cut in np.linspace(0, len(whole) - 1, 60).astype(int):
        (tmp_path / "cut.dcm").write_bytes(whole[:cut])
        for read in (read_header, read_image):
            with pytest.raises(AutosegError, match="cut"):
                read(tmp_path / "cut.dcm")
