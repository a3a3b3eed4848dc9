"""Judging out-of-fold predictions that are made up: faults put into labels are found, and records say so."""

import numpy as np
import pytest

from autoseg.core.calibration import CALIBRATION_NAME, Calibration
from autoseg.core.observation import CaseObservation
from autoseg.core.quality import QUALITY_NAME, Quality
from autoseg.core.records import read_record, write_record
from autoseg.core.suspects import SUSPECTS_NAME, Suspects
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Case, Fold, Folds
from autoseg.imaging.case_statistics import structure_statistics
from autoseg.learning.model_files import ModelRecord, NetworkFile
from autoseg.learning.observation import Observed, Sample
from autoseg.predicting.observing import Seen, observation_of, write_observation
from autoseg.reporting.calibration import calibration_section
from autoseg.reporting.material import gather
from autoseg.reporting.quality import quality_section
from autoseg.reporting.suspects import suspects_section
from autoseg.steps.evaluate import score_validation
from autoseg.steps.judge import judge, words
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget
from tests.records import a_dataset
from tests.steps.test_report import LABELS, SHAPE, fingerprint, save

NAMES = tuple(f"case_{index:02d}" for index in range(24))
SHIFTED, SWAPPED, CUT = "case_05", "case_11", "case_17"


def structures(random):
    """Two boxes beside each other, moved a little from case to case."""
    label = np.zeros(SHAPE, np.uint8)
    y = int(random.integers(4, 7))
    label[2:9, y : y + 7, 2:7] = 1
    label[2:9, y : y + 7, 7:12] = 2
    return label


def predicted(label, random):
    """The reference with ragged borders."""
    result = label.copy()
    border = (label > 0) & (random.random(label.shape) < 0.08)
    result[border] = 0
    return result


def faulty(name, label):
    if name == SHIFTED:
        moved = np.zeros_like(label)
        moved[:, 2:] = label[:, :-2]
        return moved
    if name == SWAPPED:
        return np.array([0, 2, 1], np.uint8)[label]
    if name == CUT:
        cut = label.copy()
        cut[6:] = 0
        return cut
    return label


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(tmp_path / "pairs.autoseg")
    folds = (Fold(train=NAMES[12:], validation=NAMES[:12]), Fold(train=NAMES[:12], validation=NAMES[12:]))
    plan = make_plan(fingerprint(NAMES, 3), RECIPES["auto"], Budget(steps=10))
    for index, name in enumerate(NAMES):
        random = np.random.default_rng(index)
        label = structures(random)
        prediction = predicted(label, random)
        save(tmp_path / "data" / f"{name}.nii.gz", random.normal(0, 1, SHAPE).astype(np.float32))
        save(tmp_path / "data" / f"{name}_seg.nii.gz", faulty(name, label))
        folder = made.validation("3d_fullres", index // 12)
        save(folder / f"{name}.nii.gz", prediction)
        observe(folder, name, plan, (label, prediction), random)
    cases = tuple(Case(name=n, images=(f"{n}.nii.gz",), references=(f"{n}_seg.nii.gz",), group=n) for n in NAMES)
    dataset = a_dataset(tmp_path / "data", cases, LABELS, name="pairs")
    write_record(made.dataset, dataset)
    write_record(made.fingerprint, fingerprint(NAMES, 3))
    write_record(made.plan, plan)
    write_record(made.folds, Folds(because="two", folds=folds))
    network = NetworkFile(
        configuration="3d_fullres",
        fold=0,
        file="w",
        sha256="a" * 64,
        steps=1,
        seconds=1.0,
        validation_dice=None,
    )
    model = ModelRecord(dataset="pairs", version="0", configuration="3d_fullres", networks=(network,), mirror_axes=())
    write_record(made.model / "model.json", model)
    for fold in (0, 1):
        score_validation(made, "3d_fullres", fold)
    return made


def observe(folder, name, plan, maps, random):
    """Write what a network would have been seen to do that says 0.99 of every voxel and is right as often as it is."""
    label, prediction = maps
    said = np.full((*SHAPE, 3), 0.005, np.float32)
    np.put_along_axis(said, prediction[..., None].astype(int), 0.99, axis=-1)
    flat = said.reshape(-1, 3)
    chosen = np.flatnonzero((label > 0).reshape(-1))
    sums = np.array(
        [
            [(prediction == v).sum(), (prediction == v).sum(), 0.97 * (prediction == v).sum(), 30 * random.random(), 0]
            for v in (1, 2)
        ]
    )
    near = Sample(indexes=chosen, probabilities=flat[chosen], drawn_from=len(chosen))
    far = Sample(indexes=np.arange(5), probabilities=flat[:5], drawn_from=500)
    observed = Observed(sums=sums, near=near, far=far)
    seen = Seen(observed=observed, image=tuple(random.normal(0, 1, 5).tolist()))
    write_observation(folder, observation_of((name, "digest"), plan, prediction, (1.0, 1.0, 1.0), seen), observed)


def test_faults_in_labels_lead_the_list_with_what_explains_them(workspace):
    found = judge(workspace, "3d_fullres", (0, 1)).suspects
    assert {case.case for case in found.cases[:3]} == {SHIFTED, SWAPPED, CUT}
    assert len(found.cases) == len(NAMES)
    by_name = {case.case: case for case in found.cases}
    assert by_name[SHIFTED].explanation == "shifted by 2 voxels along y"
    assert by_name[SWAPPED].explanation == "liver & <b> and lesion exchanged"
    assert all(by_name[name].suspect for name in (SHIFTED, SWAPPED, CUT))
    assert sum(case.suspect for case in found.cases) == 3


def test_the_records_are_written_and_shown(workspace):
    judged = judge(workspace, "3d_fullres", (0, 1))
    for folder in (workspace.root, workspace.model):
        assert read_record(folder / CALIBRATION_NAME, Calibration) == judged.calibration
        assert read_record(folder / QUALITY_NAME, Quality) == judged.quality
    assert read_record(workspace.root / SUSPECTS_NAME, Suspects) == judged.suspects
    assert judged.calibration.networks == ("a" * 64,)
    text = " ".join(words(judged))
    assert "calibration: temperature" in text
    assert f"labels to look at: {', '.join(case.case for case in judged.suspects.cases[:3])}" in text
    material = gather(workspace)
    assert "Reliability" in calibration_section(material)
    foreseen = judged.quality.structures[0].foreseen
    covered = sum(case.lower <= case.true <= case.upper for case in foreseen)
    assert len(foreseen) == len(NAMES)
    assert "fitted on 24 unseen cases" in quality_section(material)
    assert f"the 90 % interval covers {covered} of 24, median width 0." in quality_section(material)
    assert "Foreseen against true Dice" in quality_section(material)
    page = suspects_section(material)
    assert "3 of 24 cases are marked" in page
    assert page.count("data:image/png;base64") == 6
    assert page.count(", marked:") == 2 * 3  # beside the picture and in place of it


def test_a_network_that_is_too_sure_of_itself_gets_a_temperature_above_one(workspace):
    """It says 0.99 and is right in about 92 of 100 voxels of the structures."""
    (found,) = judge(workspace, "3d_fullres", (0, 1)).calibration.temperatures
    assert found.temperature > 1.2
    assert found.after.calibration_error < found.before.calibration_error


def test_cases_that_were_not_observed_are_left_out(workspace):
    for name in NAMES[3:]:
        for folder in (workspace.validation("3d_fullres", fold) for fold in (0, 1)):
            (folder / "observations" / f"{name}.json").unlink(missing_ok=True)
    judged = judge(workspace, "3d_fullres", (0, 1))
    assert judged.calibration.n_cases == 3
    assert judged.calibration.temperatures[0].because == "3 unseen cases are too few (at least 5)"
    assert (
        judged.quality.structures[0].because
        == "3 unseen cases are too few to tell (at least 20; with --folds 5 every training case is one)"
    )
    assert judged.suspects.because == "3 unseen cases are too few (at least 5)"
    assert "too few" in " ".join(words(judged))
    assert "None: 3 unseen cases are too few" in suspects_section(gather(workspace))


def test_statistics_of_a_structure_by_hand():
    label = np.zeros((4, 5, 6), np.uint8)
    label[0:3, 0:3, 0:3] = 1
    label[3, 4, 5] = 1
    found, nothing = structure_statistics(label, [(1,), (2,)], (1.0, 2.0, 0.5))
    assert (found.voxels, found.volume_mm3, found.components, found.largest_voxels) == (28, 28.0, 2, 27)
    assert found.surface_voxels == 27
    np.testing.assert_allclose(
        found.centre, [((27 * 1 + 3) / 28 + 0.5) / 4, ((27 + 4) / 28 + 0.5) / 5, ((27 + 5) / 28 + 0.5) / 6]
    )
    assert (nothing.voxels, nothing.components, nothing.centre) == (0, 0, None)


def test_an_observation_comes_back_from_disk(workspace):
    path = workspace.validation("3d_fullres", 0) / "observations" / "case_00.json"
    found = read_record(path, CaseObservation)
    assert [each.label for each in found.structures] == ["liver & <b>", "lesion"]
    assert found.model_digest == "digest"
