"""One benchmark run as a record, and what it says about the machine it ran on."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar, Literal

from autoseg.core.runtime import cores, memory_bytes
from autoseg.core.statistics import Interval, PairedDifference

_PACKAGES = ("autoseg", "torch", "numpy", "scipy")
Method = Literal["network", "classical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine: `bf16` says whether the processor multiplies bfloat16 itself; `gpu` is None when none was used."""

    cpu: str
    cores: int
    memory_bytes: int
    bf16: bool
    gpu: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One judged case: the mean Dice over its labels."""

    case: str
    dice: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A published result on the same cases: `difference` is ours minus theirs."""

    name: str
    source: str
    difference: PairedDifference


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published mean Dice over other cases of the same task: it says where the field is, not who is better."""

    name: str
    dice: float
    per_label: tuple[float, ...]
    protocol: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A candidate of the classical baseline and its mean Dice over the cases held out in cross-validation."""

    name: str
    dice: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRecord:
    """What was run, where, how long it took, how much memory it used and how good it was.

    `peak_process_bytes` is the largest peak of any one process, `peak_total_bytes` the largest sum over processes at
    one moment (memory that processes share counts once for each). `processor_s` counts all cores; `energy_j` is of
    the processors' counters, None where they cannot be read (older records have neither). `peers` were compared case
    by case, `published` are means over other cases. `tried` are the candidates of the classical baseline.
    """

    schema: ClassVar[str] = "autoseg.benchmark/1"

    benchmark: str
    date: str
    commit: str
    command: str
    budget_s: float | None
    seed: int
    train_s: float
    predict_s: float
    peak_process_bytes: int
    peak_total_bytes: int
    hardware: Hardware
    versions: tuple[tuple[str, str], ...]
    n_training: int
    cases: tuple[CaseResult, ...]
    mean_dice: float
    mean_interval: Interval | None
    peers: tuple[Peer, ...]
    method: Method = "network"
    processor_s: float | None = None
    energy_j: float | None = None
    published: tuple[Published, ...] = ()
    tried: tuple[Tried, ...] = ()
    notes: tuple[str, ...] = ()


def this_hardware(device: str) -> Hardware:
    """Describe this machine (Linux)."""
    fields = [line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()]
    models = [value.strip() for key, _, value in fields if key.strip() == "model name"]
    flags = {flag for key, _, value in fields if key.strip() == "flags" for flag in value.split()}
    return Hardware(
        cpu=models[0] if models else platform.processor() or platform.machine(),
        cores=cores(),
        memory_bytes=memory_bytes(),
        bf16=bool(flags & {"avx512_bf16", "amx_bf16"}),
        gpu=_gpu() if device == "cuda" else None,
    )


def this_commit() -> str:
    """Return the commit of this checkout, with "+changes" when files of the product differ from it.

    Of an installed package, which has no checkout, the version.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return f"autoseg {_version('autoseg')}"
    commit = _said("git", "-C", str(root), "rev-parse", "HEAD")
    changes = _said("git", "-C", str(root), "status", "--porcelain", "--", "autoseg", "planners")
    return commit + ("+changes" if changes else "")


def these_versions() -> tuple[tuple[str, str], ...]:
    """Return (package, version) of what decides the numbers, Python first."""
    return (("python", platform.python_version()), *((package, _version(package)) for package in _PACKAGES))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _gpu() -> str:
    return _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()[0].strip()


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (literal commands)
    return done.stdout.strip()
