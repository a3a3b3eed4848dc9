"""Time and energy by step, and the model card: what is known, and what the user wrote."""

from pathlib import Path

import pytest

from autoseg.core.runtime import RunEntry
from autoseg.reporting.about import energy_sentence, step_costs
from autoseg.reporting.model_card import HEADINGS, TEMPLATE, read_card, start_card


def entry(step: str, seconds: float, processor_s: float | None = None, energy_j: float | None = None) -> RunEntry:
    return RunEntry(
        step=step,
        arguments=(),
        started="2026-01-01T00:00:00Z",
        seconds=seconds,
        outcome="done",
        platform="Linux",
        versions=(),
        processor_s=processor_s,
        energy_j=energy_j,
    )


def test_calls_of_a_step_are_added_up() -> None:
    costs = step_costs([entry("train", 10, 20, 100), entry("report", 1, 1, 5), entry("train", 30, 60, 300)])
    assert [(c.step, c.calls, c.seconds, c.processor_s, c.energy_j) for c in costs] == [
        ("train", 2, 40, 80, 400),
        ("report", 1, 1, 1, 5),
    ]


def test_energy_is_measured_or_called_an_estimate() -> None:
    measured = step_costs([entry("train", 10, 20, 7200)])
    assert energy_sentence(measured, 2, "cpu").startswith("2.0 Wh, by the counters of the processors (RAPL)")
    # 3600 s of a core at 10 W are 10 Wh
    estimated = energy_sentence(step_costs([entry("train", 2000, 3600)]), 2, "cuda")
    assert estimated.startswith("About 10.0 Wh: an estimate, 10 W for each of 1 h 0 min of a core")
    assert estimated.endswith("The GPU is not included.")
    # lines of older versions have no processor time: all cores are taken to have worked
    assert energy_sentence(step_costs([entry("train", 1800)]), 2, "cpu").startswith("About 10.0 Wh: an estimate")
    assert energy_sentence((), 2, "cpu") == ""


def test_the_users_card_is_started_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "model_card.toml"
    start_card(path)
    assert path.read_text(encoding="utf-8") == TEMPLATE
    assert read_card(path).texts == dict.fromkeys(HEADINGS, "")
    mine = TEMPLATE.replace('intended_use = """\n"""', 'intended_use = """\nLivers of <adults>.\n"""')
    path.write_text(mine, encoding="utf-8")
    start_card(path)
    assert path.read_text(encoding="utf-8") == mine
    assert read_card(path).texts["intended_use"] == "Livers of <adults>."


@pytest.mark.parametrize(
    ("text", "problem"),
    [("intended_use = ", "is not TOML"), ("use = 'x'\nlimits = 3\n", "use, limits is no text that belongs here")],
)
def test_a_mistake_in_the_card_costs_the_text_and_not_the_report(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "model_card.toml"
    path.write_text(text, encoding="utf-8")
    assert problem in read_card(path).problem
    assert read_card(tmp_path / "absent.toml").problem == ""
