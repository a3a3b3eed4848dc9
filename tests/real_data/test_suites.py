"""The data of each suite at hand are found, and what is judged is put apart without changing what they are."""

from pathlib import Path

import pytest

from autoseg.datasets.inputs import find_inputs
from autoseg.datasets.options import Options
from autoseg.datasets.understand import understand
from autoseg.suites.arrangement import arrange, find_data
from autoseg.suites.table import SUITES

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


@pytest.mark.parametrize("name", ["hippocampus", "em", "retina", "nuclei"])
def test_what_trains_is_the_same_dataset_without_the_judged_cases(
    datasets_dir: Path, tmp_path: Path, name: str
) -> None:
    suite = SUITES[name]
    source = find_data(suite, datasets_dir, tmp_path)
    whole = understand(source, Options())
    arranged = arrange(suite, source, tmp_path)
    part = understand(arranged.training, Options())
    assert arranged.n_judged >= suite.judged
    assert len(part.cases) == arranged.n_training == len(whole.cases) - arranged.n_judged
    assert (part.channels, part.labels, part.value_map) == (whole.channels, whole.labels, whole.value_map)
    judged = {case.name for case in whole.cases} - {case.name for case in part.cases}
    found = find_inputs((arranged.judged_images,), len(whole.channels))
    assert {case.name for case in found} == judged
    assert {path.name.partition(".")[0] for path in arranged.judged_references.iterdir()} == judged
