"""What a case's record says of memory: that of the case, whatever was predicted before it in the same call."""

import gc
import mmap
from pathlib import Path

import pytest

from autoseg.core.records import read_record
from autoseg.predicting import cases, line, peaks
from autoseg.predicting.peaks import PeakMemory, peak_memory_bytes
from autoseg.predicting.records import CasePrediction, PredictionRecord
from autoseg.steps.predict import predict
from tests.steps.test_predict import image, make_model, options, save

MIB = 1 << 20
linux = pytest.mark.skipif(not peaks._RESETTING.exists(), reason="only Linux tells a process's high-water mark")


@pytest.fixture(autouse=True)
def _no_case_of_an_earlier_test():
    gc.collect()


def hold(mebibytes: int) -> None:
    """Hold memory for a moment: pages of its own, not what earlier work in this process has left free."""
    with mmap.mmap(-1, mebibytes * MIB) as memory:
        for start in range(0, mebibytes * MIB, MIB):
            memory[start : start + MIB] = bytes(MIB)


@linux
class TestPeak:
    def test_of_a_case_forgets_the_larger_one_before_it(self):
        first = PeakMemory()
        hold(150)
        first_bytes, extent = first.read()
        del first
        second = PeakMemory()
        hold(50)
        second_bytes, _ = second.read()
        assert extent == "case"
        assert second_bytes < first_bytes - 70 * MIB
        assert second_bytes > first_bytes - 150 * MIB
        assert peak_memory_bytes() >= first_bytes

    def test_counts_what_a_case_beside_it_holds_but_not_what_is_read_ahead_of_it(self):
        first = PeakMemory()
        first.begin_predicting()
        following = PeakMemory()  # read while the first one is predicted
        hold(150)
        first_bytes, _ = first.read()
        following.begin_predicting()
        hold(50)
        beside_bytes, _ = first.read()  # being written still
        following_bytes, _ = following.read()
        assert beside_bytes == first_bytes
        assert following_bytes < first_bytes - 70 * MIB

    def test_of_a_case_that_was_read_alone_counts_its_reading(self):
        alone = PeakMemory()
        hold(150)
        before, _ = alone.read()
        alone.begin_predicting()
        assert alone.read()[0] == before

    def test_is_that_of_the_process_where_the_mark_cannot_be_reset(self, tmp_path, monkeypatch):
        hold(150)
        monkeypatch.setattr(peaks, "_RESETTING", tmp_path)  # a folder cannot be written
        assert PeakMemory().read() == (peak_memory_bytes(), "process")

    def test_is_that_of_the_process_where_the_system_tells_no_more(self, tmp_path, monkeypatch):
        monkeypatch.setattr(peaks, "_STATUS", tmp_path / "none")
        peak, extent = PeakMemory().read()
        assert (peak, extent) == (peak_memory_bytes(), "process")
        assert peak > MIB


@linux
def test_a_small_case_after_a_large_one_has_the_smaller_peak_in_its_record(tmp_path: Path, monkeypatch):
    """The first case is made large: 100 MiB are held while it is predicted, and the second one read beside it."""
    make_model(tmp_path / "model")
    monkeypatch.setattr(line, "_LANE_VOXELS", 0)  # one after the other
    segment = cases._label_map

    def large_first(job, segmenter, ready, told):
        if ready.case.name == "a":
            hold(100)
        return segment(job, segmenter, ready, told)

    monkeypatch.setattr(cases, "_label_map", large_first)
    for name in "abc":
        save(tmp_path / "scans" / f"{name}.nii.gz", image(shape=(12, 12, 12)))
    record = predict(options(tmp_path, tmp_path / "scans"))
    large, *small = record.cases
    assert {case.peak_memory_of for case in record.cases} == {"case"}
    for case in small:
        assert case.peak_memory_bytes < large.peak_memory_bytes - 50 * MIB
    assert record.peak_memory_bytes is not None
    assert record.peak_memory_bytes >= large.peak_memory_bytes
    assert read_record(tmp_path / "out" / "records" / "c.json", CasePrediction) == small[-1]
    assert read_record(tmp_path / "out" / "prediction.json", PredictionRecord) == record
