"""Damaged files of every format and record: hypothesis mutates small valid ones, and only an AutosegError comes out.

A few mutants of each in every run, hundreds in the slow suite; `python -m benchmarks.fuzz` feeds thousands, guided.
"""

import contextlib
import json
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoseg.core.errors import AutosegError
from benchmarks.fuzz.target import Target
from benchmarks.fuzz.targets import targets

LOOSE = settings(deadline=None, suppress_health_check=list(HealthCheck))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../../x", "/etc/passwd", "\0", "a" * 300, "__import__('os')", 10**400, -1, 1 << 62, 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@cache
def made(name: str) -> Target:
    return targets()[name]()


def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """Return bytes written over, taken out, put in, or cut off at drawn places."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["over", "out", "in", "cut"]))
        piece = draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff"]))
        if kind == "over":
            data[at : at + len(piece)] = piece
        elif kind == "out":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "in":
            data[at:at] = piece
        else:
            del data[at:]
    return bytes(data)


def rewritten(draw: st.DrawFn, document: Any) -> Any:
    """Return a JSON document with a drawn value in a drawn place, or with a key too many or too few."""
    if isinstance(document, dict) and document and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(document)))
        what = draw(st.sampled_from(["inside", "inside", "out", "more"]))
        if what == "out":
            return {name: value for name, value in document.items() if name != key}
        if what == "more":
            return {**document, draw(st.text(max_size=5)): draw(json_values)}
        return {**document, key: rewritten(draw, document[key])}
    if isinstance(document, list) and document and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(document) - 1))
        return [*document[:at], rewritten(draw, document[at]), *document[at + 1 :]]
    return draw(json_values)


def feed(data: st.DataObject, name: str, seeds: Sequence[bytes], folder: Any) -> None:
    target = made(name)
    seed = data.draw(st.sampled_from(seeds))
    if target.ending == ".json" and data.draw(st.booleans()):
        content = json.dumps(rewritten(data.draw, json.loads(seed))).encode()
    else:
        content = mutated(data.draw, seed)
    path = folder / f"mutant{target.ending}"
    path.write_bytes(content)
    with warnings.catch_warnings(), contextlib.suppress(AutosegError):
        warnings.simplefilter("ignore")
        target.read(path)


@pytest.mark.parametrize("name", targets())
def test_a_mutant_is_read_or_refused(name, tmp_path):
    seeds = made(name).seeds(tmp_path)  # once: some are never the same again (UIDs)

    @settings(LOOSE, max_examples=3)
    @given(st.data())
    def run(data):
        feed(data, name, seeds, tmp_path)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("name", targets())
def test_many_mutants_are_read_or_refused(name, tmp_path):
    seeds = made(name).seeds(tmp_path)

    @settings(LOOSE, max_examples=200)
    @given(st.data())
    def run(data):
        feed(data, name, seeds, tmp_path)

    run()
