"""Fuzz one target in this process: python -m benchmarks.fuzz.worker TARGET FOLDER [libFuzzer's options]."""

import contextlib
import sys
import time
import warnings
from pathlib import Path

import atheris

INSTRUMENTED = ("autoseg", "planners")
HANGS_AFTER_S = 10.0
"""Of this process on a core; the time that passes says nothing where others use the cores."""


class HangsError(Exception):
    """An input took too long."""


def main() -> None:
    """Start from the target's seeds and read what the fuzzer makes of them; any other exception ends the process."""
    name, folder, *options = sys.argv[1:]
    place = Path(folder)
    corpus, scratch = place / "corpus", place / "scratch"
    for made in (corpus, scratch):
        made.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=list(INSTRUMENTED)):  # also what is imported when a seed is read
        from autoseg.core.errors import AutosegError
        from benchmarks.fuzz.targets import targets

        target = targets()[name]()
        path = scratch / f"input{target.ending}"

        def once(data: bytes) -> None:
            path.write_bytes(data)
            began_s = time.process_time()
            with contextlib.suppress(AutosegError):
                target.read(path)
            if time.process_time() - began_s > HANGS_AFTER_S:
                raise HangsError

        for number, seed in enumerate(target.seeds(scratch)):
            (corpus / f"seed_{number}").write_bytes(seed)
            once(seed)  # libraries are loaded now, outside the time that one input may take
            once(seed[: len(seed) // 2])  # what is imported for a refusal
    atheris.Setup([sys.argv[0], *options, str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
