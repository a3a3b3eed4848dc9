"""report.html: one file that asks no network for anything, whatever the workspace holds so far."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import logged_step
from autoseg.core.scores import Scores, make_scores
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Dataset, Fold, Folds, Inference
from autoseg.datasets.inspection import Finding, Inspection
from autoseg.steps.evaluate import score_validation
from autoseg.steps.report import report
from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget, Machine
from tests.records import a_dataset

VOID = {"meta", "br", "img", "path", "use", "rect"}
LABELS = (Label(name="liver & <b>", values=(1,)), Label(name="lesion", values=(2,)))
SHAPE = (12, 20, 16)


class Page(HTMLParser):
    """Checks that tags close in order, and gathers what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name.endswith(("href", "src", "action", "srcset"))]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.text += data


def array(dimensions: int, shift: int = 0) -> np.ndarray:
    shape = SHAPE if dimensions == 3 else (*SHAPE[1:], 1)
    result = np.zeros(shape, dtype=np.uint8)
    result[3 + shift : 9 + shift, 4:12, : shape[2] // 2 + 1] = 1
    result[5:7, 6:9, : shape[2] // 2 + 1] = 2
    return result


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])), path)


def case_fingerprint(name: str, dimensions: int) -> CaseFingerprint:
    shape = (16, 20, 12) if dimensions == 3 else (1, 20, 12)
    return CaseFingerprint(
        name=name,
        dimensions=dimensions,
        shape=shape,
        shape_after_crop=shape,
        spacing_mm=(3.0, 1.0, 1.0),
        label_voxels=(400, 20 * int(name[-1])),
        label_components=(1, 2),
    )


def fingerprint(names: tuple[str, ...], dimensions: int) -> Fingerprint:
    channel = ChannelFingerprint(
        name="ct",
        modality="ct" if dimensions == 3 else "microscopy",
        modality_reason="values reach -1000",
        mean=40.0,
        std=20.0,
        minimum=-900.0,
        maximum=900.0,
        median=42.0,
        percentile_00_5=-60.0,
        percentile_99_5=120.0,
    )
    return Fingerprint(
        dataset="livers",
        channels=(channel,),
        labels=LABELS,
        overlapping=False,
        cases=tuple(case_fingerprint(name, dimensions) for name in names),
        median_relative_size_after_crop=0.9,
        n_training=len(names),
    )


@pytest.fixture(params=[3, 2], ids=["3d", "2d"])
def finished(tmp_path: Path, request: pytest.FixtureRequest) -> Workspace:
    """A workspace after training: five cases, two of them validated."""
    return make_workspace(tmp_path, request.param)


def make_workspace(root: Path, dimensions: int) -> Workspace:
    names = tuple(f"case_{i}" for i in range(5))
    workspace = Workspace(root / "livers.autoseg")
    generator = np.random.default_rng(0)
    for name in names:
        label = array(dimensions)
        save(root / "data" / f"{name}.nii.gz", generator.normal(40, 20, label.shape).astype(np.float32))
        save(root / "data" / f"{name}_seg.nii.gz", label)
    cases = tuple(Case(name=n, images=(f"{n}.nii.gz",), references=(f"{n}_seg.nii.gz",), group=n) for n in names)
    dataset = a_dataset(
        root / "data",
        cases,
        LABELS,
        name="livers",
        inferences=(Inference(what="layout", value="suffix", because="files end in _seg"),),
    )
    write_record(workspace.dataset, dataset)
    finding = Finding(severity="warning", where="case_3", what="label touches the edge <script>", mend="look at it")
    write_record(workspace.findings, inspection(dataset, finding))
    write_record(workspace.fingerprint, fingerprint(names, dimensions))
    plan = make_plan(fingerprint(names, dimensions), RECIPES["auto"], Budget(seconds=600))
    write_record(workspace.plan, plan)
    write_record(workspace.folds, Folds(because="two held out", folds=(Fold(train=names[2:], validation=names[:2]),)))
    write_record(workspace.machine, Machine(device="cpu", cores=2, memory_bytes=8 << 30, bf16=True, flops_per_s=2e11))
    with logged_step(workspace.run_log, "train", fold=0):
        pass
    configuration = plan.configurations[0].name
    for shift, name in enumerate(names[:2]):
        save(workspace.validation(configuration, 0) / f"{name}.nii.gz", array(dimensions, shift))
    score_validation(workspace, configuration, 0)
    write_progress(workspace.training(configuration, 0) / "progress.jsonl")
    return workspace


def inspection(dataset: Dataset, finding: Finding) -> Inspection:
    return Inspection(
        dataset=dataset.name,
        folder=dataset.folder,
        layout=dataset.layout,
        n_cases=len(dataset.cases),
        n_test_cases=0,
        channels=dataset.channels,
        labels=tuple(label.name for label in dataset.labels),
        cases=(),
        test_cases=(),
        inferences=dataset.inferences,
        findings=(finding,),
    )


def write_progress(path: Path) -> None:
    path.parent.mkdir(parents=True)
    lines = [
        {
            "step": 10 * i,
            "progress": i / 4,
            "seconds": 30.0 * i,
            "train_loss": None if i == 1 else 1.0 - 0.2 * i,
            "learning_rate": 1e-3,
            "validation_dice": 0.2 * i if i % 2 else None,
            "validation_dice_per_label": [0.25 * i, None] if i % 2 else [],
            "data_seconds": 3.0,
            "compute_seconds": 27.0,
            "samples_per_s": 5.0,
            "peak_memory_bytes": 1 << 30,
        }
        for i in range(1, 5)
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"step": 50, "pro')


def test_page_shows_every_part_of_a_finished_run(finished: Workspace) -> None:
    path = report(finished)
    assert path == finished.report
    page = Page(path.read_text(encoding="utf-8"))
    for expected in (
        "Research use, not a diagnosis.",
        "2 cases that the network had not seen in training",
        "2 patients are too few for an interval",
        "Best case: case_0",
        "Median and worst case: case_1",
        "Dice of each label",
        "HD95 (mm) of each label",
        "mean HD95 (mm)",
        "40 steps in 2 min 0 s",
        "10% of the time was spent waiting for data",
        "patch",
        "because",
        "files end in _seg",
        "label touches the edge <script>",
        "liver & <b>",
        "components per case",
        "2 cores, 8.0 GiB memory, bf16, 200 GFLOP/s measured",
        "SHA-256",
        "numpy",
    ):
        assert expected in page.text, expected
    assert page.tags.count("svg") >= 4
    three_d = "viewer" in path.read_text(encoding="utf-8").partition("<main>")[2].partition("</main>")[0]
    assert page.tags.count("img") == (6 if three_d else 2)  # a picture of each case, and two sheets of a viewer
    assert path.stat().st_size < 3_000_000


def test_page_asks_no_network_for_anything(finished: Workspace) -> None:
    text = report(finished).read_text(encoding="utf-8")
    addresses = Page(text).addresses
    assert addresses
    assert all(address.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,")) for address in addresses)
    for forbidden in ("http:", "https:", "url(http", "@import", "fetch(", "XMLHttpRequest", "//cdn", "file:"):
        assert forbidden not in text, forbidden


def test_names_from_the_dataset_cannot_become_markup(finished: Workspace) -> None:
    page = Page(report(finished).read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert "b" not in page.tags


def test_two_reports_of_one_run_are_the_same(finished: Workspace) -> None:
    first = report(finished).read_bytes()
    assert report(finished).read_bytes() == first


@pytest.mark.parametrize("kept", ["fingerprint", "dataset", "plan", "findings"])
def test_one_record_is_enough(tmp_path: Path, kept: str) -> None:
    full = make_workspace(tmp_path, 3)
    alone = Workspace(tmp_path / "alone.autoseg")
    alone.root.mkdir()
    getattr(alone, kept).write_bytes(getattr(full, kept).read_bytes())
    Page(report(alone).read_text(encoding="utf-8"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutosegError, match="nothing to report; run `autoseg plan-and-train DATASET` first"):
        report(Workspace(tmp_path))
    assert not (tmp_path / "report.html").exists()


def test_a_dataset_that_is_gone_costs_only_the_overlays(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, 3)
    for path in (tmp_path / "data").iterdir():
        path.unlink()
    page = Page(report(workspace).read_text(encoding="utf-8"))
    assert "It cannot be drawn" in page.text
    assert page.tags.count("img") == 0


def test_folds_of_one_configuration_are_pooled(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, 3)
    names = tuple(f"case_{i}" for i in range(5))
    folds = (Fold(train=names[2:], validation=names[:2]), Fold(train=names[:2], validation=names[2:]))
    write_record(workspace.folds, Folds(because="two", folds=folds))
    for name in names[2:]:
        save(workspace.validation("3d_fullres", 1) / f"{name}.nii.gz", array(3))
    score_validation(workspace, "3d_fullres", 1)
    page = Page(report(workspace).read_text(encoding="utf-8"))
    assert "3d_fullres, folds 0, 1" in page.text
    assert "5 cases that the network had not seen" in page.text
    assert "5 patients are too few for an interval" in page.text
    assert "2 patients" not in page.text


def test_scores_without_distances_are_still_reported(tmp_path: Path) -> None:
    """Folds that an older version validated, beside one that this version did."""
    workspace = make_workspace(tmp_path, 3)
    names = tuple(f"case_{i}" for i in range(5))
    folds = (Fold(train=names[2:], validation=names[:2]), Fold(train=names[:2], validation=names[2:]))
    write_record(workspace.folds, Folds(because="two", folds=folds))
    path = workspace.validation("3d_fullres", 0) / "scores.json"
    now = read_record(path, Scores)
    labels = [[replace(label, hd95_mm=None) for label in case.labels] for case in now.cases]
    cases = [replace(case, labels=tuple(of)) for case, of in zip(now.cases, labels, strict=True)]
    write_record(path, make_scores(now.labels, cases, ()))
    assert "HD95" not in Page(report(workspace).read_text(encoding="utf-8")).text
    for name in names[2:]:
        save(workspace.validation("3d_fullres", 1) / f"{name}.nii.gz", array(3))
    score_validation(workspace, "3d_fullres", 1)
    page = Page(report(workspace).read_text(encoding="utf-8"))
    assert "fold 0 was validated without HD95 (mm): undefined there" in page.text


def test_what_the_user_wrote_in_the_model_card_is_on_the_page_and_survives_the_next_report(finished: Workspace) -> None:
    assert "Nobody has written yet about: intended use" in report(finished).read_text(encoding="utf-8")
    written = finished.model_card.read_text(encoding="utf-8")
    for key in ("intended_use", "data", "limits"):
        written = written.replace(f'{key} = """\n"""', f'{key} = """\nMy own <{key}>.\n"""')
    finished.model_card.write_text(written, encoding="utf-8")
    for _ in range(2):
        html = report(finished).read_text(encoding="utf-8")
        assert all(f"My own &lt;{key}&gt;." in html for key in ("intended_use", "data", "limits"))
        assert "Nobody has written yet about: not for, ethics and approvals, contact and licence." in html
        assert finished.model_card.read_text(encoding="utf-8") == written
