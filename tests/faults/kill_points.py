"""Do a job, be killed, look, do it again: for every operation on a file, at random moments, on a full disk, ...

    python -m tests.faults.kill_points WORK JOB operations FIRST STRIDE    kill at operation FIRST, FIRST + STRIDE, ...
    python -m tests.faults.kill_points WORK JOB moments SEED COUNT         kill at any moment until COUNT died
    python -m tests.faults.kill_points WORK JOB limits SEED COUNT          let no file grow beyond COUNT different sizes
    python -m tests.faults.kill_points WORK JOB disks SEED COUNT           give COUNT different sizes of disk (root)
    python -m tests.faults.kill_points WORK train signals SEED COUNT       send SIGTERM or SIGUSR1 COUNT times
    python -m tests.faults.kill_points WORK train together SEED COUNT      start five folds at once, COUNT times

WORK is made by `tests.faults.jobs`; JOB is one of its jobs. One warm process forks a child per kill, so that torch is
loaded once; it has one thread when it forks. Operations are those of `tests.faults.operations`; random moments and full
disks hit writers in C and C++, too. Prints what happened as JSON.
"""

import importlib
import json
import mmap
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import SimpleITK
import torch

from autoseg import cli, verification
from autoseg.core import files
from autoseg.core.errors import EXIT_DONE, EXIT_RESOURCES
from autoseg.core.files import TEMPORARY_PREFIX
from autoseg.learning import feeding, training
from tests.faults.jobs import FOLDS, JOBS, Job, saved_step
from tests.faults.operations import Operations, install

COMPLAINTS = Path(tempfile.mkdtemp(prefix="killed-")) / "stderr"
"""What children say; shown when one fails that was not killed."""

LOADED = (nib, SimpleITK)
"""Imported before the forks, so that no child has to."""

REACHED = mmap.mmap(-1, 8)
"""Steps of training that the child had finished when it began its last one."""

STEPS_FOR_EVER = "1000000"
SAVED_WITHIN_S = 20.0
LONGEST_S = 1800.0
"""Nothing here takes a minute where the cores are free, nor this where others use them; what does is hanging."""


def run(arguments: list[str]) -> int:
    """Run a command in this child as a user would: a checkpoint after every step, and its steps known to the parent."""
    training.CHECKPOINT_INTERVAL_S = 0.0
    real = feeding.Feeder.batch

    def batch(self, step):
        REACHED[:] = step.to_bytes(8, "little")
        return real(self, step)

    feeding.Feeder.batch = batch
    return cli.run(arguments)


def forked(function: Callable[[], int]) -> int:
    """Run in a child, which ends with what `function` returns; return its process number."""
    REACHED[:] = bytes(8)
    child = os.fork()
    if child == 0:
        said = os.open(COMPLAINTS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, sys.stderr.fileno())
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 99
        try:
            code = function()
        except BaseException:  # noqa: BLE001 (the parent shows it)
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ending(child: int, longest_s: float = LONGEST_S) -> int:
    """Wait; return the exit code, minus the signal, or -1 for one that hangs and is killed for it."""
    deadline = time.monotonic() + longest_s
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(found[1])


def gone(child: int) -> bool:
    """Whether a child has ended; it is left for `ending` to ask."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def complaint(what: str) -> str:
    return f"{what}: {COMPLAINTS.read_text()[-2000:]}"


class Trial:
    """A job in a place of its own, and what it should leave there."""

    def __init__(self, work: Path, job: Job) -> None:
        self.work = work
        self.job = job
        self.output = work / "killed"
        clean = work / "expected"
        self.fresh(clean)
        # In a child, too: readers in C++ keep threads, which a fork would leave behind.
        self.started = time.monotonic()
        assert ending(self.start(output=clean)) == 0, complaint("the job fails without any fault")
        self.seconds = time.monotonic() - self.started
        self.expected = job.contents(clean)
        assert self.expected

    def fresh(self, output: Path) -> None:
        if output.exists():
            shutil.rmtree(output)
        if self.job.before is not None:
            shutil.copytree(self.work / self.job.before, output)

    def start(self, before: Callable[[], object] | None = None, output: Path | None = None) -> int:
        arguments = self.job.arguments(self.work, output or self.output)

        def child() -> int:
            if before is not None:
                before()
            return run(arguments)

        return forked(child)

    def judge(self, *, complete: bool) -> list[str]:
        """Return what is wrong with the files under final names."""
        try:
            found = self.job.contents(self.output)
            known = self.output.exists() and any((self.output / name).exists() for name in self.job.marks)
            problems = verification.verify(self.output).problems if known else ()
        except Exception as error:  # noqa: BLE001 (whatever it is, the file is not what it should be)
            return [f"unreadable: {error}"]
        stale = [problem for problem in problems if "left by a killed process" in problem.what]
        wrong = [f"{problem.file}: {problem.what}" for problem in problems if complete or problem not in stale]
        wrong += [f"{name} differs" for name in found if found[name] != self.expected.get(name)]
        left = [p.name for p in self.output.rglob(f"{TEMPORARY_PREFIX}*")] if complete else []
        return (
            wrong
            + [f"{name} is missing" for name in self.expected if complete and name not in found]
            + [f"{name} is stale" for name in left]
        )

    def lost(self) -> list[str]:
        """Return what is wrong with how much of a training is saved: all steps but the one that was being made."""
        reached, saved = int.from_bytes(REACHED[:], "little"), saved_step(self.output)
        return [] if self.job.name != "train" or saved >= reached else [f"{reached} steps made, {saved} saved"]

    def again(self) -> list[str]:
        """Do the job again and judge it complete."""
        if (code := ending(self.start())) != EXIT_DONE:
            return [complaint(f"the rerun ended with {code}")]
        return self.judge(complete=True)


# ------------------------------------------------------------------------------------------------- killed
def operations(trial: Trial, first: int, stride: int) -> dict[str, object]:
    report = trial.work / "operations.json"
    trial.fresh(trial.output)

    def counting() -> int:
        counter = Operations()
        install(counter)
        code = run(trial.job.arguments(trial.work, trial.output))
        report.write_text(json.dumps(counter.kinds))
        return code

    assert ending(forked(counting)) == 0, complaint("counting failed")
    kinds = json.loads(report.read_text())
    numbers = range(first, sum(kinds.values()) + 1, stride)
    tries = [lambda at=at: trial.start(lambda: install(Operations(at))) for at in numbers]
    return {"kinds": kinds, **killed(trial, tries)}


def moments(trial: Trial, seed: int, count: int) -> dict[str, object]:
    generator = random.Random(seed)

    def shot(after_s: float) -> int:
        child = trial.start()
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        return child

    most = 3 * count  # some come to their end before they are killed
    waits = [generator.uniform(0, trial.seconds) for _ in range(most)]
    return killed(trial, (lambda after_s=after_s: shot(after_s) for after_s in waits), count)


def killed(trial: Trial, tries: Iterable[Callable[[], int]], enough: int | None = None) -> dict[str, object]:
    """Start one after the other, and judge each, until all were started or `enough` died."""
    deaths, made, wrong = 0, 0, []
    for index, start in enumerate(tries):
        if deaths == enough:
            break
        made += 1
        trial.fresh(trial.output)
        code = ending(start())
        if code not in (EXIT_DONE, -signal.SIGKILL):
            wrong.append(complaint(f"try {index} ended with {code}"))
            continue
        deaths += code != 0
        found = trial.judge(complete=False) + (trial.lost() if code else []) + trial.again()
        wrong += [f"try {index}: {what}" for what in found]
    return {"tries": made, "killed": deaths, "wrong": wrong}


# ---------------------------------------------------------------------------------------------- a full disk
def limits(trial: Trial, seed: int, count: int) -> dict[str, object]:
    """Let files grow to sizes from nothing to that of the largest."""
    kept = {path.name for path in (trial.work / trial.job.before).rglob("*")} if trial.job.before else set()
    made = (path for path in (trial.work / "expected").rglob("*") if path.is_file() and path.name not in kept)
    largest = max(path.stat().st_size for path in made)
    generator = random.Random(seed)

    def limit(limit_bytes: int) -> None:
        files._MINIMUM_FREE_BYTES = 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))

    sizes = [int(largest * (index + generator.random()) / count) for index in range(count)]
    return full(trial, [(lambda: None, lambda size=size: limit(size), lambda: None) for size in sizes])


def disks(trial: Trial, seed: int, count: int) -> dict[str, object]:
    """Do the job on a small disk of its own, whose room ends after more and more of it."""
    before = trial.work / trial.job.before if trial.job.before else None
    held = occupied(before) if before else 0
    more = occupied(trial.work / "expected") - held + (16 << 10)
    generator = random.Random(seed)
    mount = ["mount", "-t", "tmpfs"]

    def begin(room_bytes: int) -> None:
        shutil.rmtree(trial.output, ignore_errors=True)
        trial.output.mkdir()
        subprocess.run([*mount, "-o", f"size={held + room_bytes}", "tmpfs", trial.output], check=True)
        if before:
            shutil.copytree(before, trial.output, dirs_exist_ok=True)

    def limit() -> None:
        files._MINIMUM_FREE_BYTES = 0

    def widen() -> None:
        subprocess.run(["mount", "-o", "remount,size=256m", trial.output], check=True)

    sizes = [int(more * (index + generator.random()) / count) for index in range(count)]
    try:
        return full(trial, [(lambda size=size: begin(size), limit, widen) for size in sizes], unmount=True)
    finally:
        subprocess.run(["umount", "-q", trial.output], check=False)


def occupied(folder: Path) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def full(trial: Trial, tries: list[tuple[Callable, Callable, Callable]], *, unmount: bool = False) -> dict[str, object]:
    codes, wrong = Counter(), []
    for index, (prepare, limit, widen) in enumerate(tries):
        trial.fresh(trial.output)
        prepare()
        code = ending(trial.start(limit))
        codes[code] += 1
        found = [] if code in (EXIT_DONE, EXIT_RESOURCES) else [complaint(f"ended with {code}")]
        found += trial.judge(complete=code == EXIT_DONE)
        left = [path.name for path in trial.output.rglob(f"{TEMPORARY_PREFIX}*")]
        widen()
        wrong += [f"try {index}: {what}" for what in (*found, *left, *trial.again())]
        if unmount:
            subprocess.run(["umount", trial.output], check=True)
    return {"tries": len(tries), "codes": codes, "wrong": wrong}


# ------------------------------------------------------------------------------------- signals, several at once
def signals(trial: Trial, seed: int, count: int) -> dict[str, object]:
    """Ask trainings to leave (SIGTERM) or to come to an end (SIGUSR1), at any moment after their first step."""
    generator = random.Random(seed)
    wrong, slowest = [], 0.0
    for index in range(count):
        number = signal.SIGTERM if index % 2 == 0 else signal.SIGUSR1
        trial.fresh(trial.output)
        arguments = trial.job.arguments(trial.work, trial.output)
        arguments[arguments.index("--steps") + 1] = STEPS_FOR_EVER
        child = forked(lambda arguments=arguments: run(arguments))
        begun = time.monotonic()
        while int.from_bytes(REACHED[:], "little") < 1 and not gone(child) and time.monotonic() < begun + LONGEST_S:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 1))
        asked = time.monotonic()
        os.kill(child, number)  # one that is gone already is a zombie, which a signal does not harm
        code = ending(child)
        slowest = max(slowest, time.monotonic() - asked)
        found = [] if code == (143 if number == signal.SIGTERM else 0) else [complaint(f"ended with {code}")]
        problems = verification.verify(trial.output).problems
        found += [f"{problem.file}: {problem.what}" for problem in problems] + trial.lost()
        if time.monotonic() - asked > SAVED_WITHIN_S:
            found.append("took too long")
        if not (trial.output / "model" / "model.json").exists():
            found.append("no model")
        wrong += [f"{signal.Signals(number).name} {index}: {what}" for what in found]
    return {"tries": count, "slowest_s": round(slowest, 2), "wrong": wrong}


def together(trial: Trial, _seed: int, count: int) -> dict[str, object]:
    """Train all folds at once in one workspace that nobody has measured the machine for."""
    wrong: list[str] = []
    for index in range(count):
        trial.fresh(trial.output)
        (trial.output / "machine.json").unlink(missing_ok=True)
        children = []
        for fold in range(FOLDS):
            arguments = [*trial.job.arguments(trial.work, trial.output), "--fold", str(fold)]
            children.append(forked(lambda arguments=arguments: run(arguments)))
        codes = [ending(child) for child in children]
        found = [] if codes == [0] * FOLDS else [complaint(f"ended with {codes}")]
        found += [f"{problem.file}: {problem.what}" for problem in verification.verify(trial.output).problems]
        model = json.loads((trial.output / "model" / "model.json").read_text())
        networks = [(each["fold"], each["finished"], each["validation_dice"] is None) for each in model["networks"]]
        if networks != [(fold, True, False) for fold in range(FOLDS)]:
            found.append(f"the model has {networks}")
        marked = {done["step"] for done in json.loads((trial.output / "provenance.json").read_text())["steps"]}
        if sum(step.startswith("validation") for step in marked) != FOLDS:
            found.append(f"marked as done: {sorted(marked)}")
        wrong += [f"round {index}: {what}" for what in found]
    return {"tries": count, "wrong": wrong}


HOW = {
    "operations": operations,
    "moments": moments,
    "limits": limits,
    "disks": disks,
    "signals": signals,
    "together": together,
}


def main(work: Path, job: str, how: str, numbers: tuple[int, int]) -> dict[str, object]:
    torch.set_num_threads(1)
    if job == "train":  # what an optimiser loads
        importlib.import_module("torch._dynamo")
        importlib.import_module("autoseg.trainings")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    began = time.monotonic()
    found = HOW[how](Trial(work, JOBS[job]), *numbers)
    return {**found, "seconds": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    try:
        print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], (int(sys.argv[4]), int(sys.argv[5])))))
    finally:
        shutil.rmtree(COMPLAINTS.parent)
