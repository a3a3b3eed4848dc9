"""All checks, in the order in which they fail fastest: `python -m tests [--datasets DIR] [--quick]`.

Every check runs even when one before it failed; the exit code says whether all passed.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sys.executable).parent


def commands(datasets: Path | None, *, quick: bool) -> list[tuple[str, list[str]]]:
    """Return (name, command) of each check."""
    python = sys.executable
    side_by_side = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile"]  # a file's fixtures are made once
    data = [f"--datasets={datasets}"] if datasets else []  # with a space, pytest takes DIR for a folder of tests
    checks = [
        ("style", [str(SCRIPTS / "ruff"), "check", "."]),
        ("format", [str(SCRIPTS / "ruff"), "format", "--check", "."]),
        ("layers", [str(SCRIPTS / "lint-imports")]),
        ("types", [str(SCRIPTS / "mypy")]),
        ("tests", [python, "-m", "pytest", "-q", *side_by_side, "--cov", "--cov-report=", *data]),
        ("coverage", [python, "-m", "coverage", "report"]),
        ("coverage of planners", [python, "-m", "coverage", "report", "--include=planners/*", "--fail-under=100"]),
    ]
    slow = [("training and wheel", [python, "-m", "pytest", "-q", "-m", "slow", *data])]
    return checks if quick else checks + slow


def main() -> int:
    """Run the checks and return 0 if all passed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument("--datasets", type=Path, help="folder with the public datasets of tests/real_data")
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes: training, the wheel")
    given = parser.parse_args()
    datasets = given.datasets.resolve() if given.datasets else None
    failed = []
    for name, command in commands(datasets, quick=given.quick):
        print(f"== {name}: {Path(command[0]).name} {' '.join(command[1:])}", flush=True)
        began = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        print(f"== {name}: {'passed' if code == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
        if code:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
