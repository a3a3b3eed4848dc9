"""PNG, BMP, GIF, JPEG and TIFF: what one sees is what is read, and a damaged file is not read at all."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from autoseg.core.errors import AutosegError
from autoseg.imaging.read import read_header, read_image, read_label
from autoseg.imaging.write import label_ending, write_label


def ramp(shape, dtype=np.uint8):
    return (np.arange(np.prod(shape)).reshape(shape) * 37 % 251).astype(dtype)


def check(path, expected, dtype=None):
    """Assert that the file is read as (channel, z, y, x) `expected`, and that its header says so."""
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.array.dtype == (dtype or expected.dtype)
    header = read_header(path)
    assert (header.grid, header.channels, header.dtype) == (volume.grid, len(expected), volume.array.dtype.name)
    return volume


@pytest.mark.parametrize("ending", [".png", ".bmp", ".gif", ".tif", ".TIFF"])
def test_gray_image(tmp_path, ending):
    array = ramp((6, 7))
    Image.fromarray(array).save(tmp_path / f"gray{ending}")
    volume = check(tmp_path / f"gray{ending}", array[None, None])
    assert (volume.grid.dimensions, volume.grid.spacing_mm) == (2, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_colour_image_has_three_channels(tmp_path, ending):
    array = ramp((6, 7, 3))
    Image.fromarray(array).save(tmp_path / f"rgb{ending}")
    check(tmp_path / f"rgb{ending}", np.moveaxis(array, -1, 0)[:, None])


@pytest.mark.parametrize(("ending", "mode", "channels"), [(".jpg", "L", 1), (".jpeg", "RGB", 3)])
def test_jpeg(tmp_path, ending, mode, channels):
    array = np.full((16, 16) if mode == "L" else (16, 16, 3), 77, dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / f"photo{ending}")
    check(tmp_path / f"photo{ending}", np.full((channels, 1, 16, 16), 77, dtype=np.uint8))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path, ending):
    array = ramp((6, 7), np.uint16) * 200
    Image.fromarray(array).save(tmp_path / f"deep{ending}")
    check(tmp_path / f"deep{ending}", array[None, None])


def test_sixteen_bits_of_colour_are_kept(tmp_path):
    array = ramp((6, 7, 3), np.uint16) * 200
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), tmp_path / "deep.png")
    check(tmp_path / "deep.png", np.moveaxis(array, -1, 0)[:, None])
    data = (tmp_path / "deep.png").read_bytes()
    (tmp_path / "deep.png").write_bytes(data[:-30] + b"x" + data[-29:])
    with pytest.raises(AutosegError, match="checksum"):
        read_image(tmp_path / "deep.png")


def test_one_bit_is_zero_and_one(tmp_path):
    array = ramp((6, 7)) > 100
    for name in ("bit.png", "bit.tif"):
        Image.fromarray(array).save(tmp_path / name)
        check(tmp_path / name, array[None, None].astype(np.uint8))
    Image.fromarray(array).save(tmp_path / "fax.tif", compression="group4")
    check(tmp_path / "fax.tif", array[None, None].astype(np.uint8))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_alpha_of_gray_is_dropped(tmp_path, ending):
    array = np.stack([ramp((6, 7)), np.full((6, 7), 255, dtype=np.uint8)], axis=-1)
    Image.fromarray(array, "LA").save(tmp_path / f"la{ending}")
    check(tmp_path / f"la{ending}", array[None, None, ..., 0])


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_opaque_alpha_of_colour_is_dropped_and_a_transparent_one_refused(tmp_path, ending):
    array = np.concatenate([ramp((6, 7, 3)), np.full((6, 7, 1), 255, dtype=np.uint8)], axis=-1)
    path = tmp_path / f"rgba{ending}"
    Image.fromarray(array).save(path)
    check(path, np.moveaxis(array[..., :3], -1, 0)[:, None])
    array[2, 2, 3] = 0
    Image.fromarray(array).save(path)
    with pytest.raises(AutosegError, match="transparent"):
        read_image(path)


def palette_image(array, palette):
    image = Image.fromarray(array, "P")
    image.putpalette([v for colour in palette for v in colour])
    return image


@pytest.mark.parametrize("ending", [".png", ".gif", ".bmp", ".tif"])
def test_inverted_gray_palette_is_applied(tmp_path, ending):
    array = ramp((6, 7))
    palette_image(array, [(255 - i,) * 3 for i in range(256)]).save(tmp_path / f"x{ending}")
    check(tmp_path / f"x{ending}", 255 - array[None, None])


@pytest.mark.parametrize("ending", [".png", ".gif", ".bmp", ".tif"])
def test_colour_palette_gives_colours_in_images_and_indexes_in_labels(tmp_path, ending):
    palette = [(0, 0, 0), (200, 10, 20), (30, 220, 40), *[(0, 0, 1)] * 253]
    labels = (ramp((6, 7)) % 3).astype(np.uint8)
    path = tmp_path / f"mask{ending}"
    palette_image(labels, palette).save(path)
    check(path, np.moveaxis(np.array(palette, dtype=np.uint8)[labels], -1, 0)[:, None])
    np.testing.assert_array_equal(read_label(path).array[0, 0], labels)


def test_gray_label_in_colour_channels_is_one_channel(tmp_path):
    labels = ramp((6, 7)) % 2 * 255
    Image.fromarray(np.repeat(labels[..., None], 3, axis=-1)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_label(tmp_path / "mask.png").array, labels[None, None])


def test_animation_and_other_colour_spaces_are_refused(tmp_path):
    frames = [Image.fromarray(ramp((6, 7)) + i) for i in range(3)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(AutosegError, match="animation of 3 frames"):
        read_image(tmp_path / "film.gif")
    Image.new("CMYK", (8, 8)).save(tmp_path / "print.jpg")
    with pytest.raises(AutosegError, match="colour space CMYK"):
        read_image(tmp_path / "print.jpg")


# ------------------------------------------------------------------------------------------------- stacks


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_are_slices(tmp_path, dtype, compression):
    array = ramp((5, 6, 7), dtype)
    tifffile.imwrite(tmp_path / "stack.tif", array, compression=compression, photometric="minisblack")
    volume = check(tmp_path / "stack.tif", array[None], np.float32 if dtype == "float64" else None)
    assert volume.grid.dimensions == 3


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "jpeg"])
def test_stack_in_other_compressions(tmp_path, compression):
    array = np.full((3, 16, 16), 90, dtype=np.uint8) if compression == "jpeg" else ramp((3, 16, 16))
    pages = [Image.fromarray(page) for page in array]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:], compression=compression)
    check(tmp_path / "stack.tif", array[None])


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_sixteen_bit_lzw_and_byte_order(tmp_path, byteorder):
    array = ramp((6, 7), np.uint16) * 200
    Image.fromarray(array).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    check(tmp_path / "lzw.tif", array[None, None])
    tifffile.imwrite(tmp_path / "order.tif", array, byteorder=byteorder, bigtiff=byteorder == ">")
    check(tmp_path / "order.tif", array[None, None])


def test_colour_stack_and_channels_of_imagej(tmp_path):
    array = ramp((5, 6, 7, 3))
    tifffile.imwrite(tmp_path / "rgb.tif", array, photometric="rgb")
    check(tmp_path / "rgb.tif", np.moveaxis(array, -1, 0))
    multi = ramp((5, 2, 6, 7), np.uint16)
    tifffile.imwrite(tmp_path / "imagej.tif", multi, imagej=True, metadata={"axes": "ZCYX"})
    check(tmp_path / "imagej.tif", np.moveaxis(multi, 1, 0))


def test_voxel_size_of_imagej(tmp_path):
    array = ramp((5, 6, 7), np.uint16)
    metadata = {"axes": "ZYX", "unit": "um", "spacing": 0.5}
    tifffile.imwrite(tmp_path / "cells.tif", array, imagej=True, resolution=(4, 8), metadata=metadata)
    volume = check(tmp_path / "cells.tif", array[None])
    assert volume.grid.spacing_mm == pytest.approx((0.5e-3, 0.125e-3, 0.25e-3))
    write_label(tmp_path / "label.tif", ramp((5, 6, 7)), tmp_path / "cells.tif")
    assert read_header(tmp_path / "label.tif").grid.spacing_mm == pytest.approx((0.5e-3, 0.125e-3, 0.25e-3))


def test_white_is_zero_is_inverted(tmp_path):
    array = ramp((6, 7))
    tifffile.imwrite(tmp_path / "film.tif", array, photometric="miniswhite")
    check(tmp_path / "film.tif", 255 - array[None, None])
    tifffile.imwrite(tmp_path / "film.tif", ramp((3, 6, 7)), photometric="miniswhite", compression="zlib")
    check(tmp_path / "film.tif", 255 - ramp((3, 6, 7))[None])


def test_pages_of_different_sizes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        writer.write(ramp((6, 7)))
        writer.write(ramp((8, 9)))
    with pytest.raises(AutosegError, match="2 images of different sizes"):
        read_image(tmp_path / "mixed.tif")


def test_too_many_axes_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "film.tif", ramp((2, 5, 6, 7)), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(AutosegError, match="axes TZYX of 2 x 5 x 6 x 7"):
        read_image(tmp_path / "film.tif")


# -------------------------------------------------------------------------------------------------- damage


def whole_files(folder):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    for ending in ("png", "bmp", "gif", "jpg", "tif"):
        Image.fromarray(noise).save(folder / f"noise.{ending}")
    Image.fromarray(noise).save(folder / "lzw.tif", compression="tiff_lzw")
    for name, compression in (("stack.tif", None), ("deflated.tif", "zlib")):
        tifffile.imwrite(folder / name, np.stack([noise] * 5), compression=compression, photometric="minisblack")
    with tifffile.TiffWriter(folder / "pages.tif") as writer:
        for _ in range(5):
            writer.write(noise, contiguous=False, metadata=None)
    return sorted(folder.iterdir())


def test_truncated_image_is_refused_at_every_cut_or_complete(tmp_path):
    for path in whole_files(tmp_path):
        data, expected = path.read_bytes(), read_image(path).array
        accepted = []
        for cut in np.linspace(0, len(data) - 1, 40).astype(int):
            path.write_bytes(data[:cut])
            try:
                array = read_image(path).array
            except AutosegError as error:
                assert path.name in str(error)  # noqa: PT017
            else:
                np.testing.assert_array_equal(array, expected)
                accepted.append(int(cut))
        # A GIF may lack its last byte, a TIFF padding behind its last page: nothing of the image is gone.
        assert all(cut >= len(data) - 1 for cut in accepted), path.name


def test_flipped_bytes_of_a_png_are_refused(tmp_path):
    path = next(p for p in whole_files(tmp_path) if p.name == "noise.png")
    data = path.read_bytes()
    for place in np.linspace(0, len(data) - 1, 60).astype(int):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(AutosegError, match="noise"):
            read_image(path)


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "jpg", "tif"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"II*\0" + b"\xff" * 20])
def test_a_file_that_is_no_image_is_refused(tmp_path, ending, content):
    path = tmp_path / f"page.{ending}"
    path.write_bytes(content)
    for read in (read_image, read_header, read_label):
        with pytest.raises(AutosegError, match="page"):
            read(path)


def test_png_bomb_is_refused(tmp_path):
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(AutosegError, match="178 million pixels"):
        read_image(tmp_path / "bomb.png")


def test_tiff_whose_pages_run_in_a_circle_is_refused(tmp_path):
    path = tmp_path / "circle.tif"
    Image.fromarray(ramp((6, 7))).save(path)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack("<I", data[4:8])
    (entries,) = struct.unpack("<H", data[first : first + 2])
    data[first + 2 + 12 * entries : first + 6 + 12 * entries] = struct.pack("<I", first)
    path.write_bytes(data)
    with pytest.raises(AutosegError, match="damaged behind page 1"):
        read_image(path)


def test_nan_in_a_tiff_is_refused(tmp_path):
    array = np.ones((6, 7), dtype=np.float32)
    array[2, 3] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", array)
    with pytest.raises(AutosegError, match=r"1 of 42 voxels .* \(0, 2, 3\)"):
        read_image(tmp_path / "nan.tif")


# ------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".jpg", ".gif"])
def test_label_of_an_image_has_its_size_and_format(tmp_path, ending):
    path = tmp_path / f"image{ending}"
    Image.fromarray(ramp((6, 7, 3))).save(path)
    out = tmp_path / f"label{label_ending(path)}"
    assert out.suffix == (".png" if ending in (".jpg", ".gif") else ending)
    label = (ramp((1, 6, 7)) % 5).astype(np.uint8)
    write_label(out, label, path)
    back = read_label(out)
    np.testing.assert_array_equal(back.array[0], label)
    assert back.grid == read_header(path).grid
    with Image.open(out) as image:
        assert image.mode == "L"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".tmp")]


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_label_values_above_255_take_16_bits(tmp_path, ending):
    label = np.array([[[0, 300, 65535]]], dtype=np.uint16)
    Image.fromarray(ramp((1, 3))).save(tmp_path / f"image{ending}")
    write_label(tmp_path / f"label{ending}", label, tmp_path / f"image{ending}")
    np.testing.assert_array_equal(read_label(tmp_path / f"label{ending}").array[0], label)


def test_label_values_above_255_do_not_fit_a_bmp(tmp_path):
    Image.fromarray(ramp((1, 3))).save(tmp_path / "image.bmp")
    with pytest.raises(AutosegError, match="up to 255"):
        write_label(tmp_path / "label.bmp", np.zeros((1, 1, 3), dtype=np.uint16), tmp_path / "image.bmp")


@pytest.mark.parametrize("slices", [2, 3, 4, 7])
def test_label_of_a_stack_is_a_stack(tmp_path, slices):
    tifffile.imwrite(tmp_path / "image.tif", ramp((slices, 6, 7), np.uint16), photometric="minisblack")
    label = (ramp((slices, 6, 7)) % 3).astype(np.uint8)
    write_label(tmp_path / "label.tif", label, tmp_path / "image.tif")
    back = read_label(tmp_path / "label.tif")
    np.testing.assert_array_equal(back.array[0], label)
    assert back.grid == read_header(tmp_path / "image.tif").grid
    with pytest.raises(AutosegError, match="not a format for this label map"):
        write_label(tmp_path / "label.png", label, tmp_path / "image.tif")


def test_research_use_is_written_into_png_and_tiff(tmp_path):
    Image.fromarray(ramp((6, 7))).save(tmp_path / "image.png")
    for name in ("label.png", "label.tif"):
        write_label(tmp_path / name, ramp((1, 6, 7)), tmp_path / "image.png")
        assert b"research use, not a diagnosis" in Path(tmp_path / name).read_bytes()


def test_damaged_tags_of_a_tiff_are_refused(tmp_path):
    path = tmp_path / "tags.tif"
    tifffile.imwrite(path, ramp((5, 6, 7)), compression="zlib", photometric="minisblack")
    data = path.read_bytes()
    wrong = 0
    for place in range(8, 220):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read_image(path)
        except AutosegError as error:
            assert "tags.tif" in str(error)  # noqa: PT017
            wrong += 1
    assert wrong > 50


def without_tags(path: Path, *tags: int) -> None:
    """Give tags of a little-endian TIFF a number and type that nobody knows: to readers they are lost."""
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[first : first + 2])
    for at in range(first + 2, first + 2 + 12 * count, 12):
        if struct.unpack("<H", data[at : at + 2])[0] in tags:
            data[at : at + 4] = struct.pack("<HH", 65000, 0)
    path.write_bytes(data)


def test_a_tiff_whose_sizes_were_lost_is_refused(tmp_path):
    path = tmp_path / "film.tif"
    tifffile.imwrite(path, ramp((3, 5, 4)), photometric="rgb", planarconfig="contig", compression="zlib", metadata=None)
    without_tags(path, 256, 257)
    with pytest.raises(AutosegError, match="no pixels"):
        read_image(path)


def test_a_small_tiff_that_promises_a_million_strips_is_refused_and_not_read_as_zeros_for_half_a_minute(tmp_path):
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, ramp((6, 7)), compression="zlib", rowsperstrip=6, metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tags = tif.pages.first.tags
        tags["ImageLength"].overwrite(6_000_000)
        assert len(tif.pages.first.dataoffsets) == 1
    with pytest.raises(AutosegError, match="page 0 has 1 of its 1000000 strips or tiles; copy"):
        read_image(path)


def test_a_gif_that_breaks_off_in_its_second_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.gif"
    frames = [Image.fromarray(np.full((6, 5), value, np.uint8)) for value in (0, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    whole = path.read_bytes()
    second = whole.rindex(b"\x2c")  # the frame's separator; position, size and flags follow, then its colours
    for end in range(second + 1, len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(AutosegError, match=r"cannot be read|is an animation"):
            read_image(path)


def test_a_tiff_whose_kind_of_pixels_is_stored_as_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, np.arange(30, dtype=np.uint8).reshape(6, 5), photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        place = tif.pages.first.tags["PhotometricInterpretation"].offset
    data = bytearray(path.read_bytes())
    data[place + 2 : place + 4] = struct.pack("<H", 1)  # BYTE, which is read as bytes
    path.write_bytes(data)
    with pytest.raises(AutosegError, match="cannot be read"):
        read_image(path)
    with pytest.raises(AutosegError, match="cannot be read"):
        read_header(path)
