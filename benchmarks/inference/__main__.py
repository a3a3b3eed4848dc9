"""Compare prediction with nnU-Net 2's: seconds, peak memory, labels.

    python -m benchmarks.inference --datasets FOLDER --nnunet-python PATH [--only PART] [--again] [--work FOLDER]

FOLDER holds msd-hippocampus; PATH is the Python of an environment with nnunetv2. Parts that the record holds already
are kept unless --again is given, so that the command can be stopped and called again. Both sides run one after the
other, each in processes of its own, with the threads they choose by themselves. The machine should have nothing else to
do. --small tries everything on tiny images and writes no record.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from benchmarks.inference.parts import PARTS
from benchmarks.inference.record import InferenceRecord, table
from benchmarks.inference.run import Setting
from benchmarks.record import RESULTS, these_versions, this_hardware

OUTPUT = RESULTS / "prediction" / "inference.json"
_VERSIONS = "import sys; from importlib.metadata import version as v; print(*(v(n) for n in sys.argv[1:]))"
_PACKAGES = ("nnunetv2", "torch", "numpy", "scipy", "scikit-image", "batchgenerators")


def main(arguments: list[str] | None = None) -> int:
    """Measure what the record lacks; 0 when all targets are met, 1 when one is missed, 2 for a mistake."""
    options = _parser().parse_args(arguments)
    wanted = options.only or list(PARTS)
    record = read_record(options.output, InferenceRecord) if options.output.exists() else _empty(options)
    if options.small:
        record = replace(record, parts=())
    with tempfile.TemporaryDirectory(prefix="inference-") as temporary:
        setting = Setting(
            nnunet_python=options.nnunet_python.absolute(),
            datasets=options.datasets.absolute(),
            work=(options.work or Path(temporary)).absolute(),
            small=options.small,
        )
        setting.work.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            if not options.again and any(part.part == name for part in record.parts):
                continue
            try:
                made = PARTS[name](setting, name)
            except AutosegError as error:
                print(error, file=sys.stderr)
                return error.exit_code
            parts = {part.what: part for part in (*(p for p in record.parts if p.part != name), *made)}
            ordered = sorted(parts.values(), key=lambda part: list(PARTS).index(part.part))
            record = replace(_empty(options), parts=tuple(ordered))
            if not options.small:
                write_record(options.output, record)
    print(table(record))
    return int(any(part.missed for part in record.parts))


def _empty(options: argparse.Namespace) -> InferenceRecord:
    command = [str(options.nnunet_python), "-c", _VERSIONS, *_PACKAGES]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return InferenceRecord(
        hardware=this_hardware("cpu"),
        versions=these_versions(),
        nnunet_versions=tuple(zip(_PACKAGES, found, strict=True)),
        parts=(),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--datasets", type=Path, required=True, help="folder with msd-hippocampus")
    parser.add_argument("--nnunet-python", type=Path, required=True, help="Python that can import nnunetv2")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="one of the parts; may be repeated")
    parser.add_argument("--again", action="store_true", help="measure also what the record holds")
    parser.add_argument("--work", type=Path, help="folder for models and images, to keep; by default a temporary one")
    parser.add_argument("--small", action="store_true", help="a trial on tiny images, without a record")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
