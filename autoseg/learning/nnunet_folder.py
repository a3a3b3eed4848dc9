"""Where the files of a model trained with nnU-Net 2 are: a results folder, or the zip that it exports.

A trained configuration is a folder TRAINER__PLANS__CONFIGURATION with dataset.json, plans.json and
fold_*/checkpoint_final.pth. A data set's folder holds several of them.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.core.archives import Place, open_archive, read_bytes
from autoseg.core.errors import AutosegError
from autoseg.core.pickle_reader import BYTES_MAX, Symbol, read_pickle
from autoseg.core.runtime import say

PLANS, DATASET, CHECKPOINT = "plans.json", "dataset.json", "checkpoint_final.pth"
_JSON_BYTES_MAX = 256 << 20
_LEVELS = 2  # a zip holds Dataset/TRAINER__PLANS__CONFIGURATION
_PREFERRED = ("3d_fullres", "3d_cascade_fullres", "2d", "3d_lowres")
"""What predicts when a data set's folder names no best one: nnU-Net's usual choice first."""

_KEEP_LARGEST = Symbol(
    "nnunetv2.postprocessing.remove_connected_components", "remove_all_but_largest_component_from_segmentation"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The trained configurations that predict together, and their postprocessing file, if there is one."""

    members: tuple[Place, ...]
    postprocessing: Place | None


def is_nnunet(path: Path) -> bool:
    """Return whether `path` is a zip, or a folder that holds a model of nnU-Net's."""
    return zipfile.is_zipfile(path) if path.is_file() else bool(_trained(path))


def choose(path: Path, configurations: Sequence[str] = ()) -> Chosen:
    """Return what predicts: the wanted configurations, the one that `path` is, the best one by nnU-Net's search.

    Without any of them the first of its usual ones.

    Raises:
        AutosegError: there is none, what was chosen is not there, or models of several trainers or plans are.

    """
    root: Place = open_archive(path) if path.is_file() else path.absolute()
    found = _trained(root)
    if not found:
        raise AutosegError.at(path, "no model of nnU-Net's (no plans.json with dataset.json)", "give its folder or zip")
    if configurations:
        return _wanted(path, found, configurations)
    if len(found) == 1:
        return _alone(found[0])
    information = _beside(found[0], "inference_information.json")
    if information.is_file():
        return _best(information, {place.name: place for place in found})
    kinds = {place.name.rpartition("__")[0] for place in found}
    ranked = [place for name in _PREFERRED for place in found if place.name.endswith(f"__{name}")]
    if len(kinds) > 1 or not ranked:
        names = ", ".join(sorted(place.name for place in found))
        raise AutosegError.at(path, f"holds several models ({names})", "give the folder of one of them")
    others = ", ".join(sorted(place.name.rpartition("__")[2] for place in found if place is not ranked[0]))
    say(f"{ranked[0].name} predicts (default); {others} do too when their folder is given")
    return _alone(ranked[0])


def sibling(place: Place, configuration: str) -> Place:
    """Return the folder of another configuration that was trained beside the one at `place`, such as a first stage.

    Raises:
        AutosegError: it is not there.

    """
    other: Place = _beside(place, f"{place.name.rpartition('__')[0]}__{configuration}")
    if not (other / PLANS).is_file():
        raise AutosegError.at(
            str(other), f"missing: {place.name} needs what {configuration} predicts", "give a folder that holds both"
        )
    return other


def checkpoints(place: Place) -> tuple[tuple[int, Place], ...]:
    """Return the number and checkpoint of every fold of a trained configuration; fold_all, when alone, is number 0.

    Raises:
        AutosegError: no fold is trained to the end.

    """
    folds = {entry.name.removeprefix("fold_"): entry for entry in place.iterdir() if entry.name.startswith("fold_")}
    trained = {name: entry / CHECKPOINT for name, entry in folds.items() if (entry / CHECKPOINT).is_file()}
    missing = sorted(set(folds) - set(trained))
    numbers = sorted(int(name) for name in trained if name.isdecimal())
    if not trained or (not numbers and "all" not in trained):
        what = f"no fold with {CHECKPOINT}" + (f" (fold_{', fold_'.join(missing)} without)" if missing else "")
        raise AutosegError.at(str(place), what, "train it to the end, or copy the whole folder")
    if missing:
        say(f"{place.name}: fold_{', fold_'.join(missing)} without {CHECKPOINT}, left out")
    return tuple((number, trained[str(number)]) for number in numbers) or ((0, trained["all"]),)


def read_json(place: Place) -> Mapping[str, Any]:
    """Return the object in a JSON file.

    Raises:
        AutosegError: it is missing, or no JSON object.

    """
    try:
        found = json.loads(read_bytes(place, _JSON_BYTES_MAX))
    except (ValueError, RecursionError) as error:
        raise AutosegError.at(str(place), f"not valid JSON ({error})", "copy it again") from error
    if not isinstance(found, dict):
        raise AutosegError.at(str(place), "holds no JSON object", "copy it again")
    return found


def read_postprocessing(place: Place) -> tuple[tuple[int, ...], ...]:
    """Return for each step of a postprocessing.pkl the label values of which the largest component is kept.

    Raises:
        AutosegError: it is no such file, or has a step that we do not know.

    """
    known = frozenset({f"{_KEEP_LARGEST.module} {_KEEP_LARGEST.name}"})
    found = read_pickle(read_bytes(place, BYTES_MAX), str(place), known)
    steps = list(found) if isinstance(found, tuple) else []
    if len(steps) != 2 or not all(isinstance(part, list) for part in steps) or len(steps[0]) != len(steps[1]):
        raise AutosegError.at(str(place), "no list of functions and their arguments", "use nnU-Net's own file")
    return tuple(_values(place, *step) for step in zip(*steps, strict=True))


def _values(place: Place, function: object, arguments: object) -> tuple[int, ...]:
    given = dict(arguments) if isinstance(arguments, dict) else {}
    background = given.pop("background_label", 0)
    wanted = given.pop("labels_or_regions", None)
    entries = wanted if isinstance(wanted, list) else [wanted]
    flat = [value for entry in entries for value in (entry if isinstance(entry, tuple | list) else (entry,))]
    if function != _KEEP_LARGEST or background != 0 or given or not flat or {type(v) for v in flat} != {int}:
        raise AutosegError.at(str(place), f"a step that we do not know ({arguments!a})", "use nnU-Net's own file")
    return tuple(sorted(set(flat)))


def _trained(root: Place, levels: int = _LEVELS) -> list[Place]:
    """Return the folders of trained configurations at `root` or below, in the order of their names."""
    if (root / PLANS).is_file() and (root / DATASET).is_file():
        return [root]
    if levels == 0 or not root.is_dir():
        return []
    inside = sorted((entry for entry in root.iterdir() if entry.is_dir()), key=lambda entry: entry.name)
    return [place for entry in inside for place in _trained(entry, levels - 1)]


def _beside(place: Place, name: str) -> Place:
    """Return what is called `name` in the folder that holds `place`."""
    parent = place.parent
    assert isinstance(parent, Place)  # noqa: S101 (a part of an archive or folder has a parent of its kind)
    return parent / name


def _wanted(path: Path, found: Sequence[Place], configurations: Sequence[str]) -> Chosen:
    """Return the configurations of these names; several have no postprocessing, for nnU-Net searched none for them."""
    members = []
    for name in configurations:
        named = [place for place in found if place.name.endswith(f"__{name}")]
        if len(named) != 1:
            has = ", ".join(sorted(place.name for place in found))
            raise AutosegError.at(path, f"{len(named)} models {name} among {has}", "give the folder of one of them")
        members += named
    return _alone(members[0]) if len(members) == 1 else Chosen(members=tuple(members), postprocessing=None)


def _alone(place: Place) -> Chosen:
    """Return one configuration with the postprocessing that its cross-validation over the same folds found."""
    folds = "_".join(str(number) for number, _ in checkpoints(place))
    file = place / f"crossval_results_folds_{folds}" / "postprocessing.pkl"
    return Chosen(members=(place,), postprocessing=file if file.is_file() else None)


def _best(information: Place, found: Mapping[str, Place]) -> Chosen:
    """Return what nnUNetv2_find_best_configuration found to be best."""
    best = read_json(information).get("best_model_or_ensemble")
    try:
        models = best["selected_model_or_models"]  # type: ignore[index]  # checked by the except
        names = [f"{model['trainer']}__{model['plans_identifier']}__{model['configuration']}" for model in models]
        source = str(best["postprocessing_file"]).replace("\\", "/").split("/")[-2]  # type: ignore[index]
    except (TypeError, KeyError, IndexError) as error:
        raise AutosegError.at(str(information), f"names no best model ({error})", "give one model's folder") from error
    missing = [name for name in names if name not in found]
    if missing or not names:
        what = f"the best model {', '.join(missing)} is not there"
        raise AutosegError.at(str(information), what, "give the folder of one that is")
    members = tuple(found[name] for name in names)
    folder = members[0] if len(members) == 1 else _beside(information, "ensembles")
    file = folder / source / "postprocessing.pkl"
    return Chosen(members=members, postprocessing=file if file.is_file() else None)
