"""Small files that promise huge images: refused within two seconds and 200 MB, in the process that reads them."""

import contextlib
import gzip
import json
import multiprocessing
import os
import struct
import subprocess
import sys
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
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from autoseg.core.errors import AutosegError
from autoseg.datasets.apart import load_image_apart
from benchmarks.faults.found import Found
from tests.imaging.test_dicom import save as save_series
from tests.imaging.test_dicom import series

SECONDS = 2.0
MEGABYTES = 200.0
GZIP = 31  # what zlib calls it
PREAMBLE_BYTES = 132
GROUP_LENGTH_BYTES = 12
ROOT = Path(__file__).parents[2]


def bombs(place: Path) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Yield a name and what injects it."""
    makers = {
        "NIfTI of 27 000 000 000 000 voxels": _nifti,
        "NIfTI of 27 000 000 000 000 voxels in gzip of less than 100 bytes": _nifti_short,
        "NIfTI in gzip, 1 GB of zeros in 1 MB": _nifti_gzip,
        "NRRD of 30000 x 30000 x 30000": _nrrd,
        "NRRD in gzip, 1 GB of zeros in 1 MB": _nrrd_gzip,
        "MetaImage of 30000 x 30000 x 30000": _metaimage,
        "MetaImage in zlib, 1 GB of zeros in 1 MB": _metaimage_zlib,
        "DICOM of 65535 x 65535 pixels": _dicom,
        "DICOM of 2 000 000 000 frames": _dicom_frames,
        "DICOM with an element of 4 GB": _dicom_length,
        "deflated DICOM, 400 MB of zeros in 0.4 MB": _dicom_deflated,
        "TIFF of 1 000 000 x 1 000 000 pixels": _tiff,
        "PNG of 100 000 x 100 000 pixels": _png,
    }
    for name, maker in makers.items():
        yield f"bomb: {name}", partial(refused, place / "bombs", maker)


def refused(place: Path, maker: Callable[[Path], Path]) -> Found:
    """Read the bomb in a process of its own, after files that start its child and load the readers."""
    place.mkdir(exist_ok=True)
    save_series(place / "sound_series", series())
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(place / "sound.png")
    bomb = maker(place)
    command = [sys.executable, "-m", "benchmarks.faults.bombs", str(place), bomb.name]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True, timeout=60
    )
    seconds, megabytes, said = json.loads(done.stdout.splitlines()[-1])
    faults = [] if said else ["was read"]
    if seconds > SECONDS:
        faults.append(f"took {seconds:.1f} s")
    if megabytes > MEGABYTES:
        faults.append(f"took {megabytes:.0f} MB")
    detail = f"{megabytes:.0f} MB; {(said or '').replace(str(place), 'PLACE')}"
    return Found(tries=1, faults=tuple(faults), slowest_s=round(seconds, 2), detail=detail)


def measured(place: Path, name: str) -> tuple[float, float, str | None]:
    """Return seconds, megabytes, and what the refusal says, None if there is none.

    Memory is what this process and its child hold at their peak more than before, summed: a sound picture has started
    the child then, and a sound series, or an empty file that is refused, has loaded the readers of the format.
    """
    sound = f"empty{''.join(Path(name).suffixes)}" if "." in name else "sound_series"
    (place / sound).touch()
    for each in ("sound.png", sound):
        with contextlib.suppress(AutosegError):
            load_image_apart(place, (each,))
    before = _peaks(reset=True)
    began = time.monotonic()
    said = None
    try:
        load_image_apart(place, (name,))
    except AutosegError as error:
        said = str(error)
    seconds = time.monotonic() - began
    grown = sum(max(0, peak - before.get(process, 0)) for process, peak in _peaks(reset=False).items())
    return seconds, grown / 1e6, said


def _peaks(*, reset: bool) -> dict[int, int]:
    """Return the peak memory of this process and its children, in bytes; after a reset, it is what they hold now."""
    found = {}
    for process in (os.getpid(), *(child.pid or 0 for child in multiprocessing.active_children())):
        if reset:
            Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
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


def _nifti_short(place: Path) -> Path:
    path = place / "short.nii.gz"
    path.write_bytes(gzip.compress(bytes(_header()), 9, mtime=0))
    return path


def _nifti_gzip(place: Path) -> Path:
    path = place / "bomb.nii.gz"
    header = _header()
    header[40:56] = struct.pack("<8h", 3, 1, 1, 1, 1, 1, 1, 1)
    path.write_bytes(_zeros(bytes(header)))
    return path


def _zeros(head: bytes, kind: int = GZIP, blocks: int = 64) -> bytes:
    """Return 1 GB of zeros (16 MB a block) behind `head`, in 1 MB."""
    stream = zlib.compressobj(9, zlib.DEFLATED, kind)
    block = bytes(1 << 24)
    return b"".join([stream.compress(head), *(stream.compress(block) for _ in range(blocks)), stream.flush()])


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


def _metaimage(place: Path) -> Path:
    path = place / "bomb.mha"
    path.write_bytes(_metaimage_head("30000 30000 30000", "False") + bytes(100))
    return path


def _metaimage_zlib(place: Path) -> Path:
    path = place / "bombz.mha"
    path.write_bytes(_metaimage_head("4 4 4", "True") + _zeros(b"", zlib.MAX_WBITS))
    return path


def _metaimage_head(sizes: str, compressed: str) -> bytes:
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": compressed,
        "ElementSpacing": "1 1 1",
        "DimSize": sizes,
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items()).encode()


def _dicom(place: Path) -> Path:
    headers = series()
    for header in headers:
        header.Rows = header.Columns = 65535
    save_series(place / "huge", headers)
    return place / "huge"


def _dicom_frames(place: Path) -> Path:
    headers = series()[:1]
    headers[0].NumberOfFrames = 2_000_000_000
    save_series(place / "frames", headers)
    return place / "frames"


def _dicom_deflated(place: Path) -> Path:
    folder = place / "deflated"
    header = series()[0]
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save_series(folder, [header])
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    meta = PREAMBLE_BYTES + GROUP_LENGTH_BYTES + read_file_meta_info(path).FileMetaInformationGroupLength
    inflated = zlib.decompress(whole[meta:], -zlib.MAX_WBITS)
    path.write_bytes(whole[:meta] + _zeros(inflated, -zlib.MAX_WBITS, 25))
    return folder


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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured(Path(sys.argv[1]), sys.argv[2])) + "\n")
