"""Fuzz one target in this process: python -m benchmarks.fuzz.worker TARGET FOLDER [libFuzzer's options]."""

import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["autoseg", "planners"]):
    from autoseg.core.errors import AutosegError
    from benchmarks.fuzz.targets import targets


def main() -> None:
    """Start from the target's seeds and read what the fuzzer makes of them; any other exception ends the process."""
    name, folder, *options = sys.argv[1:]
    target = targets()[name]()
    place = Path(folder)
    corpus, scratch = place / "corpus", place / "scratch"
    for made in (corpus, scratch):
        made.mkdir(parents=True, exist_ok=True)
    path = scratch / f"input{target.ending}"
    warnings.simplefilter("ignore")

    def once(data: bytes) -> None:
        path.write_bytes(data)
        try:
            target.read(path)
        except AutosegError:
            return

    for number, seed in enumerate(target.seeds(scratch)):
        (corpus / f"seed_{number}").write_bytes(seed)
        once(seed)  # libraries are loaded now, outside the time that one input may take
    atheris.Setup([sys.argv[0], *options, str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
