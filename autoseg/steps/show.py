"""show: what a model, a workspace or a record holds, in a few lines."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from autoseg.core.calibration import CALIBRATION_NAME, Calibration
from autoseg.core.errors import AutosegError
from autoseg.core.plans import read_plan
from autoseg.core.quality import QUALITY_NAME, Quality
from autoseg.core.records import read_record
from autoseg.predicting.presets import known_presets
from autoseg.predicting.records import PresetsRecord
from planners.fingerprint import Fingerprint
from planners.plan import Plan

if TYPE_CHECKING:
    from autoseg.learning.model_files import ModelRecord

RESEARCH_USE = "research use, not a diagnosis"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownNetwork:
    """One trained network of a model; `validation_dice` is None where nothing was validated.

    `finished` is False for what a stopped training left; `schedule` says how the learning rate went and why it ended.
    """

    configuration: str
    fold: int
    steps: int
    training_seconds: float
    validation_dice: float | None
    finished: bool = True
    schedule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A model at a glance: what it was trained on, what it takes, what it gives.

    `ensemble` are the configurations that predict together, where they are several. `presets` is None where they were
    not measured with these networks. `judged` says what temperatures and the quality estimate were learned from.
    """

    schema: ClassVar[str] = "autoseg.card/1"

    model: str
    dataset: str
    version: str
    n_cases: int
    channels: tuple[str, ...]
    modalities: tuple[str, ...]
    labels: tuple[str, ...]
    configuration: str
    spacing_mm: tuple[float, ...]
    patch: tuple[int, ...]
    networks: tuple[ShownNetwork, ...]
    ensemble: tuple[str, ...] = ()
    presets: PresetsRecord | None = None
    use: str = RESEARCH_USE
    judged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A record and its text."""

    record: object
    text: str


def show(place: Path) -> Shown:
    """Describe the model or workspace at `place`, also one of nnU-Net's, or print the JSON record that it is.

    Raises:
        AutosegError: there is nothing that can be shown.

    """
    if place.is_file() and place.suffix.lower() != ".zip":
        return _show_record(place)
    if place.exists() and _is_nnunet(place):
        card = nnunet_card(place)
        return Shown(record=card, text=card_text(card))
    if not place.is_dir():
        raise AutosegError.at(place, "no such file or folder", "give a workspace, its model/ or one of its records")
    card = model_card(place)
    return Shown(record=card, text=card_text(card))


def model_card(place: Path) -> ModelCard:
    """Return the card of the model that `place` is or holds.

    Raises:
        AutosegError: there is no model, or one of its records is damaged.

    """
    from autoseg.learning.model_files import FINGERPRINT_NAME, PLAN_NAME, find_model, load_model_record

    folder = find_model(place)
    record = load_model_record(folder)
    plan = read_plan(folder / PLAN_NAME)
    fingerprint = read_record(folder / FINGERPRINT_NAME, Fingerprint)
    presets = known_presets(folder, record.predicting, [network.sha256 for network in record.networks])
    return replace(_card(str(folder), record, (plan, fingerprint), presets), judged=tuple(_judged(folder)))


def nnunet_card(place: Path) -> ModelCard:
    """Return the card of a model that nnU-Net trained: its results folder or exported zip.

    Raises:
        AutosegError: it is damaged, or of a kind that cannot be run.

    """
    from autoseg.learning.nnunet_model import open_nnunet

    opened = open_nnunet(place)
    record = replace(opened.record, version=f"{opened.record.version} (a model of nnU-Net's)")
    return _card(str(place), record, (opened.plan, opened.fingerprint), None)


def _judged(folder: Path) -> Iterator[str]:
    """Say what the temperatures and the quality estimate beside a model were learned from, where they are there."""
    calibration, quality = folder / CALIBRATION_NAME, folder / QUALITY_NAME
    if calibration.is_file():
        fitted = read_record(calibration, Calibration)
        for each in fitted.temperatures:
            of = f" of {each.of}" if each.of else ""
            value = f"{each.temperature:.4g}" if each.temperature is not None else f"not fitted: {each.because}"
            yield f"temperature    {value}{of}, from {fitted.n_cases} unseen cases, by the network of one fold each"
    if quality.is_file():
        known = read_record(quality, Quality)
        alone = "; disagreement of networks is no sign in it" if len(known.configurations) == 1 else ""
        yield f"quality        learned from {known.n_cases} unseen cases, by the network of one fold each{alone}"


def _is_nnunet(place: Path) -> bool:
    from autoseg.learning.nnunet_folder import is_nnunet

    return is_nnunet(place)


def _card(
    place: str, record: "ModelRecord", planned: tuple[Plan, Fingerprint], presets: PresetsRecord | None
) -> ModelCard:
    plan, fingerprint = planned
    configuration = plan.configuration(record.configuration)
    return ModelCard(
        model=place,
        dataset=record.dataset,
        version=record.version,
        n_cases=fingerprint.n_training if fingerprint.cases_from == "plan" else len(fingerprint.cases),
        channels=plan.channels,
        modalities=tuple(channel.modality for channel in fingerprint.channels),
        labels=tuple(label.name for label in plan.labels if label.role == "foreground"),
        configuration=record.configuration,
        spacing_mm=configuration.spacing_mm,
        patch=configuration.patch,
        networks=tuple(
            ShownNetwork(
                configuration=network.configuration,
                fold=network.fold,
                steps=network.steps,
                training_seconds=network.seconds,
                validation_dice=network.validation_dice,
                finished=network.finished,
                schedule=network.schedule,
            )
            for network in record.networks
        ),
        ensemble=record.ensemble,
        presets=presets,
    )


def card_text(card: ModelCard) -> str:
    """Return the card as lines for people."""
    lines = [
        f"model          {card.model}",
        f"trained on     {card.dataset}, {card.n_cases} cases, autoseg {card.version}",
        f"takes          {', '.join(f'{c} ({m})' for c, m in zip(card.channels, card.modalities, strict=True))}",
        f"gives          {', '.join(card.labels)}",
        f"predicts with  {card.configuration}, patch {_axes(card.patch)} at {_axes(card.spacing_mm)} mm",
    ]
    for network in card.networks:
        dice = "not validated" if network.validation_dice is None else f"validation Dice {network.validation_dice:.4f}"
        if not network.finished:
            dice = "unfinished: training was stopped; the same command goes on"
        lines.append(
            f"network        {network.configuration} fold {network.fold}: {network.steps} steps,"
            f" {network.training_seconds:.0f} s, {dice}"
        )
        lines += [f"trained by     {network.schedule}"] if network.schedule else []
    if card.ensemble:
        lines.append(f"together with  {', '.join(name for name in card.ensemble if name != card.configuration)}")
    return "\n".join([*lines, *card.judged, *_preset_lines(card), card.use])


def _preset_lines(card: ModelCard) -> Iterator[str]:
    if card.presets is None:
        yield "presets        not measured; in a workspace: autoseg show WORKSPACE --measure"
        return
    for row in card.presets.presets:
        dice = "undefined" if row.mean_dice is None else f"{row.mean_dice:.4f}"
        seconds = row.seconds_per_case * row.networks_used / row.networks_measured
        differing = "" if row.differing is None else f", {row.differing:.2%} of voxels unlike the default's"
        skipped = f", {row.windows_skipped / row.windows:.0%} of windows skipped" if row.windows_skipped else ""
        yield (
            f"preset         {row.preset}: {seconds:.3g} s a case on this {card.presets.device}, Dice {dice}"
            f" ({row.cases} validation cases){differing}{skipped}"
        )


def _axes(values: Sequence[float]) -> str:
    return "x".join(f"{value:.4g}" for value in values)


def _show_record(path: Path) -> Shown:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AutosegError.at(
            path, "not a JSON record", "give a workspace, a model/ or one of their records"
        ) from error
    return Shown(record=document, text=json.dumps(document, indent=1, ensure_ascii=False))
