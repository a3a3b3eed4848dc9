"""Training speed beside nnU-Net's: samples per second, reading and augmentation included, of the same network.

python -m benchmarks.training_speed --datasets FOLDER --nnunet-python PYTHON
python -m benchmarks.training_speed --table
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any, ClassVar, Self

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_text
from autoseg.core.plans import read_plan
from autoseg.core.records import read_record, write_record
from benchmarks.nnunet_raw import DATASET_ID
from benchmarks.nnunet_training import Peer
from benchmarks.record import RESULTS, Hardware, these_versions, this_commit, this_hardware
from benchmarks.training_speed.compared import CONFIGURATION, compared_configuration, prepare_ours, prepare_theirs
from planners.plan import Configuration

OUTPUT = RESULTS / "training" / "speed.json"
README = RESULTS.parent / "README.md"
BEGIN = "<!-- made by `python -m benchmarks.training_speed --table`: do not edit -->"
END = "<!-- end of training speed -->"
ROOT = Path(__file__).parents[2]
LOADERS = (1, 2)
WARM_UP_S = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One program and precision: samples per second in each round, and the share of the time that batches took.

    The share is of the training's own thread: waiting for voxels, and augmentation where it runs there.
    """

    name: str
    samples_per_s: tuple[float, ...]
    median_samples_per_s: float
    data_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpeed:
    """All sides in one run, taking turns. `ratios` are the median of each of ours over the best of nnU-Net's."""

    schema: ClassVar[str] = "autoseg.training-speed/1"

    command: str
    commit: str
    hardware: Hardware
    versions: tuple[tuple[str, str], ...]
    nnunet_version: str
    patch: tuple[int, ...]
    batch: int
    features: tuple[int, ...]
    parameters: int
    rounds: int
    seconds_a_turn: float
    sides: tuple[Side, ...]
    ratios: tuple[tuple[str, float], ...]


class Child:
    """A program that trains when it is asked to, and is stopped by a signal otherwise, its loaders too."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        """Start it and wait until it is ready."""
        self.name = name
        self._log = log.open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            cwd=log.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        try:
            self.about = self._answer()
        except AutosegError:
            self._end()
            raise
        os.killpg(self._process.pid, signal.SIGSTOP)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it and all that it started."""
        self._end()

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._log.close()

    def turn(self, seconds: float) -> dict[str, float]:
        """Let it train for `seconds` and return its answer."""
        os.killpg(self._process.pid, signal.SIGCONT)
        self._say(WARM_UP_S)
        self._answer()
        self._say(seconds)
        answer = self._answer()
        os.killpg(self._process.pid, signal.SIGSTOP)
        return answer

    def _say(self, seconds: float) -> None:
        pipe = _pipe(self._process.stdin)
        pipe.write(f"{seconds}\n")
        pipe.flush()

    def _answer(self) -> dict[str, float]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            last = (Path(self._log.name).read_text(encoding="utf-8").strip().splitlines() or ["no message"])[-1]
            raise AutosegError.at(self.name, f"ended ({last})", f"read {self._log.name}")
        found: dict[str, float] = json.loads(line)
        return found


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        msg = "the child was started without pipes"
        raise ValueError(msg)
    return pipe


def children(peer: Peer, workspace: Path, stack: ExitStack) -> list[Child]:
    """Start both sides in all variants; each is stopped until its turn."""
    places = {f"nnUNet_{name}": str(peer.work / name) for name in ("raw", "preprocessed", "results")}
    theirs = [str(peer.python), "-m", "benchmarks.training_speed.theirs", str(DATASET_ID), CONFIGURATION]
    ours = [sys.executable, "-m", "benchmarks.training_speed.ours", str(workspace)]
    variants: list[tuple[str, list[str], dict[str, str]]] = [
        (f"nnU-Net, {n} loaders", theirs, places | {"nnUNet_n_proc_DA": str(n)}) for n in LOADERS
    ]
    kinds = ["float32", "bfloat16"] if this_hardware("cpu").bf16 else ["float32"]
    variants += [(f"autoseg, {kind}", [*ours, kind], {}) for kind in kinds]
    return [
        stack.enter_context(Child(name, command, environment, peer.work / f"{name}.log"))
        for name, command, environment in variants
    ]


def measure(peer: Peer, workspace: Path, rounds: int, seconds: float) -> tuple[tuple[Side, ...], int]:
    """Let all sides take turns; return what each did, and the parameters of the network.

    Raises:
        AutosegError: one ended, or their networks differ.

    """
    with ExitStack() as stack:
        started = children(peer, workspace, stack)
        sizes = {child.about["parameters"] for child in started}
        if len(sizes) != 1:
            raise AutosegError.at("training_speed", f"networks of {sizes} parameters", "compare the same networks")
        turns: dict[str, list[dict[str, float]]] = {child.name: [] for child in started}
        for number in range(rounds):
            for child in started if number % 2 == 0 else started[::-1]:
                done = child.turn(seconds) | {"batch": child.about["batch"]}
                turns[child.name].append(done)
                speed = done["batch"] * done["steps"] / done["seconds"]
                sys.stdout.write(f"{child.name}: {speed:.2f} samples/s, data {done['data_s'] / done['seconds']:.1%}\n")
                sys.stdout.flush()
    return tuple(_side(name, answers) for name, answers in turns.items()), int(sizes.pop())


def _side(name: str, answers: Sequence[dict[str, float]]) -> Side:
    speeds = tuple(round(a["batch"] * a["steps"] / a["seconds"], 3) for a in answers)
    share = sum(a["data_s"] for a in answers) / sum(a["seconds"] for a in answers)
    return Side(
        name=name, samples_per_s=speeds, median_samples_per_s=round(median(speeds), 3), data_share=round(share, 4)
    )


def ratios(sides: Sequence[Side]) -> tuple[tuple[str, float], ...]:
    """Return how many times the best of nnU-Net's variants each of ours is."""
    best = max(side.median_samples_per_s for side in sides if side.name.startswith("nnU-Net"))
    ours = [side for side in sides if side.name.startswith("autoseg")]
    return tuple((side.name, round(side.median_samples_per_s / best, 3)) for side in ours)


def table(record: TrainingSpeed) -> str:
    """Return the Markdown table."""
    found = dict(record.ratios)
    lines = ["| program | samples/s (each turn) | data, share of a step | times nnU-Net |", "|---|---|---|---|"]
    for side in record.sides:
        each = ", ".join(f"{speed:.2f}" for speed in side.samples_per_s)
        ratio = f"{found[side.name]:.2f}" if side.name in found else "-"
        lines.append(f"| {side.name} | {side.median_samples_per_s:.2f} ({each}) | {side.data_share:.1%} | {ratio} |")
    machine = f"{record.hardware.cpu}, {record.hardware.cores} cores"
    patch, features = "x".join(map(str, record.patch)), "-".join(map(str, record.features))
    about = f"Patch {patch}, batch {record.batch}, features {features}, {record.parameters / 1e6:.1f} M parameters; "
    return "\n".join([*lines, "", f"{about}{machine}; commit {record.commit[:10]}."]) + "\n"


def _nnunet_version(python: Path) -> str:
    words = [str(python), "-c", "import importlib.metadata as m; print(m.version('nnunetv2'))"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def compare(options: Any) -> TrainingSpeed:
    """Prepare the data for both, measure, and return the record."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(options.work or place).absolute()
        peer = Peer(python=options.nnunet_python.absolute(), work=work / "nnunet")
        peer.work.mkdir(parents=True, exist_ok=True)
        workspace = prepare_ours(options.datasets / "msd-hippocampus", work)
        if not (peer.work / "ready").exists():
            prepare_theirs(workspace, peer)
            write_text(peer.work / "ready", "preprocessed\n")
        configuration: Configuration = compared_configuration(read_plan(workspace.plan))
        sides, parameters = measure(peer, workspace.root, options.rounds, options.seconds)
        return TrainingSpeed(
            command="python -m benchmarks.training_speed --datasets FOLDER --nnunet-python PYTHON"
            f" --rounds {options.rounds} --seconds {options.seconds:g}",
            commit=this_commit(),
            hardware=this_hardware("cpu"),
            versions=these_versions(),
            nnunet_version=_nnunet_version(peer.python),
            patch=configuration.patch,
            batch=configuration.batch,
            features=tuple(stage.features for stage in configuration.stages),
            parameters=parameters,
            rounds=options.rounds,
            seconds_a_turn=options.seconds,
            sides=sides,
            ratios=ratios(sides),
        )


def main() -> int:
    """Measure and record, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, help="holds msd-hippocampus")
    parser.add_argument("--nnunet-python", type=Path, help="Python of an environment with nnunetv2 2.8.1")
    parser.add_argument("--work", type=Path, help="keeps prepared data between runs (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--table", action="store_true", help="only write the table of benchmarks/README.md")
    options = parser.parse_args()
    if not options.table:
        if options.datasets is None or options.nnunet_python is None:
            parser.error("--datasets and --nnunet-python are needed")
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        write_record(OUTPUT, compare(options))
    record = read_record(OUTPUT, TrainingSpeed)
    sys.stdout.write(table(record))
    if options.table:
        before, rest = README.read_text(encoding="utf-8").split(BEGIN)
        write_text(README, f"{before}{BEGIN}\n\n{table(record)}\n{END}{rest.split(END)[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
