"""`autoseg benchmark`: suites, their data put apart, the comparison, and the classical baseline end to end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.benchmark import compare, energy_text, free_path, run_benchmark, suite_named, summary
from autoseg.benchmark_options import BenchmarkOptions
from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record
from autoseg.datasets.dataset import Case, Dataset
from autoseg.datasets.options import Options
from autoseg.datasets.understand import understand
from autoseg.imaging.baseline import CANDIDATES, Fitted, best_interval, dice_of_positions, grown, labelled_image
from autoseg.imaging.read import read_image
from autoseg.imaging.volume import Grid, Volume
from autoseg.imaging.write import write_image, write_label
from autoseg.suites.arrangement import arrange, find_data
from autoseg.suites.record import BenchmarkRecord, CaseResult, Hardware
from autoseg.suites.suite import Suite, judged_cases, per_case_results
from autoseg.suites.table import DECATHLON, GROUPS, HIPPOCAMPUS, SUITES
from benchmarks.hippocampus.split import make_split

SUITE = Suite(
    name="toy", title="a ball", address="https://example.org/toy", licence="CC0", folders=("toy-data",), judged=3
)
IDENTITY = ((0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def dataset(*names: str, group: int = 1) -> Dataset:
    """Return a dataset with these cases, `group` of them from each patient."""
    cases = tuple(
        Case(name=name, images=(f"{name}.png",), references=("r.png",), group=f"patient {i // group}")
        for i, name in enumerate(names)
    )
    return Dataset(
        name="d",
        folder="d",
        layout="folders",
        channels=("image",),
        labels=(),
        value_map=(),
        overlapping=False,
        cases=cases,
        test_cases=(),
        inferences=(),
    )


def make_toy(folder: Path, count: int = 13) -> Path:
    """Write bright balls in noise, in the Decathlon's layout."""
    random = np.random.default_rng(0)
    z, y, x = np.indices((8, 16, 16))
    names = [f"ball_{i:02d}.nii.gz" for i in range(count)]
    for name in names:
        centre = 8 + random.integers(-2, 3, 2)
        ball = (z - 4) ** 2 + (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 12
        image = (random.normal(0, 0.2, ball.shape) + ball).astype(np.float32)
        volume = Volume(array=image[None], grid=Grid(shape=ball.shape, affine=IDENTITY, dimensions=3))
        write_image(folder / "toy-data" / "imagesTr" / name, volume)
        label = folder / "toy-data" / "labelsTr" / name
        label.parent.mkdir(exist_ok=True)
        write_label(label, ball.astype(np.uint8), folder / "toy-data" / "imagesTr" / name)
    listed = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    description = {"name": "toy", "modality": {"0": "MR"}, "labels": {"0": "background", "1": "ball"}}
    text = json.dumps({**description, "numTraining": count, "training": listed, "test": []})
    (folder / "toy-data" / "dataset.json").write_text(text)
    return folder


def test_the_hippocampus_split_is_the_one_of_earlier_records() -> None:
    names = tuple(per_case_results(HIPPOCAMPUS)["plain"])
    with_groups = dataset(*names)
    cases = tuple(replace(case, group=case.name) for case in with_groups.cases)
    assert judged_cases(HIPPOCAMPUS, replace(with_groups, cases=cases)) == set(make_split(names).judged)


def test_patients_stay_whole_and_blocks_are_the_end_of_the_stack() -> None:
    pairs = dataset("a", "b", "c", "d", "e", "f", "g", "h", group=2)
    judged = judged_cases(SUITE, pairs)
    assert len(judged) == 4  # two patients: three cases are wanted and nobody is cut in two
    assert {case.group for case in pairs.cases if case.name in judged}.isdisjoint(
        case.group for case in pairs.cases if case.name not in judged
    )
    assert judged_cases(replace(SUITE, split="block"), dataset("1", "10", "9", "11", "2")) == {"9", "10", "11"}


def test_every_suite_says_where_its_data_are_and_under_which_licence() -> None:
    assert len(DECATHLON) == 10
    assert GROUPS["msd"] == tuple(suite.name for suite in DECATHLON)
    for name, suite in SUITES.items():
        assert suite.name == name
        assert all((suite.title, suite.address, suite.licence, suite.folders, suite.judged))
        assert all(0 < row.dice < 1 and row.source and row.protocol for row in suite.published)
    assert SUITES["msd-hepatic-vessel"].folders[:2] == ("Task08_HepaticVessel", "Dataset008_HepaticVessel")


def test_absent_data_are_told_with_address_and_licence(tmp_path: Path) -> None:
    with pytest.raises(AutosegError, match=r"no data .*medicaldecathlon.com \(licence: CC BY-SA 4.0\)"):
        run_benchmark("msd-liver", BenchmarkOptions(data=tmp_path))
    with pytest.raises(AutosegError, match="no data of any of its suites"):
        run_benchmark("msd", BenchmarkOptions(data=tmp_path))
    with pytest.raises(AutosegError, match="no such suite; take one of msd-brain-tumour, "):
        suite_named("liver")


def test_data_are_found_by_name_and_a_folder_of_other_suites_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "datasets" / "toy-data").mkdir(parents=True)
    assert find_data(SUITE, None, tmp_path) == tmp_path / "datasets" / "toy-data"
    assert find_data(SUITE, tmp_path / "datasets", tmp_path) == tmp_path / "datasets" / "toy-data"
    assert find_data(SUITE, tmp_path, tmp_path) == tmp_path
    (tmp_path / "other" / "Task03_Liver").mkdir(parents=True)
    with pytest.raises(AutosegError, match="no data"):
        find_data(SUITE, tmp_path / "other", tmp_path)


def test_a_variant_without_some_case_is_no_comparison() -> None:
    table = per_case_results(HIPPOCAMPUS)["plain"]
    cases = [CaseResult(case=name, dice=dice - 0.002) for name, dice in list(table.items())[:30]]
    peer = compare(HIPPOCAMPUS, cases)[0]
    assert peer.name == "nnU-Net 2 plain"
    assert peer.difference.mean == pytest.approx(-0.002)
    assert compare(HIPPOCAMPUS, [*cases, CaseResult(case="unknown", dice=0.9)]) == ()
    assert compare(SUITES["em"], cases) == ()


def test_best_interval_and_growing_by_hand() -> None:
    # bins: background 9 1 1 9, label 0 5 5 1; bins 1 and 2 hold 10 of 11 label voxels and 2 others: 20 / 23
    assert best_interval(np.array([[9.0, 1.0, 1.0, 9.0], [0.0, 5.0, 5.0, 1.0]])) == (1, 2)
    chance = np.array([[[0.9, 0.3, 0.1, 0.3, 0.3]]], dtype=np.float32)
    assert grown(chance, 0.2).ravel().tolist() == [True, True, False, False, False]
    found, reference = (np.array([[row]], dtype=np.uint8) for row in ([1, 1, 0, 2], [1, 0, 0, 0]))
    assert dice_of_positions(found, reference, 3) == pytest.approx((2 / 3 + 0) / 2)
    assert dice_of_positions(np.zeros((1, 1, 2), np.uint8), np.zeros((1, 1, 2), np.uint8), 3) is None


@pytest.mark.parametrize(
    "candidate", [CANDIDATES[1], CANDIDATES[3], CANDIDATES[7], CANDIDATES[-1]], ids=lambda c: c.name
)
def test_each_method_finds_a_bright_ball(candidate) -> None:
    random = np.random.default_rng(0)
    z, y, x = np.indices((8, 16, 16))
    cases = []
    for centre in (7, 8, 9, 8):
        ball = (z - 4) ** 2 + (y - centre) ** 2 + (x - 8) ** 2 < 12
        image = (random.normal(0, 0.1, ball.shape) + ball).astype(np.float32)[None]
        cases.append(labelled_image(image, ball.astype(np.uint8), (1.0, 1.0, 1.0)))
    found = Fitted(candidate, cases[:3], 2).segment(cases[3].image, (1.0, 1.0, 1.0))
    dice = dice_of_positions(found, cases[3].positions, 2)
    assert dice is not None
    assert dice > 0.75


def test_the_classical_baseline_runs_from_a_folder_to_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_toy(tmp_path / "data")
    monkeypatch.setitem(SUITES, "toy", SUITE)
    monkeypatch.setattr("autoseg.baseline.CANDIDATES", CANDIDATES[:2])
    options = BenchmarkOptions(
        data=data, method="classical", records=tmp_path / "records", workspace=tmp_path / "kept" / "toy.autoseg"
    )
    runs = run_benchmark("toy", options)
    record = read_record(Path(runs.files[0]), BenchmarkRecord)
    assert Path(runs.files[0]).name == "toy-classical.json"
    assert (record.n_training, len(record.cases), len(record.tried)) == (10, 3, 2)
    assert record.mean_dice > 0.7
    assert record.notes == ("chosen by cross-validation: " + max(record.tried, key=lambda one: one.dice).name,)
    trained = tmp_path / "kept" / "toy.data" / "toy-data"
    judged = {case.case for case in record.cases}
    assert not judged & {path.name.removesuffix(".nii.gz") for path in trained.rglob("*.nii.gz")}
    listed = json.loads((trained / "dataset.json").read_text())
    assert len(listed["training"]) == listed["numTraining"] == 10
    assert free_path(options.records, SUITE, options).name == "toy-classical-2.json"
    assert any("Wh (estimate)" in line or "measured" in line for line in summary(record))


def test_a_suite_says_how_its_folder_is_read_to_arranging_and_to_training(tmp_path: Path) -> None:
    made = make_toy(tmp_path) / "toy-data"
    for path in sorted((made / "imagesTr").glob("*.nii.gz")):
        case = tmp_path / "scans" / path.name.removesuffix(".nii.gz")
        case.mkdir(parents=True)
        shutil.copyfile(path, case / "CT_image.nii.gz")
        shutil.copyfile(path, case / "PET_image.nii.gz")
        shutil.copyfile(made / "labelsTr" / path.name, case / "CT_mask.nii.gz")
    reading = Options(images="*/CT_image.nii.gz", labels="*/CT_mask.nii.gz")
    suite = replace(SUITE, reading=reading)
    assert suite.words == ("--images", "*/CT_image.nii.gz", "--labels", "*/CT_mask.nii.gz")
    stray = Options(merge_instances=True, clean_labels=True)
    assert replace(SUITE, reading=stray).words == ("--merge-instances", "--clean-labels")
    assert SUITE.words == ()
    arranged = arrange(suite, tmp_path / "scans", tmp_path / "arranged")
    assert (arranged.n_training, arranged.n_judged) == (10, 3)
    trained = {path.relative_to(arranged.training).name for path in arranged.training.rglob("*.nii.gz")}
    assert trained == {"CT_image.nii.gz", "CT_mask.nii.gz"}
    assert len(understand(arranged.training, reading).cases) == 10


def test_judged_pictures_keep_the_size_of_their_pixels(tmp_path: Path) -> None:
    size = json.dumps({"PixelSize": [0.1, 0.1], "PixelSizeUnits": "um"})
    for number in range(4):
        for part in ("images", "labels"):
            (tmp_path / "cells" / part).mkdir(parents=True, exist_ok=True)
            picture = np.zeros((16, 16), np.uint8)
            picture[4:8, 4:8] = 1 if part == "labels" else 200 + number
            Image.fromarray(picture).save(tmp_path / "cells" / part / f"cell_{number}.png")
        (tmp_path / "cells" / "images" / f"cell_{number}.json").write_text(size)
    arranged = arrange(replace(SUITE, judged=1), tmp_path / "cells", tmp_path / "arranged")
    (picture_path,) = arranged.judged_images.glob("*.png")
    assert read_image(picture_path).grid.spacing_mm[1:] == pytest.approx((1e-4, 1e-4))


def test_a_suite_with_too_few_cases_is_refused(tmp_path: Path) -> None:
    data = make_toy(tmp_path, count=3) / "toy-data"
    with pytest.raises(AutosegError, match="3 labelled cases, where 3 are judged; get all of them from https"):
        arrange(SUITE, data, tmp_path / "arranged")


def test_energy_and_an_exceeded_budget_are_said_aloud() -> None:
    record = BenchmarkRecord(
        benchmark="hippocampus",
        date="2026-01-01",
        commit="0" * 40,
        command="",
        budget_s=60.0,
        seed=0,
        train_s=64.0,
        predict_s=5.0,
        peak_process_bytes=1 << 30,
        peak_total_bytes=1 << 30,
        hardware=Hardware(cpu="", cores=1, memory_bytes=1, bf16=False, gpu=None),
        versions=(),
        n_training=1,
        cases=(CaseResult(case="hippocampus_001", dice=0.9),),
        mean_dice=0.9,
        mean_interval=None,
        peers=(),
    )
    assert "(budget 60 s, EXCEEDED)" in summary(record)[0]
    assert "(budget 60 s)" in summary(replace(record, train_s=62.9))[0]
    assert energy_text(record) == "energy unknown"
    assert energy_text(replace(record, processor_s=360.0)) == "about 1.0 Wh (estimate)"
    assert energy_text(replace(record, processor_s=360.0, energy_j=7200.0)) == "2.0 Wh (processors, measured)"
