"""One folder of label files per structure: `masks/heart/`, `masks/left_lung/`."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from autoseg.datasets.arrangement import case_of, image_alone, label_alone
from autoseg.datasets.dataset import Case, Inference
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Item
from autoseg.datasets.names import TEST_WORDS, TRAIN_WORDS, VALIDATION_WORDS, has_word, words
from autoseg.datasets.pairing import pair

_FORMAT_WORDS = frozenset({"png", "gif", "tif", "tiff", "bmp", "nii", "nrrd"})


@dataclass(frozen=True, slots=True)
class Structures:
    """Cases with one reference file per structure."""

    cases: tuple[Case, ...]
    names: tuple[str, ...]
    findings: tuple[Finding, ...]
    inferences: tuple[Inference, ...]


def structure_folders(
    images: tuple[Item, ...], labels: tuple[Item, ...], root: PurePosixPath
) -> dict[str, tuple[Item, ...]] | None:
    """Return the label items per structure folder below `root`, or None when the labels are one map per case."""
    folders: dict[str, list[Item]] = {}
    for item in labels:
        folders.setdefault(item.folder.name, []).append(item)
    splits = TRAIN_WORDS | VALIDATION_WORDS | TEST_WORDS
    names = [name for name in folders if name != root.name]
    if len(names) < 2 or len(names) < len(folders) or any(has_word(name, splits) for name in names):
        return None
    if {item.folder.name for item in images} & set(names):
        return None
    return {name: tuple(folders[name]) for name in names}


def read_structures(
    images: tuple[Item, ...], root: PurePosixPath, structures: dict[str, tuple[Item, ...]]
) -> Structures:
    """Pair the images with the files of each structure; a structure may be absent from a case."""
    why: list[Inference] = []
    copies = [name for name in structures if _without_format(name) != name and _without_format(name) in structures]
    if copies:
        because = "the same structures in another file format"
        why.append(Inference(what="labels", value=f"left aside {', '.join(copies)}", because=because))
    names = tuple(name for name in structures if name not in copies)
    references: dict[tuple[PurePosixPath, ...], dict[str, PurePosixPath]] = {}
    case_names: dict[tuple[PurePosixPath, ...], str] = {}
    findings: list[Finding] = []
    for name in names:
        pairing = pair(images, structures[name], str(root / name))
        findings += [label_alone(item) for item in pairing.labels_alone]
        for found in pairing.pairs:
            key = tuple(item.path for item in found.images)
            references.setdefault(key, {})[name] = found.labels[0].path
            case_names[key] = found.name
    paired = {path for key in references for path in key}
    findings += [image_alone(i, f"{root}/{names[0]}/{i.stem}") for i in images if i.path not in paired]
    cases = tuple(
        case_of(case_names[key], key, tuple(files.get(name) for name in names)) for key, files in references.items()
    )
    why.append(Inference(what="structures", value=", ".join(names), because=f"{root} holds a folder for each"))
    return Structures(cases, names, tuple(findings), tuple(why))


def _without_format(name: str) -> str:
    parts = words(name)
    last = parts[-1] if parts else None
    return name[: last.start].rstrip("_-. ") if last and last.text.lower() in _FORMAT_WORDS else name
