"""Write docs/licences.md anew: every package that autoseg and its extras bring along, and its licence.

python -m docs.make_licences
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from autoseg.core.files import write_text

PAGE = Path(__file__).parent / "licences.md"
PERMITTED = re.compile(
    r"\b(apache|bsd|0bsd|mit|mit-cmu|isc|psf|python software foundation|mpl|mozilla public|zlib|cc0|bsl|unlicense)\b",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(r"\b(a|l)?gpl\b|gnu (affero |lesser )?general public", re.IGNORECASE)

EXTRAS = frozenset({"onnx", "zarr", "tensorboard"})
"""What a user may install beside the core; the extra for tests is left out."""

_INTRODUCTION = """# Licences

Made by `python -m docs.make_licences` from the metadata of what is installed with `constraints.txt`, the extras onnx,
zarr and tensorboard among it; do not edit. A test holds that nothing under GPL, LGPL or AGPL comes along. Known
vulnerabilities of the pinned versions: `pip install pip-audit && pip-audit -r constraints.txt` (it asks a database on
the network, so no test does).

| package | licence |
| --- | --- |
"""


def installed_with(name: str, extras: frozenset[str] = EXTRAS) -> dict[str, Distribution]:
    """Return every package that `name` with some extras requires, directly or not, by its normalised name.

    Raises:
        PackageNotFoundError: one that this platform needs is not installed.

    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        current, extra = waiting.pop()
        key = re.sub(r"[-_.]+", "-", current).lower()
        if (key, extra) in seen:
            continue
        seen.add((key, extra))
        found[key] = distribution(current)
        for line in found[key].requires or []:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                waiting += [(wanted.name, each) for each in ("", *wanted.extras)]
    del found[re.sub(r"[-_.]+", "-", name).lower()]
    return found


def licence_of(package: Distribution) -> str:
    """Return a package's licence in its own words: the expression, else the classifiers, else the first line."""
    metadata = package.metadata
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")
    ]
    named = [line for line in classifiers if line != "OSI Approved"]
    text = (metadata.get("License") or "").strip()
    return ", ".join(named) or " ".join(text.splitlines()[0].split() if text else ["not stated"])


def rows() -> Iterator[tuple[str, str]]:
    """Yield (package, licence), sorted."""
    for name, package in sorted(installed_with("autoseg").items()):
        yield name, licence_of(package)


def page() -> str:
    """Return the whole page."""
    return _INTRODUCTION + "".join(f"| {name} | {licence} |\n" for name, licence in rows())


if __name__ == "__main__":
    write_text(PAGE, page())
    sys.stdout.write(f"{PAGE.name} written\n")
