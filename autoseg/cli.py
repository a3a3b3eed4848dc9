"""The command line: one command per step, arguments -> call -> result. stdout is for results, stderr for people."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter

from autoseg import benchmark_command, model_commands
from autoseg.core.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FINDINGS, EXIT_OUR_ERROR, EXIT_RESOURCES, AutosegError
from autoseg.core.files import FULL_DISK, NO_MORE_FILES
from autoseg.core.presets import EvaluateOptions
from autoseg.core.runtime import process_seconds, say
from autoseg.core.stopping import StoppedError
from autoseg.datasets.options import InspectCommand
from autoseg.datasets.options import Options as Reading
from autoseg.options import Page, PlanAndTrainOptions, PlanCommand, PredictCommand, TrainCommand
from autoseg.talking import TALK as _TALK
from autoseg.talking import Talking
from autoseg.talking import next_step as _next
from autoseg.talking import short as _short
from autoseg.talking import tell as _tell

_FLAT = Parameter(name="*")

_READING = Reading()
_PLAN_AND_TRAIN = PlanAndTrainOptions()
_INSPECT = InspectCommand()
_PLAN = PlanCommand()
_TRAIN = TrainCommand()
_EVALUATE = EvaluateOptions()
_DEMO_FOLDER = Path("autoseg-demo")

app = App(
    name="autoseg",
    help="A folder of labelled scans in, a trained model and segmentations out. Start: autoseg plan-and-train DATASET",
    help_epilogue="Every command takes --json, -v (tracebacks) and -q (quiet). Research use, not a diagnosis.",
    help_format="plaintext",
    version=lambda: version("autoseg"),
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),
)


# ---------------------------------------------------------------------------------------------- the whole job
@app.command(sort_key=0)
def plan_and_train(
    dataset: Path,
    *,
    options: Annotated[PlanAndTrainOptions, _FLAT] = _PLAN_AND_TRAIN,
    reading: Annotated[Reading, _FLAT] = _READING,
    talk: Talking = _TALK,
) -> int:
    """Look, fingerprint, plan, preprocess, train, validate and report; finished steps are skipped.

    Args:
        dataset: Folder of labelled images, in any usual layout; it is never written to.
    """
    from autoseg import pipeline

    result = pipeline.plan_and_train(dataset, options, reading, running_seconds=process_seconds())
    _tell(talk, result, pipeline.describe(result))
    return _next(f"autoseg predict IMAGES --model {_short(Path(result.workspace))} --output DIR")


@app.command(sort_key=1)
def predict(
    *inputs: Path,
    options: Annotated[PredictCommand, _FLAT],
    talk: Talking = _TALK,
) -> int:
    """Segment new cases, on their own grid and in their own format.

    Args:
        inputs: Image files, DICOM series folders, or folders of cases.
    """
    if not inputs:
        raise AutosegError.at("predict", "no input given", "name image files, DICOM series folders or folders of cases")
    from autoseg import recorded
    from autoseg.steps.predict import PredictOptions

    wanted = PredictOptions(
        inputs=inputs,
        model=options.model,
        output=options.output,
        device=options.device,
        preset=options.chosen_preset,
        mirror=options.mirror,
        configurations=options.chosen_configurations,
        max_ram_bytes=options.max_ram_bytes,
        format=options.format,
        probabilities=options.probabilities,
        strict=options.strict,
        reading=options.reading,
    )
    record = recorded.predict(wanted)
    kept = f", {len(record.skipped)} of them from before" if record.skipped else ""
    _tell(talk, record, f"{len(record.cases)} segmented{kept}: {options.output}\n{record.use}")
    return _next(f"autoseg evaluate {options.output} REFERENCES")


@app.command(sort_key=2)
def evaluate(
    predictions: Path,
    references: Path,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    options: Annotated[EvaluateOptions, _FLAT] = _EVALUATE,
    explain: bool = False,
    talk: Talking = _TALK,
) -> int:
    """Score predictions against references: overlap, distances, lesions, centrelines, with intervals.

    Args:
        predictions: Folder of label maps or DICOM SEG, of folders with a file for each structure, or one file.
        references: The same, a labelled dataset, or a workspace.
        output: Folder for scores.json and scores.csv; by default beside the predictions.
        explain: Print what each metric means, and whose numbers it equals.
    """
    from autoseg.core.scores import scores_table
    from autoseg.recorded import evaluate as run

    scores = run(predictions, references, output, options)
    explained = ["", *scores.definitions] if explain else []
    _tell(talk, scores, "\n".join([scores_table(scores), *explained]))
    return EXIT_DONE


@app.command(sort_key=2.5)
def compare(
    *results: Path,
    metric: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    talk: Talking = _TALK,
) -> int:
    """Compare scores of the same cases, each result with the first: differences, intervals, tests, a sentence.

    Args:
        results: Two or more folders with the scores.json of `autoseg evaluate`, or such files.
        metric: Metrics such as hd95 or dice,nsd; by default all that the results share.
        output: Folder for comparison.json; by default nothing is written.
    """
    from autoseg.core.comparison import comparison_table
    from autoseg.recorded import compare as run

    comparison = run(results, output, metric)
    _tell(talk, comparison, comparison_table(comparison))
    return EXIT_DONE


# ------------------------------------------------------------------------------------------------ step by step
@app.command(sort_key=3)
def inspect(
    dataset: Path,
    *,
    options: Annotated[InspectCommand, _FLAT] = _INSPECT,
    reading: Annotated[Reading, _FLAT] = _READING,
    talk: Talking = _TALK,
) -> int:
    """Look at a folder: how it is understood, and what is wrong with it.

    Args:
        dataset: Folder of labelled images; it is never written to.
    """
    from autoseg import groundwork, texts

    opened = groundwork.open_place(dataset, options.workspace)
    inspection = groundwork.looked(opened, reading)
    _tell(talk, inspection, texts.inspection_text(inspection))
    groundwork.after_looking(opened, options, reading)
    if inspection.errors:
        return EXIT_FINDINGS
    _next(f"autoseg fingerprint {_short(opened.root)}")
    return EXIT_FINDINGS if any(f.severity == "warning" for f in inspection.findings) else EXIT_DONE


@app.command(sort_key=4)
def fingerprint(place: Path, *, workspace: Path | None = None, talk: Talking = _TALK) -> int:
    """Put a dataset into numbers: shapes, spacings, intensities, structures.

    Args:
        place: A dataset or a workspace.
        workspace: Where everything made goes; by default ./NAME.autoseg.
    """
    from autoseg import groundwork, texts

    opened = groundwork.open_place(place, workspace)
    made = groundwork.fingerprinted(opened)
    _tell(talk, made, texts.fingerprint_text(made))
    return _next(f"autoseg plan {_short(opened.root)}")


@app.command(sort_key=5)
def plan(
    place: Path,
    *,
    options: Annotated[PlanCommand, _FLAT] = _PLAN,
    reading: Annotated[Reading, _FLAT] = _READING,
    talk: Talking = _TALK,
) -> int:
    """Choose networks, patches, batches and schedules from the fingerprint.

    Args:
        place: A dataset or a workspace.
    """
    from autoseg import groundwork, texts

    opening = (
        groundwork.scratch(place, options.workspace)
        if options.dry_run
        else contextlib.nullcontext(groundwork.open_place(place, options.workspace))
    )
    with opening as opened:
        made = groundwork.planned_by_itself(opened, options, reading)
    _tell(talk, made, texts.plan_text(made, explained=options.explain))
    return _next(f"autoseg plan {_short(place)}" if options.dry_run else f"autoseg preprocess {_short(opened.root)}")


@app.command(sort_key=6)
def preprocess(workspace: Path, *, configuration: str | None = None, talk: Talking = _TALK) -> int:
    """Crop, normalise and resample every case, once per configuration.

    Args:
        workspace: A workspace with a plan.
        configuration: One configuration of the plan; by default its first.
    """
    from autoseg import groundwork

    opened = groundwork.existing_workspace(workspace)
    made = groundwork.preprocessed(opened, configuration)
    _tell(talk, made, made.folder)
    return _next(f"autoseg train {_short(opened.root)} --configuration {made.configuration}")


@app.command(sort_key=7)
def train(
    workspace: Path,
    *,
    options: Annotated[TrainCommand, _FLAT] = _TRAIN,
    talk: Talking = _TALK,
) -> int:
    """Train one network on one fold, going on where an earlier call stopped.

    Args:
        workspace: A workspace with preprocessed cases.
    """
    from autoseg import groundwork, trainings

    opened = groundwork.existing_workspace(workspace)
    if options.more is not None:
        from autoseg import continuing

        made = continuing.train_more(opened, options)
        _tell(talk, made, continuing.describe(made))
        return _next(f"autoseg report {_short(opened.root)}")
    record = trainings.train_one(opened, options)
    _tell(talk, record, f"{record.steps} steps in {record.seconds:.0f} s; {record.schedule}")
    return _next(f"autoseg report {_short(opened.root)}")


@app.command(sort_key=8)
def report(workspace: Path, *, talk: Talking = _TALK) -> int:
    """Draw everything that is known about a run into one self-contained page.

    Args:
        workspace: A workspace, in whatever state.
    """
    from autoseg import groundwork
    from autoseg.steps.report import report as run

    opened = groundwork.existing_workspace(workspace)
    page = run(opened)
    _tell(talk, Page(report=str(page)), str(page))
    return _next(f"autoseg predict IMAGES --model {_short(opened.root)} --output DIR")


@app.command(sort_key=9)
def show(place: Path, *, measure: bool = False, talk: Talking = _TALK) -> int:
    """Print what a model, a workspace or a record holds.

    Args:
        place: A model folder, a workspace, or one of the JSON records.
        measure: First measure what the presets of a workspace's model take and give, on its validation cases.
    """
    from autoseg.steps.show import show as run

    if measure:
        from autoseg import groundwork
        from autoseg.steps.presets import measure_presets

        measure_presets(groundwork.existing_workspace(place))
    shown = run(place)
    _tell(talk, shown.record, shown.text)
    return EXIT_DONE


app.command(model_commands.verify, sort_key=9.5)
app.command(model_commands.import_nnunet, sort_key=9.7)
app.command(model_commands.export, sort_key=9.8)
app.command(benchmark_command.benchmark, sort_key=9.9)


@app.command(sort_key=10)
def demo(
    *, output: Annotated[Path, Parameter(alias="-o")] = _DEMO_FOLDER, budget: str = "4m", talk: Talking = _TALK
) -> int:
    """Make a small synthetic CT-like dataset, run everything on it and show the result, in under five minutes.

    Args:
        output: Folder for the dataset, the workspace and the segmentations.
        budget: Time for planning and training.
    """
    from autoseg import demo as demonstration

    result = demonstration.run_demo(output, budget, running_seconds=process_seconds())
    _tell(talk, result, demonstration.describe(result))
    return _next("autoseg plan-and-train YOUR_DATASET")


# ---------------------------------------------------------------------------------------------------- the edge
def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded; docs/log.md, a busy processor
    if "--deterministic" in sys.argv:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is loaded; docs/reproducible.md
    sys.exit(run(sys.argv[1:]))


def run(tokens: list[str]) -> int:
    """Run one command and return its exit code; the only place that turns exceptions into words."""
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a wish to finish, which only a training can follow
    verbose = bool({"-v", "--verbose"} & set(tokens))
    quiet = bool({"-q", "--quiet"} & set(tokens))
    try:
        with _silent() if quiet else contextlib.nullcontext():
            code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()  # whoever read it has enough
        return EXIT_DONE
    except CycloptsError as error:
        return _fail(str(error), EXIT_BAD_INPUT)
    except AutosegError as error:
        return _fail(str(error), error.exit_code, verbose=verbose)
    except StoppedError as error:
        return _fail(str(error), 128 + error.signal_number)
    except KeyboardInterrupt:
        return _fail("interrupted; run the same command again to go on", 128 + signal.SIGINT, verbose=verbose)
    except MemoryError as error:
        return _fail(f"out of memory ({error}); close other programs or take a smaller --budget", EXIT_RESOURCES)
    except OSError as error:
        if error.errno not in FULL_DISK | NO_MORE_FILES:
            return _our_error(error, verbose=verbose)
        _drop_stdout()  # it may be what has no room
        return _fail(f"{error}; free some space or raise the limit, and run again", EXIT_RESOURCES, verbose=verbose)
    except Exception as error:  # noqa: BLE001 (the edge: our own faults get their exit code, and a traceback under -v)
        return _our_error(error, verbose=verbose)
    return code if isinstance(code, int) else EXIT_DONE


def _drop_stdout() -> None:
    """Let what is still to be printed go nowhere, so that Python's end does not stumble over it."""
    with contextlib.suppress(OSError, ValueError):  # it is no file: a program that calls us took it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _our_error(error: Exception, *, verbose: bool) -> int:
    hint = "" if verbose else " (run again with -v for the traceback)"
    return _fail(f"our own error: {type(error).__name__}: {error}{hint}", EXIT_OUR_ERROR, verbose=verbose)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as sink, contextlib.redirect_stderr(sink):
        yield


def _fail(line: str, code: int, *, verbose: bool = False) -> int:
    if verbose:
        traceback.print_exc()
    say(f"error: {line}")
    return code


if __name__ == "__main__":
    main()
