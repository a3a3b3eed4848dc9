"""A disk without room for what predicting will write is told before the first case."""

import shutil

import pytest

from autoseg.core.errors import EXIT_RESOURCES, FullDiskError
from autoseg.steps.predict import predict
from tests.steps.test_predict import image, make_model, options, save

VOXELS = 9 * 8 * 6


def with_free(monkeypatch, free_bytes):
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 0, free_bytes))


@pytest.mark.parametrize(
    ("ending", "probabilities", "needed"),
    [
        (".nii", False, int(1.2 * 2 * VOXELS)),
        (".nii.gz", False, int(1.2 * (2 * VOXELS / 16))),
        (".nii", True, int(1.2 * int(2 * VOXELS * (1 + 3 * 2 / 4)))),  # background and two labels, float16
    ],
)
def test_label_maps_and_probabilities_are_counted(tmp_path, monkeypatch, ending, probabilities, needed):
    make_model(tmp_path / "model")
    for number in range(2):
        save(tmp_path / "in" / f"c{number}{ending}", image(number))
    with_free(monkeypatch, needed - 1)
    wanted = options(tmp_path, tmp_path / "in", probabilities=probabilities)
    match = rf"out: predicting 2 cases needs about {needed:,} bytes on this disk, {needed - 1:,} are free; free some"
    with pytest.raises(FullDiskError, match=match) as caught:
        predict(wanted)
    assert caught.value.exit_code == EXIT_RESOURCES
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*.nii*"))
    with_free(monkeypatch, 1 << 40)
    assert len(predict(wanted).cases) == 2
