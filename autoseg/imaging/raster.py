"""Photographs and screenshots: PNG, BMP, GIF, JPEG in through Pillow; label maps out as gray PNG or BMP.

Values are what one sees: a gray palette is applied (also an inverted one), an opaque alpha channel is dropped, a colour
palette gives RGB. In label maps a colour palette is decoration and the palette's index is the label. These files know
no millimetres: a pixel counts as 1 mm, unless a JSON file beside the image states its size.
"""

import struct
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Integer, Shaped

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_atomically
from autoseg.imaging.checks import refuse_more_than_memory
from autoseg.imaging.geometry import grid_from_xyz
from autoseg.imaging.header import Header
from autoseg.imaging.itk import LPS_TO_RAS
from autoseg.imaging.nifti_write import DISCLAIMER
from autoseg.imaging.sidecar import spacing_beside
from autoseg.imaging.volume import Grid, Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

MEND = "open it in an image viewer and save it again as PNG"

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_GRAY_MODES = {
    "1": "uint8",
    "L": "uint8",
    "LA": "uint8",
    "I;16": "uint16",
    "I;16B": "uint16",
    "I": "int32",
    "F": "float32",
}
_COLOUR_MODES = {"RGB", "RGBA"}
_DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(RuntimeError, AssertionError, MemoryError, struct.error, zlib.error),
)
"""What Pillow raises for damaged files."""
_OPAQUE = {"uint8": 255, "uint16": 65535}


def pixel_grid(path: Path, shape: tuple[int, int, int], spacing_xyz_mm: tuple[float, float, float] = (1, 1, 1)) -> Grid:
    """Return the grid of an image without position: rows run towards posterior, columns towards left, as ITK has it."""
    flat = shape[0] == 1
    matrix = LPS_TO_RAS @ np.diag([*spacing_xyz_mm, 1.0])
    return grid_from_xyz(path, shape, matrix, dimensions=2 if flat else 3, flat=flat)


def _picture_grid(path: Path, height: int, width: int) -> Grid:
    return pixel_grid(path, (1, height, width), spacing_beside(path) or (1, 1, 1))


def read_raster_header(path: Path) -> Header:
    """Read size, channels and type of a PNG, BMP, GIF or JPEG without decoding it."""
    if (deep := _deep_colour_png(path)) is not None:
        return deep
    with _opened(path) as image:
        colour = _kind(path, image)
        name = _GRAY_MODES.get(image.mode, "uint8")
        return Header(grid=_picture_grid(path, image.height, image.width), channels=3 if colour else 1, dtype=name)


def read_raster(path: Path) -> Volume:
    """Read a PNG, BMP, GIF or JPEG as it looks.

    Returns:
        Array (1 or 3, 1, y, x): gray or RGB, in the file's own type.

    Raises:
        AutosegError: damaged, animated, half transparent, or in a colour space other than gray and RGB.
        ResourceError: the image does not fit the machine's memory.

    """
    _verify_if_png(path)
    if (deep := _deep_colour_png(path)) is not None:
        return _deep_colour(path, deep)
    with _opened(path) as image:
        refuse_more_than_memory(path, image.width * image.height * 4)
        colour = _kind(path, image)
        if image.mode in ("P", "PA"):
            pixels = np.asarray(image.convert("RGB"))
            pixels = pixels if colour else pixels[..., 0]
        else:
            pixels = np.asarray(image)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    array = pixels[np.newaxis] if pixels.ndim == 2 else without_alpha(path, np.moveaxis(pixels, -1, 0))
    native = np.ascontiguousarray(array[:, np.newaxis], dtype=array.dtype.newbyteorder("="))
    return Volume(array=native, grid=_picture_grid(path, *array.shape[1:]))


def read_raster_label(path: Path) -> Volume:
    """Read a label map: like `read_raster`, but a colour palette gives its index and not its colour."""
    with _opened(path) as image:
        if image.mode != "P" or not _kind(path, image):
            return read_raster(path)
        indexes = np.asarray(image)
    _verify_if_png(path)
    return Volume(array=indexes[np.newaxis, np.newaxis], grid=_picture_grid(path, *indexes.shape))


def write_raster_label(path: Path, array: Integer[np.ndarray, "z y x"]) -> None:
    """Write a label map (1, y, x) as a gray PNG of 8 or 16 bits or a gray BMP of 8, verified by reading it again.

    Raises:
        AutosegError: labels above 255 in a BMP.
        ResourceError: the disk is full.

    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    options: dict[str, Any] = {}
    if path.suffix.lower() == ".bmp":
        if array.dtype != np.uint8:
            raise AutosegError.at(path, "BMP holds labels up to 255", "give the images as PNG")
    else:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("Description", DISCLAIMER)

    def writer(temporary: Path) -> None:
        Image.fromarray(array[0]).save(temporary, **options)
        compare_written(read_raster_label, temporary, array)

    write_atomically(path, writer, expected_bytes=array.nbytes)


def compare_written(read: Any, temporary: Path, array: Integer[np.ndarray, "z y x"]) -> None:
    """Read a label map back and raise OSError when it is not (z, y, x) `array`."""
    try:
        back = read(temporary).array
    except AutosegError as error:
        raise OSError(str(error)) from error
    if not np.array_equal(back[0], array):
        msg = "what was read back differs from what was written"
        raise OSError(msg)


def without_alpha(path: Path, array: Shaped[np.ndarray, " channel *axes"]) -> Shaped[np.ndarray, " kept *axes"]:
    """Drop the last of 2 or 4 channels (channel, ...): of gray always, of RGB when it is opaque everywhere.

    Raises:
        AutosegError: an RGB image is transparent somewhere, so what it looks like depends on the background.

    """
    if len(array) not in (2, 4):
        return array
    alpha = array[-1]
    if len(array) == 4 and (alpha != _OPAQUE.get(alpha.dtype.name, 1)).any():
        raise AutosegError.at(path, "is partly transparent", "flatten it: save it without alpha channel")
    return array[:-1]


@contextmanager
def _opened(path: Path) -> "Iterator[Image]":
    """Open and, at first use, decode with Pillow; its errors become ours."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_formats(path)) as image:
                yield image
    except AutosegError:
        raise
    except Image.DecompressionBombError as error:
        raise AutosegError.at(path, "has more than 178 million pixels", "cut it into tiles") from error
    except _DECODER_ERRORS as error:
        what = "is empty" if path.stat().st_size == 0 else f"cannot be read ({_without_path(error)})"
        raise AutosegError.at(path, what, MEND) from error


def _formats(path: Path) -> tuple[str, ...]:
    """Return Pillow's names of the formats that may hide behind an ending; none of its exotic ones is tried."""
    return ("TIFF",) if path.suffix.lower() in (".tif", ".tiff") else ("PNG", "BMP", "GIF", "JPEG")


def _without_path(error: Exception) -> str:
    return "not an image that Pillow knows" if "cannot identify" in str(error) else str(error)


def _kind(path: Path, image: "Image") -> bool:
    """Tell colour (True) from gray (False); refuse what is neither."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise AutosegError.at(path, f"is an animation of {frames} frames", "save its frames as a TIFF stack")
    if image.mode in ("P", "PA"):
        palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
        return bool((palette != palette[:, :1]).any())
    if image.mode in _GRAY_MODES:
        return False
    if image.mode in _COLOUR_MODES:
        return True
    raise AutosegError.at(path, f"has colour space {image.mode}", "save it as gray or RGB")


# ---------------------------------------------------------------------------------------------------- PNG


def _deep_colour_png(path: Path) -> Header | None:
    """Return the header of a PNG of 16 bits a channel with colour or alpha, which Pillow would cut to 8 bits."""
    with path.open("rb") as handle:
        start = handle.read(26)
    if start[:8] != _PNG_MAGIC or len(start) < 26 or start[24] != 16 or start[25] == 0:
        return None
    width, height = struct.unpack(">II", start[16:24])
    return Header(grid=_picture_grid(path, height, width), channels=1 if start[25] == 4 else 3, dtype="uint16")


def _deep_colour(path: Path, header: Header) -> Volume:
    import SimpleITK as sitk  # noqa: N813

    refuse_more_than_memory(path, int(np.prod(header.grid.shape)) * 8)
    try:
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(path))
    except RuntimeError as error:
        raise AutosegError.at(path, f"cannot be read ({str(error).splitlines()[-1]})", MEND) from error
    array = without_alpha(path, np.moveaxis(pixels, -1, 0))
    return Volume(array=np.ascontiguousarray(array[:, np.newaxis]), grid=header.grid)


def _verify_if_png(path: Path) -> None:
    """Check the CRC of every chunk of a PNG up to the last: decoders skip that of the pixels."""
    data = memoryview(path.read_bytes())
    if data[: len(_PNG_MAGIC)] != _PNG_MAGIC:
        return
    place, kind = len(_PNG_MAGIC), b""
    while kind != b"IEND":
        if place + 12 > len(data):
            raise AutosegError.at(path, "is truncated", "copy or export the file again")
        (length,) = struct.unpack(">I", data[place : place + 4])
        end = place + 12 + length
        kind = bytes(data[place + 4 : place + 8])
        if end > len(data):
            raise AutosegError.at(path, "is truncated", "copy or export the file again")
        if zlib.crc32(data[place + 4 : end - 4]) != struct.unpack(">I", data[end - 4 : end])[0]:
            raise AutosegError.at(path, "is damaged (wrong checksum)", "copy or export the file again")
        place = end
