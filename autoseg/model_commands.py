"""Commands about finished models: checked, brought in, taken out."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from autoseg.core.errors import EXIT_DONE, EXIT_FINDINGS
from autoseg.options import parse_configurations
from autoseg.talking import TALK, Talking, next_step, short, tell


def verify(place: Path, *, talk: Talking = TALK) -> int:
    """Check that every file that was made is still what was written; exit code 1 when one is not.

    Args:
        place: A workspace, a model folder, or a folder of predictions.
        talk: How to talk.
    """
    from autoseg import verification

    found = verification.verify(place)
    tell(talk, found, verification.describe(found))
    return EXIT_FINDINGS if found.problems else EXIT_DONE


def import_nnunet(
    source: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    configurations: str = "auto",
    talk: Talking = TALK,
) -> int:
    """Turn a model that nnU-Net 2 trained into a model folder; `predict --model` takes nnU-Net's folder as it is, too.

    Args:
        source: nnU-Net's folder of a trained configuration or of a data set's results, or the zip that it exports.
        output: The model folder; it must not exist yet.
        configurations: Which networks predict together: auto (nnU-Net's own choice), or names such as 2d,3d_fullres.
        talk: How to talk.
    """
    from autoseg.steps.import_nnunet import import_nnunet as run

    record = run(source, output, parse_configurations(configurations))
    tell(talk, record, f"{', '.join(record.predicting)}, {len(record.networks)} networks: {output}")
    return next_step(f"autoseg predict IMAGES --model {short(output)} --output DIR")


def export(model: Path, *, onnx: Path, talk: Talking = TALK) -> int:
    """Write a model as a folder that needs neither torch nor autoseg, only NumPy and onnxruntime (nibabel for files).

    Args:
        model: A workspace after training, or its model folder.
        onnx: The new folder; an earlier export there is replaced.
        talk: How to talk.
    """
    from autoseg.recorded import export as run

    record = run(model, onnx)
    tell(talk, record, f"{len(record.networks)} ONNX networks and their runner: {onnx}")
    return next_step(f"python {short(onnx)}/run.py INPUT.nii.gz OUTPUT.nii.gz")
