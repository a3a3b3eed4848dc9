"""The page of a training that goes on loads itself anew, and stops to when it is over."""

from pathlib import Path

import pytest

from autoseg.core.records import write_record
from autoseg.core.workspace import Workspace
from autoseg.reporting import live
from autoseg.reporting.live import LivePage
from tests.steps.test_report import fingerprint, write_progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path / "w")
    write_progress(found.training("3d_fullres", 0) / "progress.jsonl")
    write_record(found.fingerprint, fingerprint(("case_0", "case_1"), 3))
    return found


def test_it_refreshes_itself_while_training_and_not_after(workspace: Workspace, monkeypatch) -> None:
    clock = Clock()
    page = LivePage(workspace, clock)
    page(None)
    assert not workspace.report.exists()  # too early
    page.end()
    assert not workspace.report.exists()
    clock.now = 25.0
    page(None)
    text = workspace.report.read_text(encoding="utf-8")
    assert '<meta http-equiv="refresh" content="15">' in text
    assert "Training goes on" in text
    assert "40 steps in 2 min 0 s" in text
    page.end()
    text = workspace.report.read_text(encoding="utf-8")
    assert "http-equiv" not in text
    assert "Training is over or was stopped." in text


def test_drawing_takes_two_hundredths_of_the_time(workspace: Workspace, monkeypatch) -> None:
    clock, drawn = Clock(), []

    def draw(*_: object) -> str:
        drawn.append(clock.now)
        clock.now += 2.0
        return ""

    monkeypatch.setattr(live, "training_section", draw)
    page = LivePage(workspace, clock)
    for now in (30.0, 60.0, 129.0, 131.0):
        clock.now = now
        page(None)
    assert drawn == [30.0, 131.0]  # two seconds are 2 % of a hundred


def test_a_workspace_that_cannot_be_read_now_is_drawn_later(tmp_path: Path) -> None:
    clock = Clock()
    page = LivePage(Workspace(tmp_path), clock)
    clock.now = 30.0
    page(None)
    assert list(tmp_path.iterdir()) == []
