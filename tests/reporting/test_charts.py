"""Charts are small, follow the page's colours, and survive odd data."""

import pytest

from autoseg.reporting.charts import INK, Line, Row, curves, distributions, histograms, ranges
from autoseg.reporting.markup import duration, page, significant, table


@pytest.mark.parametrize(
    "svg",
    [
        histograms([Row(name="$z_1$ & <x>", values=(1.0, 1.0)), Row(name="b", values=(1.0, 2.5, 2.0))], "two"),
        distributions([Row(name="a", values=(0.5, 0.9)), Row(name="never", values=())], "two", "Dice", (0.0, 1.0)),
        ranges([Row(name="wild", values=(0.0, 28.0, 358.0, 277_000.0, 486_000.0))], "one", "intensity"),
        distributions([Row(name="lesions", values=(0.001, 0.5, 90.0))], "log", "ml"),
        curves([Line(name="loss", x=(0.0, 1.0), y=(None, 0.5))], [Line(name="mean", x=(0.0,), y=(None,))], "both"),
    ],
    ids=["histograms", "distributions", "ranges", "logarithmic", "curves"],
)
def test_a_chart_is_one_svg_element_in_the_colours_of_the_page(svg: str) -> None:
    assert svg.startswith("<svg role=")
    assert svg.rstrip().endswith("</svg>")
    assert "currentColor" in svg
    assert INK not in svg
    assert "http" not in svg
    assert "<metadata" not in svg
    assert "mathdefault" not in svg


def test_values_of_many_cases_and_labels_do_not_swell_the_page() -> None:
    rows = [Row(name=f"organ {i}", values=tuple(0.5 + 0.001 * (j % 400) for j in range(200))) for i in range(117)]
    assert len(distributions(rows, "organs", "Dice")) < 500_000


def test_labels_that_nobody_holds_give_no_chart() -> None:
    assert distributions([Row(name="a", values=())], "none", "ml") == ""


def test_curves_of_several_networks_that_nobody_validated_draw_no_empty_legend(
    recwarn: pytest.WarningsRecorder,
) -> None:
    losses = [Line(name=name, x=(1.0, 2.0), y=(0.5, 0.4)) for name in ("2d", "3d")]
    scores = [Line(name=name, x=(1.0, 2.0), y=(None, None)) for name in ("2d", "3d")]
    assert "<svg" in curves(losses, scores, "loss and Dice")
    assert not recwarn.list


def test_only_columns_of_numbers_are_aligned_right() -> None:
    text = table(("case", "Dice", "value"), [("1", "0.5", "200 cases"), ("2", "–", "3")], sortable=True)
    assert text.count('<td class="number">') == 2
    assert text.count("<button") == 3


def test_empty_sections_leave_no_trace() -> None:
    text = page("x < y", "", [("plan", "<section></section>"), ("training", "")])
    assert 'href="#plan"' in text
    assert "#training" not in text
    assert "<title>x &lt; y</title>" in text


@pytest.mark.parametrize(("seconds", "text"), [(3.21, "3.2 s"), (60, "1 min 0 s"), (3661, "1 h 1 min")])
def test_durations_read_like_speech(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_of_any_size_have_three_digits() -> None:
    assert [significant(v) for v in (None, 0.0, 486_123.0, -0.5)] == ["–", "0", "486,000", "-0.5"]
