"""BIDS: images in `sub-*/`, labels in `derivatives/`, named by the same entities (sub, ses, sample, run ...)."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.datasets.arrangement import Arrangement, case_of, image_alone, structure_labels
from autoseg.datasets.dataset import Case, Inference
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Item, Listing
from autoseg.datasets.names import LABEL_WORDS, words
from autoseg.datasets.options import Options

_DERIVATIVES = "derivatives"
_SUBJECT = "sub-"
_SAID_BY_BIDS = frozenset({"dseg", "desc", "space", "orig", "res", "acq", "hemi", "probseg"})


@dataclass(frozen=True, slots=True)
class _Scan:
    """The images of one case: same entities, one file per suffix (T1w, FLAIR, SEM)."""

    entities: tuple[str, ...]
    images: tuple[tuple[str, Item], ...]


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return the cases of a BIDS folder with derivatives, or None if the folder is not laid out so."""
    if options.images or options.labels:
        return None
    bids = listing.where(lambda item: item.path.name.startswith(_SUBJECT))
    labels = [item for item in bids if item.path.parts[0] == _DERIVATIVES]
    scans = _scans([item for item in bids if _DERIVATIVES not in item.path.parts])
    if not scans or not labels:
        return None
    of_scan: dict[tuple[str, ...], dict[str, Item]] = {}
    for item in labels:
        scan = _scan_of(item, scans)
        if scan is not None:
            of_scan.setdefault(scan.entities, {})[_kind(item, scan)] = item
    kinds = sorted({kind for found in of_scan.values() for kind in found})
    combined = [kind for kind in kinds if _combines(kind, kinds)]
    kept = [kind for kind in kinds if kind not in combined]
    suffixes = sorted({suffix for scan in scans for suffix, _ in scan.images})
    cases, findings = _cases(scans, of_scan, kept, suffixes)
    value = f"{len(cases)} cases with labels in {_DERIVATIVES}"
    said = [Inference(what="layout", value=value, because="entities such as sub- in the names")]
    if len(kept) > 1:
        aside = f"; {', '.join(combined)} holds them together and is left aside" if combined else ""
        because = f"each case has a file for each{aside}"
        said.append(Inference(what="structures", value=", ".join(kept), because=because))
    return Arrangement(
        layout="BIDS",
        cases=cases,
        channels=tuple(suffixes) if len(suffixes) > 1 else None,
        labels=structure_labels(kept) if len(kept) > 1 else None,
        reference_kind="structures" if len(kept) > 1 else "map",
        inferences=tuple(said),
        findings=findings,
    )


def _parts(item: Item) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the entities (`sub-01`) and the other parts (`T1w`) of a name."""
    parts = item.stem.split("_")
    return tuple(p for p in parts if "-" in p), tuple(p for p in parts if "-" not in p)


def _scans(images: Sequence[Item]) -> tuple[_Scan, ...]:
    found: dict[tuple[str, ...], list[tuple[str, Item]]] = {}
    for item in images:
        entities, others = _parts(item)
        found.setdefault(entities, []).append(("_".join(others) or "image", item))
    return tuple(_Scan(entities, tuple(sorted(some, key=lambda pair: pair[0]))) for entities, some in found.items())


def _scan_of(label: Item, scans: Sequence[_Scan]) -> _Scan | None:
    """Return the scan whose entities the label has, the one with most of them if several fit."""
    entities = set(_parts(label)[0])
    fitting = [scan for scan in scans if set(scan.entities) <= entities]
    return max(fitting, key=lambda scan: len(scan.entities), default=None)


def _kind(label: Item, scan: _Scan) -> str:
    """Return what the label shows: `axon` of `sub-1_SEM_seg-axon-manual` beside the image `sub-1_SEM`."""
    entities, others = _parts(label)
    suffixes = {suffix for suffix, _ in scan.images}
    rest = [p for p in (*entities, *others) if p not in scan.entities and p not in suffixes]
    names = [word.text for part in rest for word in words(part)]
    kept = [name for name in names if name.lower() not in LABEL_WORDS | _SAID_BY_BIDS]
    return "-".join(kept) or "label"


def _combines(kind: str, kinds: Sequence[str]) -> bool:
    """Whether the name of a kind is made of the names of others: `axonmyelin` beside `axon` and `myelin`."""
    inside = [other for other in kinds if other != kind and other in kind]
    return len(inside) > 1 and sum(map(len, inside)) == len(kind.replace("-", ""))


def _cases(
    scans: Sequence[_Scan],
    of_scan: dict[tuple[str, ...], dict[str, Item]],
    kinds: Sequence[str],
    suffixes: Sequence[str],
) -> tuple[tuple[Case, ...], tuple[Finding, ...]]:
    cases: list[Case] = []
    findings: list[Finding] = []
    for scan in scans:
        labels = of_scan.get(scan.entities, {})
        first = scan.images[0][1]
        missing = [suffix for suffix in suffixes if suffix not in dict(scan.images)]
        if not any(kind in labels for kind in kinds):
            findings.append(image_alone(first, f"{_DERIVATIVES}/labels/{first.folder}/{first.stem}_dseg"))
        elif missing:
            what = f"channel {missing[0]} is missing"
            findings.append(Finding(severity="error", where=str(first.path), what=what, mend="add its file"))
        else:
            references = tuple(labels[kind].path if kind in labels else None for kind in kinds)
            cases.append(case_of("_".join(scan.entities), tuple(item.path for _, item in scan.images), references))
    return tuple(cases), tuple(findings)
