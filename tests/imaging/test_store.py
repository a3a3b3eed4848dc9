"""Stored cases: what goes in comes out, and what is damaged is noticed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.core.errors import AutosegError
from autoseg.imaging.preparation import GridMapping
from autoseg.imaging.store import BLOCK_BYTES, CHUNK_BYTES, CaseStore, StoredCase, chunk_shapes, write_case

SHAPE = (20, 30, 25)


def case(name="case_1", digest="abc", shape=SHAPE):
    mapping = GridMapping(
        native_shape=shape,
        native_spacing_mm=(1.0, 1.0, 1.0),
        transpose=(0, 1, 2),
        crop_lower=(0, 0, 0),
        crop_upper=shape,
        network_shape=shape,
        network_spacing_mm=(1.0, 1.0, 1.0),
    )
    return StoredCase(name=name, digest=digest, mapping=mapping, patch=(16, 16, 16))


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    image = generator.normal(size=(2, *SHAPE)).astype(np.float32)
    label = generator.integers(-2, 3, size=(1, *SHAPE)).astype(np.int16)
    locations = tuple(np.argwhere(label[0] == i)[:n].astype(np.int32) for i, n in ((1, 7), (2, 0), (1, 3)))
    return image, label, locations


@pytest.fixture
def store(tmp_path, arrays):
    write_case(tmp_path, case(), *arrays)
    return CaseStore(tmp_path)


def test_a_case_reads_back_as_written(store, arrays):
    image, label, locations = arrays
    assert store.names == ("case_1",)
    assert store.shape("case_1") == SHAPE
    assert store.mapping("case_1") == case().mapping
    assert np.array_equal(store.read_image("case_1", (0, 0, 0), SHAPE), image)
    assert np.array_equal(store.read_label("case_1", (0, 0, 0), SHAPE), label)
    assert [part.tolist() for part in store.locations("case_1")] == [part.tolist() for part in locations]


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_part_equals_that_part_of_the_whole(tmp_path_factory, data):
    image = np.random.default_rng(1).normal(size=(1, 9, 40, 17)).astype(np.float32)
    label = np.random.default_rng(2).integers(0, 3, size=(2, 9, 40, 17)).astype(np.int16)
    folder = tmp_path_factory.mktemp("store")
    write_case(folder, case(shape=image.shape[1:]), image, label, ())
    store = CaseStore(folder)
    for _ in range(5):
        lower = tuple(data.draw(st.integers(0, n - 1)) for n in image.shape[1:])
        upper = tuple(data.draw(st.integers(low, n)) for low, n in zip(lower, image.shape[1:], strict=True))
        part = (slice(None), *(slice(low, high) for low, high in zip(lower, upper, strict=True)))
        assert np.array_equal(store.read_image("case_1", lower, upper), image[part])
        assert np.array_equal(store.read_label("case_1", lower, upper), label[part])


def test_a_case_with_a_name_of_250_characters_is_stored(tmp_path, arrays):
    names = ("x" * 250, "x" * 249 + "y", "ä" * 125 + "z", "short")
    for name in names:
        write_case(tmp_path, case(name), *arrays)
    store = CaseStore(tmp_path)
    assert set(store.names) == set(names)
    for name in names:
        assert store.complete(name, "abc")
        assert store.record(name).case.name == name
        assert np.array_equal(store.read_image(name, (0, 0, 0), SHAPE), arrays[0])


def test_a_part_outside_the_image_is_refused(store):
    with pytest.raises(ValueError, match="not inside"):
        store.read_image("case_1", (0, 0, 0), (21, 1, 1))


def test_a_case_is_complete_for_its_own_inputs_only(store):
    assert store.complete("case_1", "abc")
    assert not store.complete("case_1", "other")
    assert not store.complete("case_2", "abc")


@pytest.mark.parametrize("ending", ["image.b2nd", "label.b2nd", "locations.npy", "json"])
def test_a_changed_byte_makes_a_case_incomplete(store, ending):
    path = store.folder / f"case_1.{ending}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert not store.complete("case_1", "abc")


@pytest.mark.parametrize("ending", ["image.b2nd", "label.b2nd", "locations.npy"])
def test_a_missing_file_makes_a_case_incomplete_and_is_named(store, ending):
    (store.folder / f"case_1.{ending}").unlink()
    assert not store.complete("case_1", "abc")

    def read_everything():
        store.read_image("case_1", (0, 0, 0), SHAPE)
        store.read_label("case_1", (0, 0, 0), SHAPE)
        store.locations("case_1")

    with pytest.raises(AutosegError, match=rf"case_1.{ending}: damaged or missing .*; run autoseg preprocess again"):
        read_everything()


def test_a_truncated_array_is_named(store):
    path = store.folder / "case_1.image.b2nd"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AutosegError, match=r"case_1.image.b2nd: damaged"):
        store.read_image("case_1", (0, 0, 0), SHAPE)


def test_a_case_written_again_is_the_new_one_and_leaves_no_other_file(store, arrays):
    image, label, locations = arrays
    write_case(store.folder, case(digest="new"), image + 1, label, locations)
    again = CaseStore(store.folder)
    assert again.complete("case_1", "new")
    assert np.array_equal(again.read_image("case_1", (0, 0, 0), SHAPE), image + 1)
    assert len(list(store.folder.iterdir())) == 4


def test_a_case_interrupted_while_being_rewritten_is_not_complete(store, arrays, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("autoseg.imaging.store._write_locations", fail)
    with pytest.raises(KeyboardInterrupt):
        write_case(store.folder, case(), *arrays)
    assert CaseStore(store.folder).names == ()
    assert not CaseStore(store.folder).complete("case_1", "abc")


@given(
    shape=st.tuples(*[st.integers(1, 600)] * 3),
    patch=st.tuples(*[st.integers(1, 320)] * 3),
    item=st.sampled_from([2, 4]),
)
@settings(max_examples=150, deadline=None)
def test_chunks_hold_whole_blocks_and_keep_their_sizes(shape, patch, item):
    chunk, block = chunk_shapes(shape, patch, item)
    assert np.prod(block) * item <= BLOCK_BYTES
    assert np.prod(chunk) * item <= CHUNK_BYTES
    assert all(c % b == 0 and 1 <= b <= n for c, b, n in zip(chunk, block, shape, strict=True))


def test_a_patch_of_96_lies_in_one_chunk():
    assert chunk_shapes((300, 300, 300), (96, 96, 96), 4) == ((96, 96, 96), (24, 24, 48))


@pytest.mark.parametrize("name", ["../secret.b2nd", "/etc/passwd", "deeper/case_1.image.b2nd", ".."])
def test_a_record_that_names_a_file_elsewhere_is_refused(tmp_path, store, name):
    path = tmp_path / "case_1.json"
    path.write_text(path.read_text().replace('"case_1.image.b2nd"', f'"{name}"'))
    with pytest.raises(AutosegError, match=r"case_1\.json: .*lies outside the folder"):
        store.read_image("case_1", (0, 0, 0), SHAPE)
    assert not store.complete("case_1", "abc")
