"""Energy comes from the machine's counters where they can be read, and is an estimate elsewhere."""

from pathlib import Path

import pytest

from autoseg.core.energy import Counter, Usage, energy_between, usage


def counter(folder: Path, name: str, kind: str, microjoules: int) -> None:
    zone = folder / name
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{kind}\n")
    (zone / "energy_uj").write_text(f"{microjoules}\n")
    (zone / "max_energy_range_uj").write_text("100000000\n")


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    counter(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    counter(tmp_path, "intel-rapl:0:0", "core", 4_000_000)
    counter(tmp_path, "intel-rapl:2", "psys", 90_000_000)
    found = usage(tmp_path)
    assert [one.joules for one in found.counters] == [5.0, 7.0]
    later = Usage(processor_s=1.0, counters=tuple(Counter(joules=j, wraps_at_joules=100.0) for j in (6.5, 3.0)))
    # 1.5 J of the first; the second started again: 93 to its end and 3 from its start
    assert energy_between(found, later) == pytest.approx(1.5 + 96.0)


def test_a_machine_without_counters_says_nothing(tmp_path: Path) -> None:
    before = usage(tmp_path / "absent")
    sum(i * i for i in range(300_000))
    after = usage(tmp_path / "absent")
    assert energy_between(before, after) is None
    assert after.processor_s > before.processor_s


def test_a_counter_that_may_not_be_read_counts_as_none(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("")
    assert usage(tmp_path).counters == ()
