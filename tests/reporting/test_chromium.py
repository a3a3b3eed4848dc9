"""The report in a real browser: no error, no request, sliders and tables work, small enough, readable on a phone."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from autoseg.core.presets import Rules
from autoseg.core.records import write_record
from autoseg.core.runtime import logged_step
from autoseg.core.scores import CaseScore, LabelScore, dice_of, iou_of, make_scores
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset, Fold, Folds
from autoseg.datasets.inspection import Finding, Inspection
from autoseg.imaging.phantom import ORGANS, phantom_case
from autoseg.imaging.write import write_image, write_label
from autoseg.steps.report import report
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget, Machine
from tests.chromium import Browser, browser, program
from tests.records import a_dataset
from tests.reporting.judged import write_judged

pytestmark = pytest.mark.slow

CASES = 200
CONFIGURATIONS = ("2d", "3d_fullres")
SUSPECTS = 6
"""Drawn of the list."""
MOST_BYTES = 15_000_000
PHONE, DESKTOP = 390, 1280
LABELS = tuple(Label(name=organ, values=(value,)) for value, organ in enumerate(ORGANS, start=1))
NAMES = tuple(f"case_{number:03d}" for number in range(CASES))
ADDRESS = "https://example.org/" + "registry-of-abdominal-scans/" * 8
"""Wider than a phone, and without a place to break."""
CARD = f'''
intended_use = """
Livers of <b>adults</b> & older children.

A second paragraph."""
out_of_scope = "<script>document.title = 'taken over'</script>"
contact = "{ADDRESS}"
'''


def test_chromium_is_there_where_it_must_be() -> None:
    if os.environ.get("AUTOSEG_BROWSER") != "required":
        pytest.skip("AUTOSEG_BROWSER is not 'required'")
    assert program(), "install the Debian package chromium"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 200 cases; of those that it draws there are images of a usual CT's size."""
    root = tmp_path_factory.mktemp("report")
    workspace = Workspace(root / "abdomen.autoseg")
    generator = np.random.default_rng(0)
    overlap = np.sort(generator.beta(12, 2, CASES))[::-1]
    drawn = {NAMES[0], NAMES[CASES // 2], *NAMES[-SUSPECTS:]}
    for seed, name in enumerate(sorted(drawn)):
        image, label = phantom_case(seed, slices=(90, 90), edge=(230, 230))
        write_image(root / "data" / "images" / f"{name}.nii.gz", image)
        for folder in (root / "data" / "labels", *(workspace.validation(each, 0) for each in CONFIGURATIONS)):
            folder.mkdir(parents=True, exist_ok=True)
            moved = np.roll(label.array[0], seed if folder.name == "fold_0" else 0, axis=2).astype(np.uint8)
            write_label(folder / f"{name}.nii.gz", moved, root / "data" / "images" / f"{name}.nii.gz")
    write_records(workspace, root / "data", overlap)
    (workspace.root / "model_card.toml").write_text(CARD, encoding="utf-8")
    return report(workspace)


def write_records(workspace: Workspace, data: Path, overlap: np.ndarray) -> None:
    cases = tuple(
        Case(name=n, images=(f"images/{n}.nii.gz",), references=(f"labels/{n}.nii.gz",), group=n) for n in NAMES
    )
    dataset = a_dataset(data, cases, LABELS, name="abdomen", layout="folders", channels=("CT",))
    write_record(workspace.dataset, dataset)
    write_record(workspace.findings, an_inspection(dataset))
    fingerprint = a_fingerprint()
    write_record(workspace.fingerprint, fingerprint)
    write_record(workspace.plan, make_plan(fingerprint, RECIPES["auto"], Budget(seconds=3600)))
    write_record(workspace.folds, Folds(because="all judged", folds=(Fold(train=NAMES[1:], validation=NAMES),)))
    write_record(workspace.machine, Machine(device="cpu", cores=2, memory_bytes=8 << 30, bf16=True, flops_per_s=2e11))
    for step in ("inspect", "fingerprint", "plan", "preprocess", "train", "validate"):
        with logged_step(workspace.run_log, step):
            pass
    rules = Rules(metrics=("dice", "hd95_mm"))
    for configuration, factor in zip(CONFIGURATIONS, (0.9, 1.0), strict=True):
        scored = [a_case(name, factor * dice) for name, dice in zip(NAMES, overlap, strict=True)]
        write_record(workspace.validation(configuration, 0) / "scores.json", make_scores(LABELS, scored, (), rules))
    write_judged(workspace, CONFIGURATIONS)


def a_case(name: str, dice: float) -> CaseScore:
    rows = []
    for shift, label in enumerate(LABELS):
        tp, fp, fn = int(1000 * dice), 1000 - int(1000 * dice) + 20 * shift, 1000 - int(1000 * dice)
        rows.append(
            LabelScore(
                label=label.name,
                tp=tp,
                fp=fp,
                fn=fn,
                dice=dice_of(tp, fp, fn),
                iou=iou_of(tp, fp, fn),
                reference_ml=1.0,
                prediction_ml=1.0,
                hd95_mm=float((2.0 + shift) * (1 - dice) / 0.1),
            )
        )
    return CaseScore(case=name, patient=name, prediction=f"{name}.nii.gz", labels=tuple(rows))


def an_inspection(dataset: Dataset) -> Inspection:
    where = [("warning", name) for name in NAMES[:40]]
    return Inspection(
        dataset="abdomen",
        folder=dataset.folder,
        layout="folders",
        n_cases=CASES,
        n_test_cases=0,
        channels=("CT",),
        labels=ORGANS,
        cases=(),
        test_cases=(),
        inferences=(),
        findings=tuple(Finding(severity=s, where=w, what="label touches the edge", mend="look") for s, w in where),
    )


def a_fingerprint() -> Fingerprint:
    generator = np.random.default_rng(1)
    cases = tuple(
        CaseFingerprint(
            name=name,
            dimensions=3,
            shape=(90, 230, 230),
            shape_after_crop=(int(generator.integers(70, 91)), 220, 220),
            spacing_mm=(4.0, 2.0, 2.0),
            label_voxels=tuple(int(v) for v in generator.integers(500, 50_000, len(LABELS))),
            label_components=(1, 2, 1, 1),
        )
        for name in NAMES
    )
    channel = ChannelFingerprint(
        name="CT",
        modality="ct",
        modality_reason="values reach -1000",
        mean=40.0,
        std=20.0,
        minimum=-1000.0,
        maximum=900.0,
        median=42.0,
        percentile_00_5=-60.0,
        percentile_99_5=320.0,
    )
    return Fingerprint(
        dataset="abdomen",
        channels=(channel,),
        labels=LABELS,
        overlapping=False,
        cases=cases,
        median_relative_size_after_crop=0.9,
        n_training=CASES,
    )


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if program() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


def opened(chromium: Browser, page: Path, width: int) -> Browser:
    chromium.console.clear()
    chromium.requests.clear()
    chromium.open(page, width)
    ready = "new Promise((done) => { const look = () => document.querySelectorAll('figure.live').length ="
    chromium.ask(ready + "== document.querySelectorAll('.viewer').length ? done() : setTimeout(look, 50); look(); })")
    return chromium


def test_two_hundred_cases_stay_small(page: Path) -> None:
    assert page.stat().st_size < MOST_BYTES
    assert page.read_text(encoding="utf-8").count('class="viewer"') == 3 * len(CONFIGURATIONS)


def test_every_section_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names = ("data", "plan", "training", "validation", "selection", "calibration", "quality", "suspects")
    assert [name for name in names if f'<section id="{name}"' not in text] == []
    assert text.count("Reliability of all labels") == 1
    assert text.count(" % interval covers ") == len(LABELS)
    assert text.count("<figcaption>case_") == SUSPECTS
    assert "cannot be drawn" not in text


def test_it_opens_from_disk_without_an_error_or_a_request(page: Path, chromium: Browser) -> None:
    opened(chromium, page, DESKTOP)
    assert chromium.console == []
    assert [url for url in chromium.requests if not url.startswith(("data:", page.as_uri()))] == []


def test_each_plane_has_a_slider_that_changes_what_is_drawn(page: Path, chromium: Browser) -> None:
    opened(chromium, page, DESKTOP)
    moved = chromium.ask("""[...document.querySelector('.viewer').querySelectorAll('.plane')].map((plane) => {
        const canvas = plane.querySelector('canvas'), slider = plane.querySelector('input');
        const before = canvas.toDataURL();
        slider.value = Math.floor(slider.max / 4);
        slider.dispatchEvent(new Event('input'));
        return [before !== canvas.toDataURL(), plane.querySelector('output').textContent, Number(slider.max)];
    })""")
    assert [changed for changed, _, _ in moved] == [True, True, True]
    assert all(told == f"{last // 4 + 1} / {last + 1}" for _, told, last in moved)
    assert all(last > 20 for _, _, last in moved)


def test_a_click_in_one_plane_moves_the_others(page: Path, chromium: Browser) -> None:
    opened(chromium, page, DESKTOP)
    values = chromium.ask("""(() => {
        const planes = [...document.querySelector('.viewer').querySelectorAll('.plane')];
        const canvas = planes[1].querySelector('canvas'), box = canvas.getBoundingClientRect();
        const at = {clientX: box.left + 0.25 * box.width, clientY: box.top + 0.75 * box.height};
        canvas.dispatchEvent(new MouseEvent('click', at));
        return planes.map((plane) => ['value', 'max'].map((name) => Number(plane.querySelector('input')[name])));
    })()""")
    assert values[0][0] == pytest.approx(0.25 * values[0][1], abs=1.5)  # its rows run from head to foot
    assert values[2][0] == pytest.approx(0.25 * values[2][1], abs=1.5)


def test_reference_and_prediction_can_be_hidden(page: Path, chromium: Browser) -> None:
    opened(chromium, page, DESKTOP)
    pictures = chromium.ask("""(() => {
        const root = document.querySelector('.viewer'), canvas = root.querySelector('canvas');
        const found = [canvas.toDataURL()];
        for (const box of root.querySelectorAll('.switches input')) { box.click(); found.push(canvas.toDataURL()); }
        return found;
    })()""")
    assert len(set(pictures)) == 3


def test_a_table_sorts_by_a_click_on_its_heading(page: Path, chromium: Browser) -> None:
    opened(chromium, page, DESKTOP)
    columns = chromium.ask("""(() => {
        const table = [...document.querySelectorAll('table.sortable')].find((t) => t.tBodies[0].rows.length === 200);
        const read = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[1].textContent));
        const button = table.tHead.rows[0].cells[1].querySelector('button');
        button.click(); const rising = read();
        button.click(); const falling = read();
        return [rising, falling];
    })()""")
    assert columns[0] == sorted(columns[0])
    assert columns[1] == sorted(columns[1], reverse=True)
    assert len(columns[0]) == CASES
    assert columns[0][0] < columns[0][-1]


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_card_shows_what_the_user_wrote_as_text_and_within_the_screen(
    page: Path, chromium: Browser, width: int
) -> None:
    opened(chromium, page, width)
    told = chromium.ask("""[...document.querySelectorAll('#card .own')].map((one) => {
        let before = one;
        while (before.tagName !== 'H3') before = before.previousElementSibling;
        return [one.textContent, one.children.length, one.scrollWidth <= one.clientWidth, before.textContent];
    })""")
    assert told == [
        ["Livers of <b>adults</b> & older children.", 0, True, "Intended use"],
        ["A second paragraph.", 0, True, "Intended use"],
        ["<script>document.title = 'taken over'</script>", 0, True, "Not for"],
        [ADDRESS, 0, True, "Contact and licence"],
    ]
    assert chromium.ask("document.title") != "taken over"
    asked = chromium.ask("document.querySelector('#card > .soft:last-child').textContent")
    assert asked.startswith("Nobody has written yet about: data, limits, ethics and approvals.")


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_nothing_is_wider_than_the_screen(page: Path, chromium: Browser, tmp_path: Path, width: int) -> None:
    opened(chromium, page, width)
    wide = chromium.ask("document.documentElement.scrollWidth")
    assert wide <= width
    chromium.picture(tmp_path / f"report-{width}.png")
    assert (tmp_path / f"report-{width}.png").stat().st_size > 10_000
    keep = os.environ.get("AUTOSEG_SCREENSHOTS")
    if keep:
        chromium.picture(Path(keep) / f"report-{width}.png")


def test_print_shows_the_still_picture_instead_of_the_viewer(page: Path, chromium: Browser) -> None:
    opened(chromium, page, DESKTOP)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    shown = chromium.ask("""['.viewer', '.still', 'nav'].map((name) =>
        getComputedStyle(document.querySelector(name)).display)""")
    chromium.call("Emulation.setEmulatedMedia", media="")
    assert shown == ["none", "block", "none"]
