"""The runner's command: an exported folder, NIfTI files in, one NIfTI file out."""

import sys
from collections.abc import Sequence
from pathlib import Path

from autoseg.core.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_RESOURCES, AutosegError


def main(arguments: Sequence[str]) -> int:
    """Segment one case and return the exit code; what is wrong goes to stderr in one line.

    Args:
        arguments: the exported folder, one file per channel (or one with all), the label map to write.

    """
    if len(arguments) < 3 or any(argument.startswith("-") for argument in arguments):
        return _fail("give INPUT.nii.gz (one per channel) and, last, OUTPUT.nii.gz", EXIT_BAD_INPUT)
    from autoseg.runner.files import predict_file
    from autoseg.runner.model import load

    folder, *inputs, output = map(Path, arguments)
    try:
        model = load(folder)
        predict_file(model, inputs, output)
    except AutosegError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        return _fail("out of memory; close other programs, or crop the image", EXIT_RESOURCES)
    names = ", ".join(f"{value} {name}" for name, value in model.labels)
    sys.stdout.write(f"{output}: {names}\n{model.record.use}\n")
    return EXIT_DONE


def _fail(line: str, code: int) -> int:
    sys.stderr.write(f"error: {line}\n")
    return code
