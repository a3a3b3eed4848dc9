"""The model card: what is known from the records, and what the user wrote into model_card.toml in the workspace.

The headings follow Mitchell et al., Model Cards for Model Reporting (FAT* 2019).
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.files import write_text
from autoseg.core.statistics import CAUTION_PATIENTS
from autoseg.reporting.markup import paragraph, section, subsection
from autoseg.reporting.material import Material, Validated
from planners.fingerprint import Fingerprint, Label

_LOW_DICE = 0.7
"""Below it structures of more than a few millilitres are visibly wrong in most cases."""
_MODALITIES = {"ct": "CT", "mr": "MR", "pet": "PET", "rgb": "colour", "xray": "X-ray", "microscopy": "microscopy"}

_ELSEWHERE = (
    "Tested only on cases of the same collection: at another site, on another scanner or in other patients it may be"
    " worse. The folder does not say age, sex, origin or scanner, so nothing is known about groups of patients."
)

HEADINGS = {
    "intended_use": "Intended use",
    "out_of_scope": "Not for",
    "data": "Data",
    "limits": "Limits",
    "ethics": "Ethics and approvals",
    "contact": "Contact and licence",
}
"""Keys of model_card.toml and what they are called on the page."""

_QUESTIONS = {
    "intended_use": "Who is it for, on which images, for which decision?",
    "out_of_scope": "What must it not be used for?",
    "data": "Where are the images from: sites, scanners, years, patients? Who drew the references, by which protocol?",
    "limits": "Where is it known to fail? Which patients, scanners or findings were not in the data?",
    "ethics": "Consent, approval of an ethics committee, de-identification.",
    "contact": "Who answers questions, and under which licence may the model be used?",
}

TEMPLATE = "\n".join(
    [
        "# The model card of report.html. What you write between the quotes appears there, beside what autoseg knows",
        "# from the records. autoseg makes this file once and never changes it; `autoseg report` makes the page anew.",
        *(f'\n# {_QUESTIONS[key]}\n{key} = """\n"""' for key in HEADINGS),
        "",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the user wrote, by key of HEADINGS; `problem` says why the file could not be taken, empty when it could."""

    texts: dict[str, str]
    problem: str = ""


def start_card(path: Path) -> None:
    """Write the file with its questions where there is none yet."""
    if not path.exists():
        write_text(path, TEMPLATE)


def read_card(path: Path) -> Written:
    """Read what the user wrote. A mistake there costs the text, not the report: it is told on the page."""
    if not path.is_file():
        return Written(texts={})
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Written(texts={}, problem=f"{path.name} is not TOML ({error}): nothing of it is shown here")
    unknown = [key for key, value in document.items() if key not in HEADINGS or not isinstance(value, str)]
    texts = {key: document[key].strip() for key in HEADINGS if key in document and key not in unknown}
    problem = f"{path.name}: {', '.join(unknown)} is no text that belongs here; use {', '.join(HEADINGS)}"
    return Written(texts=texts, problem=problem if unknown else "")


def model_card_section(material: Material) -> str:
    """Show what is known and what was written, heading by heading."""
    if material.fingerprint is None and material.dataset is None:
        return ""
    written = read_card(material.root / "model_card.toml")
    known = {"intended_use": _use(material), "data": _data(material), "limits": _limits(material)}
    parts = [paragraph(f"Problem: {written.problem}.", "warning")] if written.problem else []
    for key, title in HEADINGS.items():
        texts = [paragraph(sentence) for sentence in known.get(key, ())]
        texts += [paragraph(text, "own") for text in written.texts.get(key, "").split("\n\n") if text]
        parts.append(subsection(title, *texts))
    empty = [title for key, title in HEADINGS.items() if not written.texts.get(key)]
    asked = f"Nobody has written yet about: {', '.join(empty).lower()}. Fill in model_card.toml in the workspace."
    return section("card", "Model card", *parts, paragraph(asked, "soft") if empty else "")


def _use(material: Material) -> tuple[str, ...]:
    labels = _foreground(material)
    what = f"Draws {_listed([label.name for label in labels])}" if labels else "Draws labels"
    return (f"{what} in {_images(material)} like those it was trained on. Research use, not a diagnosis.",)


def _data(material: Material) -> tuple[str, ...]:
    said = []
    dataset, fingerprint = material.dataset, material.fingerprint
    if dataset:
        groups = len({case.group for case in dataset.cases})
        patients = f" of {groups} patients or groups" if groups < len(dataset.cases) else ""
        said.append(f"{len(dataset.cases)} labelled cases{patients} from the folder {Path(dataset.folder).name}.")
    if fingerprint:
        said.append(_extent(fingerprint))
    for validated in material.validated[:1]:
        n = len(validated.scores.cases)
        said.append(f"{n} of them judged networks that had not seen them; no case is from elsewhere.")
    return tuple(said)


def _limits(material: Material) -> tuple[str, ...]:
    said = [_ELSEWHERE]
    if material.dataset and len({case.group for case in material.dataset.cases}) < CAUTION_PATIENTS:
        said.append(f"Fewer than {CAUTION_PATIENTS} patients: what is rare among them is all but unknown to the model.")
    weak = [text for validated in material.validated[:1] for text in _weak(validated)]
    if weak:
        said.append(f"Weak structures, by mean Dice of unseen cases: {_listed(weak)}.")
    found = material.inspection.findings if material.inspection else ()
    warnings = sum(finding.severity == "warning" for finding in found)
    if warnings:
        said.append(
            f"The data have {warnings} finding{'s' if warnings > 1 else ''} that may spoil training (see data)."
        )
    return tuple(said)


def _weak(validated: Validated) -> list[str]:
    rows = [row for row in validated.scores.summaries if row.metric == "dice"]
    names = {label.name for label in validated.scores.labels}
    return [f"{r.label} {r.mean:.2f}" for r in rows if r.label in names and r.mean is not None and r.mean < _LOW_DICE]


def _extent(fingerprint: Fingerprint) -> str:
    flat = all(case.dimensions == 2 for case in fingerprint.cases)
    axes = range(1, 3) if flat else range(3)
    spacings = [_range([case.spacing_mm[axis] for case in fingerprint.cases]) for axis in axes]
    shapes = [_range([float(case.shape[axis]) for case in fingerprint.cases]) for axis in axes]
    unit = "y, x" if flat else "z, y, x"
    return f"Voxels of {' x '.join(spacings)} mm ({unit}), images of {' x '.join(shapes)} voxels."


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def _images(material: Material) -> str:
    if material.fingerprint is None:
        return "images"
    kinds = dict.fromkeys(_MODALITIES.get(c.modality, "") for c in material.fingerprint.channels)
    named = [kind for kind in kinds if kind]
    return f"{_listed(named)} images" if named else "images"


def _foreground(material: Material) -> tuple[Label, ...]:
    labels = (
        material.dataset.labels if material.dataset else material.fingerprint.labels if material.fingerprint else ()
    )
    return tuple(label for label in labels if label.role == "foreground")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
