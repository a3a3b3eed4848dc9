import pytest

from autoseg.datasets import workers
from autoseg.datasets.dataset import Case
from autoseg.datasets.workers import bytes_on_disk, workers_for

GIB = 1 << 30


@pytest.fixture
def machine(monkeypatch):
    """Eight cores and 16 GiB."""
    monkeypatch.setattr(workers, "cores", lambda: 8)
    monkeypatch.setattr(workers, "memory_bytes", lambda: 16 * GIB)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([100], 1),  # less to read than starting processes costs
        ([GIB // 100] * 50, 8),
        ([GIB // 4] * 3, 2),  # 4 GiB at work each, half of the memory may be used
        ([GIB] * 3, 1),
        ([], 1),
    ],
)
def test_as_many_cases_at_once_as_half_of_the_memory_holds(machine, sizes, expected):
    assert workers_for(sizes, worth_bytes=64 << 20) == expected


def test_a_series_counts_all_its_files_and_an_absent_structure_none(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_bytes(b"12345")
    (tmp_path / "series" / "2.dcm").write_bytes(b"123")
    (tmp_path / "label.nii").write_bytes(b"1234")
    case = Case(name="a", images=("series",), references=("label.nii", ""), group="a")
    assert bytes_on_disk(tmp_path, case) == 12
