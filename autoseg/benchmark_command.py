"""The command about benchmarks."""

from typing import Annotated

from cyclopts import Parameter

from autoseg.benchmark_options import BenchmarkOptions
from autoseg.core.errors import EXIT_DONE, EXIT_PARTIAL
from autoseg.talking import TALK, Talking, tell

_DEFAULT = BenchmarkOptions()


def benchmark(
    suite: str, *, options: Annotated[BenchmarkOptions, Parameter(name="*")] = _DEFAULT, talk: Talking = TALK
) -> int:
    """Train on a public dataset, judge unseen cases, and compare with published results, case by case where they exist.

    Exit code 3 when data of some suites of a group are absent.

    Args:
        suite: hippocampus, msd-liver and the other Decathlon tasks (msd: all that are there), em, nuclei, axon,
            retina or sarcoma.
        options: How to run it.
        talk: How to talk.
    """
    from autoseg.benchmark import describe, run_benchmark

    runs = run_benchmark(suite, options)
    tell(talk, runs, describe(runs))
    return EXIT_PARTIAL if runs.without_data else EXIT_DONE
