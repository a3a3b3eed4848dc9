"""What a user may say on the command line or from Python, as frozen records, and the words they say it in."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from cyclopts import Parameter

from autoseg.core.errors import AutosegError
from autoseg.datasets.options import Allowed
from planners.recipe import Budget

Device = Literal["auto", "cpu", "cuda", "mps"]

DEFAULT_CPU_BUDGET_S = 3600.0
"""Without a GPU nobody means "until it converges"; an hour is a coffee and a result."""

_UNIT_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_UNIT_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """How a command talks; the same for all of them."""

    json: bool = False
    """Print the record as JSON on stdout, nothing else."""

    verbose: Annotated[bool, Parameter(alias="-v")] = False
    """Show tracebacks."""

    quiet: Annotated[bool, Parameter(alias="-q")] = False
    """No progress; errors only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where the report lies."""

    report: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAndTrainOptions:
    """How to go from a folder to a model; every field has a default that needs no thought."""

    workspace: Path | None = None
    """Where everything made goes; by default ./NAME.autoseg."""

    budget: str = "auto"
    """Time for the whole job: 30m, 3h, none (until validation rises no more); auto: 1h on a CPU, none on a GPU."""

    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""

    configurations: str = "auto"
    """Which networks: auto (the one the planner puts first), or names such as 2d,3d_fullres."""

    folds: str = "auto"
    """Which folds: auto (one), how many of them (1 to 5), or their numbers with commas such as 0,2."""

    recipe: str = "auto"
    """Planning rules: auto, nnunet, nnunet-resenc, nnunet-resenc-m, -l or -xl."""

    steps: int | None = None
    """Training steps per network, instead of a budget; makes runs repeatable to the last bit on a CPU."""

    start_from: Annotated[Path | None, Parameter(name="--from")] = None
    """A model to begin with (its labels and channels may be others), or a file with a self-supervised encoder."""

    seed: int | None = None
    """Seed of folds, initial weights, sampling and augmentation; by default the workspace's, 0 in a new one."""

    deterministic: bool = False
    """Only operations that repeat to the last bit, in float32; with --steps two runs on a CPU are then equal."""

    force: bool = False
    """Make everything anew, also what is finished."""


class PlanAndTrainKeywords(TypedDict, total=False):
    """The fields of PlanAndTrainOptions as keywords of `autoseg.plan_and_train`."""

    workspace: Path | None
    budget: str
    device: Device
    configurations: str
    folds: str
    recipe: str
    steps: int | None
    start_from: Path | None
    seed: int | None
    deterministic: bool
    force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCommand:
    """What `autoseg plan` may be told."""

    workspace: Path | None = None
    """Where everything made goes; by default ./NAME.autoseg."""

    recipe: str = "auto"
    """Planning rules: auto, nnunet, nnunet-resenc, nnunet-resenc-m, -l or -xl."""

    budget: str = "auto"
    """Time the whole job may take, such as 30m or 3h; none trains until validation rises no more."""

    steps: int | None = None
    """Training steps per network, instead of a budget."""

    explain: bool = False
    """Print every decision with its reason."""

    dry_run: bool = False
    """Write nothing."""

    write_nnunet: Path | None = None
    """Folder for the plan and the fingerprint in nnU-Net's format."""

    from_nnunet: Path | None = None
    """A nnUNetPlans.json to take the plan from, instead of making one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainCommand:
    """What `autoseg train` may be told."""

    configuration: Annotated[str | None, Parameter(alias="--configurations")] = None
    """A configuration of the plan, or several with commas; by default its first."""

    fold: int = 0
    """Number of the fold."""

    budget: str = "auto"
    """Time to train, such as 30m; none follows the plan's steps."""

    steps: int | None = None
    """Training steps, instead of a budget."""

    more: str | None = None
    """Train a finished network on, for a time such as 10m or a number of steps such as 500; kept if not worse."""

    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""

    start_from: Annotated[Path | None, Parameter(name="--from")] = None
    """A model to begin with, or a file with an encoder; the plan is made anew for it."""

    seed: int | None = None
    """Seed of initial weights, sampling and augmentation; by default the workspace's."""

    deterministic: bool = False
    """Only operations that repeat to the last bit, in float32; with --steps two runs on a CPU are then equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictCommand(Allowed):
    """What `autoseg predict` must and may be told.

    Attributes:
        allow_resample: put a DICOM series with missing slices, uneven distances or gantry tilt on a regular grid.
        allow_missing_chunks: take absent chunks of an OME-Zarr for empty space; they may be lost ones.
        spacing_mm: voxel size of NPY and NPZ files in mm, slowest axis first: Z,Y,X or Y,X.

    """

    model: Path
    """A workspace after training, its model folder, or a model of nnU-Net's: its results folder or exported zip."""

    output: Annotated[Path, Parameter(alias="-o")]
    """Folder for the label maps and measurements.csv."""

    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    preset: Literal["fast", "default", "best"] = "default"
    """How much work: fast, default or best; `autoseg show MODEL` prints what each takes and gives."""

    fast: bool = False
    """The same as --preset fast: one network, fewer windows, no mirroring, and windows alike to 0.002 of the image's
    normalised values (whose spread is 1) are predicted once."""

    best: bool = False
    """The same as --preset best."""

    configurations: str = "auto"
    """Which networks predict together: auto (what the model says), or names such as 2d,3d_fullres."""

    mirror: Annotated[bool | None, Parameter(negative="--no-mirror")] = None
    """Average over mirrored views: slower, sometimes better; by default as preset and model say."""

    probabilities: bool = False
    """Write probabilities, too: OUTPUT/probabilities/CASE.b2nd, a compressed array (label, z, y, x)."""

    strict: bool = False
    """Refuse images unlike those that the model was trained on, instead of warning."""

    max_ram: str = "auto"
    """Memory that prediction may take, such as 4G or 800M; auto: three quarters of what is free."""

    format: Literal["nifti", "dicom-seg", "sr"] = "nifti"
    """Of a DICOM series: NIfTI, a DICOM SEG, or a SEG with a structured report of the volumes (sr)."""

    @property
    def chosen_preset(self) -> Literal["fast", "default", "best"]:
        """The preset that --preset, --fast and --best mean.

        Raises:
            AutosegError: they contradict each other.

        """
        fast, best = self.fast or self.preset == "fast", self.best or self.preset == "best"
        if fast and best:
            raise AutosegError.at("--preset", "fast and best at once", "give one of them")
        return "fast" if fast else "best" if best else "default"

    @property
    def max_ram_bytes(self) -> int | None:
        """Memory that prediction may take, None for what is free; errors as `parse_bytes`."""
        return parse_bytes(self.max_ram)

    @property
    def chosen_configurations(self) -> tuple[str, ...]:
        """Names of the configurations that predict together, () for those that the model names."""
        return parse_configurations(self.configurations)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldChoice:
    """Which folds to train: their numbers, or the first `count` of the split."""

    count: int | None
    numbers: tuple[int, ...]


def parse_budget(text: str) -> float | None:
    """Return the seconds that `text` (90s, 30m, 3h, 1h30m, 2d) means, None for `none`.

    Raises:
        AutosegError: it means nothing, or less than a second.

    """
    if text == "none":
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise AutosegError.at(f"--budget {text}", "not a time", "write it like 30m, 3h, 1h30m or none")
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    if seconds < 1:
        raise AutosegError.at(f"--budget {text}", "less than a second", "give the job some minutes, such as 10m")
    return seconds


def parse_more(text: str) -> Budget:
    """Return how long a finished network is trained on: `text` is a time such as 10m, or a number of steps.

    Raises:
        AutosegError: it is neither.

    """
    if re.fullmatch(r"[1-9]\d*", text):
        return Budget(steps=int(text))
    try:
        seconds = parse_budget(text)
    except AutosegError:
        seconds = None
    if seconds is None:
        raise AutosegError.at(f"--more {text}", "neither a time nor steps", "write a time like 10m, or steps like 500")
    return Budget(seconds=seconds)


def parse_folds(text: str, *, cascade: bool = False) -> FoldChoice:
    """Return the folds that `text` means: `auto`, a count such as `5`, or numbers such as `0,2`.

    For a cascade one fold is the first of the usual split: in all of them the stage before is trained.

    Raises:
        AutosegError: it is none of these.

    """
    if cascade and text in {"auto", "1"}:
        return FoldChoice(count=None, numbers=(0,))
    if text == "auto":
        return FoldChoice(count=1, numbers=())
    if re.fullmatch(r"[1-9]\d?", text):
        return FoldChoice(count=int(text), numbers=())
    if re.fullmatch(r"\d+(,\d+)*,?", text) and "," in text:
        return FoldChoice(count=None, numbers=tuple(sorted({int(n) for n in text.split(",") if n})))
    raise AutosegError.at(
        f"--folds {text}", "not a choice of folds", "write auto, a number such as 5, or a list such as 0,2"
    )


def parse_bytes(text: str) -> int | None:
    """Return the bytes that `text` (4G, 1.5G, 800M) means, in powers of 1024; None for `auto`.

    Raises:
        AutosegError: it means nothing.

    """
    if text == "auto":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT])i?B?", text)
    if not found or float(found[1]) == 0:
        raise AutosegError.at(f"--max-ram {text}", "not an amount of memory", "write it like 4G or 800M")
    return int(float(found[1]) * _UNIT_BYTES[found[2]])


def parse_configurations(text: str) -> tuple[str, ...]:
    """Return the configuration names in `text` (commas between); empty for `auto`."""
    return () if text == "auto" else tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def describe_seconds(seconds: float | None) -> str:
    """Return a time as people write it: 45s, 15m, 1h30m; `none` for None.

    >>> describe_seconds(5400)
    '1h30m'
    """
    if seconds is None:
        return "none"
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenBudget:
    """What a job may use, and where that comes from, in words."""

    budget: Budget
    because: str


def choose_budget(text: str, steps: int | None, *, has_gpu: bool) -> ChosenBudget:
    """Return the budget that `--budget` and `--steps` mean on this machine.

    Raises:
        AutosegError: both are given, or one of them makes no sense.

    """
    if steps is not None:
        if text != "auto":
            raise AutosegError.at("--budget and --steps", "both given", "give one of them")
        if steps < 1:
            raise AutosegError.at(f"--steps {steps}", "not a number of steps", "give 1 or more")
        return ChosenBudget(budget=Budget(steps=steps), because=f"{steps} steps per network (--steps)")
    if text != "auto":
        seconds = parse_budget(text)
        return ChosenBudget(budget=Budget(seconds=seconds), because=f"{describe_seconds(seconds)} (--budget)")
    if has_gpu:
        return ChosenBudget(budget=Budget(), because="none (default on a GPU: trains until validation rises no more)")
    because = f"{describe_seconds(DEFAULT_CPU_BUDGET_S)} (default on a CPU)"
    return ChosenBudget(budget=Budget(seconds=DEFAULT_CPU_BUDGET_S), because=because)


def share_budget(budget: Budget, networks: int) -> Budget:
    """Return what each of `networks` may use of a job's budget; steps are per network already."""
    return budget if budget.seconds is None else Budget(seconds=budget.seconds / networks)
