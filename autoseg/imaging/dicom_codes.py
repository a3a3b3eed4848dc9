"""Coded concepts for structures, from their names: SNOMED CT where the name is one of DICOM's, else a private code.

DICOM lists the concepts that a segment may be of (PS3.16, CID 7192 anatomical structures, CID 7194 morphologically
altered ones). A name is looked up in these lists alone: the whole vocabulary would turn "anterior" into an adjective.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from planners.fingerprint import Label

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99AUTOSEG"
LONGEST_TEXT = 64  # characters of an LO

_UNSAID = frozenset({"of", "the", "structure"})
_SIDES = frozenset({"left", "right"})
_SAME: Mapping[str, str] = {
    "tumor": "neoplasm",
    "tumors": "neoplasm",
    "tumour": "neoplasm",
    "tumours": "neoplasm",
    "cancer": "neoplasm",
    "metastasis": "neoplasm secondary",
    "oedema": "edema",
    "haemorrhage": "hemorrhage",
    "oesophagus": "esophagus",
    "kidneys": "kidney",
    "lungs": "lung",
    "lesions": "lesion",
    "nodules": "nodule",
    "cysts": "cyst",
    "hippocampi": "hippocampus",
    "urinary": "",  # the urinary bladder is DICOM's bladder
}
"""Spellings and plurals of words that data sets use, as DICOM has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """What a structure is: its category, its type, and its side where the name says it."""

    category: "Code"
    kind: "Code"
    side: "Code | None" = None


def codes_of(label: Label) -> Coded:
    """Return the codes of a label by its name.

    >>> codes_of(Label(name="kidney_left", values=(2,))).kind.meaning
    'Kidney'
    >>> codes_of(Label(name="thing", values=(2,))).kind.scheme_designator
    '99AUTOSEG'

    """
    from pydicom.sr.coding import Code

    organ = Code("91723000", "SCT", "Anatomical Structure")
    change = Code("49755003", "SCT", "Morphologically Altered Structure")
    words = _words(label.name)
    for sided in (False, True):
        sides = words & _SIDES if sided else frozenset()
        for table, category in ((_anatomical(), organ), (_altered(), change)):
            kind = table.get(words - sides)
            if kind is not None and len(sides) <= 1:
                return Coded(category=category, kind=kind, side=_side(next(iter(sides), "")))
    private = Code(f"LABEL{label.values[0]}", PRIVATE_SCHEME, label.name[:LONGEST_TEXT])
    return Coded(category=organ, kind=private)


def _side(name: str) -> "Code | None":
    from pydicom.sr.coding import Code

    return {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}.get(name)


def _words(name: str) -> frozenset[str]:
    """Return the words of a name in lower case: `leftKidney`, `left_kidney` and `Kidney, left` have the same."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = re.split(r"[\W_]+", apart)
    return frozenset(" ".join(_SAME.get(word, word) for word in words).split()) - _UNSAID


@cache
def _anatomical() -> Mapping[frozenset[str], "Code"]:
    from pydicom.sr.codedict import codes

    return _by_words(codes.cid7192.concepts)


@cache
def _altered() -> Mapping[frozenset[str], "Code"]:
    from pydicom.sr.codedict import codes

    return _by_words(codes.cid7194.concepts)


def _by_words(concepts: Mapping[str, "Code"]) -> Mapping[frozenset[str], "Code"]:
    """Return SNOMED concepts by the words of their meaning; where two share them, neither: it would be a guess."""
    table: dict[frozenset[str], Code] = {}
    doubled: set[frozenset[str]] = set()
    for code in concepts.values():
        words = _words(code.meaning)
        if code.scheme_designator == "SCT":
            if words in table and table[words] != code:
                doubled.add(words)
            table[words] = code
    return {words: code for words, code in table.items() if words not in doubled}
