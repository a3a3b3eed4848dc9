"""Foreign pickles become plain data, and none of them gets anything executed."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.core.errors import AutosegError
from autoseg.core.pickle_reader import BYTES_MAX, DEPTH_MAX, OPERATIONS_MAX, Symbol, read_pickle

FUNCTION = (
    "nnunetv2.postprocessing.remove_connected_components",
    "remove_all_but_largest_component_from_segmentation",
)
NAMES = frozenset({" ".join(FUNCTION)})

# Written by nnunetv2 2.8.1's own save_pickle: ([f, f], [{labels_or_regions: [1, 2]}, {labels_or_regions: (1, 2)}]),
# the first two labels being numpy.int64. Protocol 4 with NumPy 2, and protocol 2.
NNUNET_4 = bytes.fromhex(
    "8004951c010000000000005d94288c336e6e756e657476322e706f737470726f63657373696e672e72656d6f76655f636f6e6e65637465645f"
    "636f6d706f6e656e7473948c3272656d6f76655f616c6c5f6275745f6c6172676573745f636f6d706f6e656e745f66726f6d5f7365676d656e"
    "746174696f6e9493946803655d94287d948c116c6162656c735f6f725f726567696f6e73945d94288c166e756d70792e5f636f72652e6d756c"
    "74696172726179948c067363616c61729493948c056e756d7079948c0564747970659493948c02693894898887945294284b038c013c944e4e"
    "4e4affffffff4affffffff4b00749462430801000000000000009486945294680a681043080200000000000000948694529465737d9468064b"
    "014b028694736586942e"
)
NNUNET_2 = bytes.fromhex(
    "80025d710028636e6e756e657476322e706f737470726f63657373696e672e72656d6f76655f636f6e6e65637465645f636f6d706f6e656e74"
    "730a72656d6f76655f616c6c5f6275745f6c6172676573745f636f6d706f6e656e745f66726f6d5f7365676d656e746174696f6e0a71016801"
    "655d7102287d710358110000006c6162656c735f6f725f726567696f6e7371045d710528636e756d70792e5f636f72652e6d756c7469617272"
    "61790a7363616c61720a7106636e756d70790a64747970650a7107580200000069387108898887710952710a284b0358010000003c710b4e4e"
    "4e4affffffff4affffffff4b0074710c62635f636f646563730a656e636f64650a710d58080000000100000000000000710e58060000006c61"
    "74696e31710f8671105271118671125271136806680a680d580800000002000000000000007114680f86711552711686711752711865737d71"
    "1968044b014b0286711a736586711b2e"
)


@pytest.mark.parametrize("data", [NNUNET_4, NNUNET_2], ids=["protocol-4", "protocol-2"])
def test_what_nnunet_writes_is_read(data: bytes) -> None:
    function = Symbol(*FUNCTION)
    found = read_pickle(data, "postprocessing.pkl", NAMES)
    assert found == ([function, function], [{"labels_or_regions": [1, 2]}, {"labels_or_regions": (1, 2)}])


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(min_size=1),  # empty: a call of `bytes`
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(value=plain, protocol=st.integers(0, 5))
def test_plain_values_come_back_in_every_protocol(value: Any, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol), "here", frozenset()) == value


@pytest.mark.parametrize(
    "value",
    [np.int64(-3), np.uint8(200), np.float32(0.1), np.float64(1e300), np.bool_(True), np.int16(-2), np.float16(0.5)],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_numpys_numbers_become_pythons(value: Any, protocol: int) -> None:
    found = read_pickle(pickle.dumps(value, protocol), "here", frozenset())
    assert found == value.item()
    assert type(found) is type(value.item())


def test_the_byte_order_of_a_shared_type_is_kept() -> None:
    swapped = np.dtype(">i4")
    values = [np.array([7, 8], swapped)[index] for index in (0, 1)]
    assert read_pickle(pickle.dumps([values[0].item(), values[1].item()]), "here", frozenset()) == [7, 8]
    built = (
        b"\x80\x02]q\x00(cnumpy.core.multiarray\nscalar\nq\x01cnumpy\ndtype\nq\x02X\x02\x00\x00\x00i4q\x03K\x00K\x01\x87"
        b"Rq\x05(K\x03X\x01\x00\x00\x00>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbC\x04\x00\x00\x00\x07\x86R"
        b"h\x01h\x05C\x04\x00\x00\x00\x08\x86Re."
    )
    assert read_pickle(built, "here", frozenset()) == [7, 8]


SYSTEM = b"cposix\nsystem\n"
TOUCH = "touch executed"


class Evil:
    """What executes when it is unpickled."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


def evil(function: Any, *arguments: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(Evil(function, arguments), protocol)


def short(text: str) -> bytes:
    data = text.encode()
    return b"\x8c" + bytes([len(data)]) + data


def laughs(levels: int) -> bytes:
    return (
        b"\x80\x04(K\x01t\x94"
        + b"".join(b"h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"\x86\x94" for i in range(levels))
        + b"."
    )


MALICIOUS: dict[str, bytes] = {
    "os.system": b"cos\nsystem\n(S'touch executed'\ntR.",
    "posix.system": SYSTEM + b"(X\x0e\x00\x00\x00touch executedtR.",
    "eval": evil(eval, "open('executed', 'w')"),
    "exec protocol 4": evil(exec, "open('executed', 'w')", protocol=4),
    "getattr": evil(getattr, 1, "real"),
    "import": b"cbuiltins\n__import__\n(X\x02\x00\x00\x00ostR.",
    "pickle.loads": b"cpickle\nloads\n(C\x05cos\n.tR.",
    "nested reduce": b"cfunctools\npartial\n(cos\nsystem\nX\x0e\x00\x00\x00touch executedtR)R.",
    "call of an allowed name": b"c" + "\n".join(FUNCTION).encode() + b"\n)R.",
    "attribute of an allowed module": b"c" + FUNCTION[0].encode() + b"\nnp.os.system\n.",
    "dotted stack global": b"\x80\x04" + short("numpy") + short("dtype.mro") + b"\x93.",
    "stack global of no text": b"\x80\x04K\x01K\x02\x93.",
    "full-width letters": b"\x80\x04" + short("ｏｓ") + short("system") + b"\x93.",
    "an invisible letter": b"\x80\x04" + short("numpy\u200b") + short("dtype") + b"\x93.",
    "a name with a space": b"\x80\x04" + short("numpy dtype") + short("") + b"\x93.",
    "a surrogate": b"\x80\x04\x8c\x03\xed\xa0\x80.",
    "INST": b"(X\x0e\x00\x00\x00touch executedios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nX\x0e\x00\x00\x00touch executedo.",
    "NEWOBJ": b"\x80\x02cos\nsystem\nX\x0e\x00\x00\x00touch executed\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\nX\x0e\x00\x00\x00touch executed\x85}\x92.",
    "NEWOBJ of a type": b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00i8\x85\x81.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "persistent id": b"Pthere\n.",
    "persistent id of the stack": b"X\x05\x00\x00\x00thereQ.",
    "state of a dictionary": b"}}X\x01\x00\x00\x00aK\x01sb.",
    "state of a function": b"c" + "\n".join(FUNCTION).encode() + b"\n}b.",
    "state that is no tuple": b"cnumpy\ndtype\n(X\x02\x00\x00\x00i8tR}b.",
    "NumPy object type": b"cnumpy\ndtype\n(X\x01\x00\x00\x00OtR.",
    "NumPy scalar of objects": b"cnumpy.core.multiarray\nscalar\n(X\x01\x00\x00\x00OK\x01tR.",
    "NumPy scalar too short": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00i8tRC\x01\x01tR.",
    "NumPy type as a value": b"cnumpy\ndtype\n(X\x02\x00\x00\x00i8tR.",
    "NumPy array": pickle.dumps(np.arange(3)),
    "another codec": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00base64tR.",
    "ordered dictionary with arguments": b"ccollections\nOrderedDict\n(]tR.",
    "huge memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "negative memo": b"Np-1\n.",
    "memo of nothing": b"h\x05.",
    "endless list": b"]q\x00h\x00a.",
    "billion laughs": laughs(60),
    "too deep": b"]" * (DEPTH_MAX + 3) + b"a" * (DEPTH_MAX + 2) + b".",
    "too many operations": b"N0" * OPERATIONS_MAX + b"N.",
    "too many values": b"(" + b"N" * (OPERATIONS_MAX + 1) + b"t.",
    "truncated": NNUNET_4[:-20],
    "no stop": b"N",
    "empty": b"",
    "empty stack": b".",
    "text that lacks its end": b"X\xff\xff\xff\x7fabc",
    "eight-byte length": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "negative length": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "number that is endless": b"L" + b"9" * 5000 + b"L\n.",
    "unknown opcode": b"\xff.",
    "protocol 9": b"\x80\x09\x97.",
    "bytes behind the end": NNUNET_4 + b"cos\nsystem\n.",
    "values left over": b"NN.",
    "mark left over": b"(N.",
    "tuple over a mark": b"(N\x86.",
    "append to a tuple": b")Na.",
    "append without a mark": b"]Ne.",
    "items of a list": b"]NNs.",
    "odd items": b"}(Nu.",
    "odd dictionary": b"(Nd.",
    "tuple as a key": b"}(K\x01tNs.",
    "set": pickle.dumps({1}),
    "bytearray": pickle.dumps(bytearray(b"a"), 5),
    "buffer": b"\x80\x05\x97.",
    "duplicate": b"N2\x86.",
    "list of marks": b"((l.",
}


@pytest.mark.parametrize("data", MALICIOUS.values(), ids=MALICIOUS.keys())
def test_what_is_malicious_or_damaged_is_refused_and_does_nothing(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AutosegError, match=r"^here: (refused|damaged) pickle"):
        read_pickle(data, "here", NAMES)
    assert not list(tmp_path.iterdir())


def test_some_of_them_would_execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(MALICIOUS["posix.system"])  # noqa: S301 (that this does something is what is shown)
    assert (tmp_path / "executed").exists()


def test_a_file_that_is_too_large_is_not_walked() -> None:
    with pytest.raises(AutosegError, match="a pickle of"):
        read_pickle(b"N" * (BYTES_MAX + 1), "here", NAMES)


def test_nothing_of_the_process_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is compared as text: a class of that name made here is not found."""
    monkeypatch.setattr("builtins.__import__", lambda *_a, **_k: pytest.fail("imported"))
    assert read_pickle(b"c" + "\n".join(FUNCTION).encode() + b"\n.", "here", NAMES) == Symbol(*FUNCTION)


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_noise_is_refused_or_plain(data: bytes) -> None:
    try:
        found = read_pickle(data, "here", NAMES)
    except AutosegError:
        return
    assert isinstance(found, (type(None), bool, int, float, str, bytes, list, tuple, dict, Symbol))


def test_struct_knows_every_scalar() -> None:
    from autoseg.core.pickle_reader import _SCALARS

    for code, letter in _SCALARS.items():
        assert struct.calcsize("<" + letter) == np.dtype(code).itemsize
