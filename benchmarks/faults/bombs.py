"""Small files that promise huge images: refused within two seconds and 200 MB, in the process that reads them."""

import multiprocessing
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
import tifffile
from PIL import Image

from autoseg.core.errors import AutosegError
from autoseg.datasets.apart import load_image_apart
from benchmarks.faults.found import Found
from tests.imaging.test_dicom import save as save_series
from tests.imaging.test_dicom import series

SECONDS = 2.0
MEGABYTES = 200.0


def bombs(place: Path) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Yield a name and what injects it."""
    makers = {
        "NIfTI of 27 000 000 000 000 voxels": _nifti,
        "NIfTI in gzip, 1 GB of zeros in 1 MB": _nifti_gzip,
        "NRRD of 30000 x 30000 x 30000": _nrrd,
        "NRRD in gzip, 1 GB of zeros in 1 MB": _nrrd_gzip,
        "DICOM of 65535 x 65535 pixels": _dicom,
        "DICOM with an element of 4 GB": _dicom_length,
        "TIFF of 1 000 000 x 1 000 000 pixels": _tiff,
        "PNG of 100 000 x 100 000 pixels": _png,
    }
    for name, maker in makers.items():
        yield f"bomb: {name}", partial(refused, place / "bombs", maker)


def refused(place: Path, maker: Callable[[Path], Path]) -> Found:
    """Read the bomb after a sound picture, which starts the child that reads both."""
    place.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(place / "sound.png")
    load_image_apart(place, ("sound.png",))
    bomb = maker(place)
    before = _peaks()
    began = time.monotonic()
    try:
        load_image_apart(place, (bomb.name,))
        faults = ["was read"]
    except AutosegError as error:
        faults, said = [], str(error)
    seconds = time.monotonic() - began
    grown = max((peak - before.get(process, 0)) / 1e6 for process, peak in _peaks().items())
    if seconds > SECONDS:
        faults.append(f"took {seconds:.1f} s")
    if grown > MEGABYTES:
        faults.append(f"took {grown:.0f} MB")
    detail = f"{grown:.0f} MB" if faults else f"{grown:.0f} MB; {said.replace(str(place), 'PLACE')}"
    return Found(tries=1, faults=tuple(faults), slowest_s=round(seconds, 2), detail=detail)


def _peaks() -> dict[int, int]:
    """Return the peak memory of this process and its children, in bytes."""
    found = {}
    for process in (0, *(child.pid or 0 for child in multiprocessing.active_children())):
        status = Path(f"/proc/{process or 'self'}/status").read_text(encoding="ascii")
        found[process] = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))
    return found


def _header() -> bytearray:
    header = nib.Nifti1Header()
    header["dim"] = [3, 30000, 30000, 30000, 1, 1, 1, 1]
    header["pixdim"] = 1
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return bytearray(header.binaryblock + bytes(4))


def _nifti(place: Path) -> Path:
    path = place / "bomb.nii"
    path.write_bytes(_header() + bytes(100))
    return path


def _nifti_gzip(place: Path) -> Path:
    path = place / "bomb.nii.gz"
    header = _header()
    header[40:56] = struct.pack("<8h", 3, 1, 1, 1, 1, 1, 1, 1)
    path.write_bytes(_zeros(bytes(header)))
    return path


def _zeros(head: bytes) -> bytes:
    """Return 1 GB of zeros behind `head`, as gzip of 1 MB."""
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 24)
    return b"".join([stream.compress(head), *(stream.compress(block) for _ in range(64)), stream.flush()])


def _nrrd(place: Path) -> Path:
    path = place / "bomb.nrrd"
    head = "NRRD0004\ntype: uchar\ndimension: 3\nspace dimension: 3\nsizes: 30000 30000 30000\nencoding: raw\n\n"
    path.write_bytes(head.encode() + bytes(100))
    return path


def _nrrd_gzip(place: Path) -> Path:
    path = place / "bombz.nrrd"
    SimpleITK.WriteImage(SimpleITK.Image(4, 4, 4, SimpleITK.sitkUInt8), str(path), useCompression=True)
    head = path.read_bytes().partition(b"\n\n")[0]
    path.write_bytes(head + b"\n\n" + _zeros(b""))
    return path


def _dicom(place: Path) -> Path:
    headers = series()
    for header in headers:
        header.Rows = header.Columns = 65535
    save_series(place / "huge", headers)
    return place / "huge"


def _dicom_length(place: Path) -> Path:
    folder = place / "length"
    save_series(folder, series())
    path = min(path for path in folder.rglob("*") if path.is_file())
    data = path.read_bytes()
    tag = bytes.fromhex("e07f1000") + b"OW"
    at = data.index(tag)
    swallowing = bytes.fromhex("df7f1010") + b"OB\0\0" + struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data[:at] + swallowing + data[at:])
    return folder


def _tiff(place: Path) -> Path:
    path = place / "bomb.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), metadata=None)
    data = bytearray(path.read_bytes())
    for tag in (256, 257):
        for kind in (3, 4):
            at = data.find(struct.pack("<HHI", tag, kind, 1))
            if at >= 0:
                data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 1_000_000)
    path.write_bytes(bytes(data))
    return path


def _png(place: Path) -> Path:
    path = place / "bomb.png"

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    body = zlib.compress(bytes(1 << 24), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path
