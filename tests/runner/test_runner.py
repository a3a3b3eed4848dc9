"""An exported model makes the engine's label maps, where only NumPy, onnxruntime and nibabel are."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.imaging.changes import Change
from autoseg.learning.model_files import load_model_record
from autoseg.runner import load
from autoseg.runner.command import main
from autoseg.runner.record import RunnerRecord
from autoseg.runner.shapes import Float32
from autoseg.runner.sources import PACKAGE, imported, runner_files
from autoseg.runner.strict import read_strict
from autoseg.steps.export import export
from planners.fingerprint import Label
from planners.plan import Plan
from tests.runner.models import (
    SPACING_MM,
    calibrate,
    make_model,
    mirrored,
    phantom,
    planned,
    torch_labels,
    torch_probabilities,
)

BLOCKED = ("torch", "scipy", "skimage", "msgspec", "SimpleITK", "autoseg", "planners", "jaxtyping", "onnx", "cyclopts")
BLOCKER = f"""
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

MODELS = [
    pytest.param((planned(),), {}, id="3d"),
    pytest.param((planned(2),), {"plan": {"transpose": (0, 2, 1)}}, id="2d, turned"),
    pytest.param((planned(architecture="residual-unet"),), {"plan": {"transpose": (2, 0, 1)}}, id="residual, turned"),
    pytest.param(
        (mirrored(planned(architecture="attention-unet"), (0, 2)),),
        {"folds": 2, "record": {"mirror": True}},
        id="attention, two folds, mirrored",
    ),
    pytest.param((planned(),), {"plan": {"target": "regions"}}, id="regions"),
    pytest.param(
        (planned(),),
        {
            "plan": {"target": "regions"},
            "record": {
                "postprocessing": (
                    Change(values=(300,), otherwise=2),
                    Change(kind="fill-holes", values=(300,), otherwise=2),
                )
            },
        },
        id="regions, largest part of one",
    ),
    pytest.param(
        (planned(2), planned()),
        {
            "record": {
                "ensemble": ("2d", "3d_fullres"),
                "postprocessing": (Change(values=(1,)), Change(values=(2, 300))),
            }
        },
        id="ensemble, largest parts",
    ),
    pytest.param(
        (planned(2), planned()),
        {"plan": {"target": "regions"}, "record": {"ensemble": ("2d", "3d_fullres")}},
        id="ensemble of regions",
    ),
    pytest.param(
        (
            planned(name="3d_lowres", spacing_mm=(4.0, 2.0, 2.0)),
            planned(name="3d_cascade_fullres", previous="3d_lowres"),
        ),
        {},
        id="cascade",
    ),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model with one channel and small values, as its folder and as its export."""
    place = tmp_path_factory.mktemp("exported")
    channel = planned(normalizations=planned().normalizations[:1])
    labels = (Label(name="organ", values=(1,)), Label(name="lesion", values=(2,)))
    model = make_model(place / "model", channel, plan={"channels": ("t1",), "labels": labels})
    export(model, place / "out")
    return place


class TestLabels:
    @pytest.mark.parametrize(("configurations", "changes"), MODELS)
    def test_equal_the_engines(self, tmp_path, configurations, changes):
        model = make_model(tmp_path / "model", *configurations, **changes)
        image = phantom()
        expected = torch_labels(model, image)
        export(model, tmp_path / "out")
        found = load(tmp_path / "out", threads=1).predict(image, SPACING_MM)
        assert found.dtype == expected.dtype == np.uint16
        assert (found == expected).mean() >= 0.9999
        assert len(np.unique(expected)) > 2
        assert not expected[0].any()

    def test_of_thick_slices_equal_the_engines(self, exported):
        image = phantom(channels=1, seed=3)
        spacing_mm = (9.0, 0.7, 0.7)
        found = load(exported / "out").predict(image[0], spacing_mm)
        assert found.dtype == np.uint8
        assert (found == torch_labels(exported / "model", image, spacing_mm)).mean() >= 0.9999

    def test_of_an_image_that_one_block_and_one_tile_do_not_hold_equal_the_engines(self, exported):
        image = phantom((40, 30, 150), channels=1, seed=4)
        spacing_mm = (0.7, 1.1, 0.6)
        found = load(exported / "out").predict(image, spacing_mm)
        assert (found == torch_labels(exported / "model", image, spacing_mm)).mean() >= 0.9999

    def test_of_a_slice_have_its_shape(self, tmp_path):
        model = make_model(tmp_path / "model", planned(2))
        export(model, tmp_path / "out")
        image = phantom((9, 40, 33))[:, 4]
        found = load(tmp_path / "out").predict(image, (0.8, 0.9))
        assert np.array_equal(found, torch_labels(model, image[:, None], (1.0, 0.8, 0.9))[0])


class TestProbabilities:
    @pytest.mark.parametrize(("configurations", "changes"), MODELS)
    def test_equal_the_engines_with_the_temperatures_that_were_exported(self, tmp_path, configurations, changes):
        model = make_model(tmp_path / "model", *configurations, **changes)
        regions = changes.get("plan", {}).get("target") == "regions"
        calibrate(model, (0.5, 2.0, 1.5) if regions else (0.5,))
        image = phantom()
        export(model, tmp_path / "out")
        exported = load(tmp_path / "out", threads=1)
        found = exported.predict_probabilities(image, SPACING_MM)
        expected = torch_probabilities(model, image)
        assert exported.record.calibration == ((0.5, 2.0, 1.5) if regions else (0.5,))
        assert (found.dtype, found.shape) == (np.float32, expected.shape)
        assert np.abs(found - expected).mean() < 1e-4
        assert (np.abs(found - expected) < 1e-3).mean() > 0.9999
        plain = replace(exported, record=replace(exported.record, calibration=None))
        assert np.abs(plain.predict_probabilities(image, SPACING_MM) - expected).max() > 0.05

    def test_of_a_slice_have_its_shape(self, tmp_path):
        model = make_model(tmp_path / "model", planned(2))
        export(model, tmp_path / "out")
        image = phantom((9, 40, 33))[:, 4]
        found = load(tmp_path / "out").predict_probabilities(image, (0.8, 0.9))
        assert found.shape[1:] == image.shape[1:]
        np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)


class TestFolder:
    def test_says_what_it_holds(self, exported):
        record = read_record(exported / "out" / "runner.json", RunnerRecord)
        assert [(label.name, label.value) for label in record.labels] == [("organ", 1), ("lesion", 2)]
        assert record.calibration is None
        assert record.configurations == ("3d_fullres",)
        assert read_record(exported / "out" / "plan.json", Plan) == read_record(exported / "model" / "plan.json", Plan)
        assert "organ (1), lesion (2)" in (exported / "out" / "README.md").read_text()

    def test_an_earlier_export_is_replaced_and_other_files_are_not_touched(self, tmp_path, exported):
        model = make_model(tmp_path / "model", planned(2))
        export(exported / "model", tmp_path / "out")
        export(model, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").glob("*.onnx")] == ["2d-fold_0.onnx"]
        assert load(tmp_path / "out").plan.channels == ("t1", "t2")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("mine")
        with pytest.raises(AutosegError, match="holds other files"):
            export(model, tmp_path / "mine")
        with pytest.raises(AutosegError, match="is a file"):
            export(model, tmp_path / "mine" / "thesis.txt")

    def test_its_source_imports_nothing_but_numpy_onnxruntime_and_nibabel(self):
        files = runner_files()
        found = {name.partition(".")[0] for text in files.values() for name in imported(text)}
        assert found - sys.stdlib_module_names == {PACKAGE, "numpy", "onnxruntime", "nibabel"}
        assert f"{PACKAGE}/imaging/resampling.py" in files

    def test_its_records_are_read_without_msgspec_as_with_it(self, exported):
        for name, kind in (("plan.json", Plan), ("runner.json", RunnerRecord)):
            path = exported / "out" / name
            assert read_strict(path, kind) == read_record(path, kind)


class TestAlone:
    def test_it_runs_where_only_numpy_onnxruntime_and_nibabel_are(self, tmp_path, exported):
        image = phantom(channels=1, seed=5)
        affine = np.diag([-SPACING_MM[2], SPACING_MM[1], SPACING_MM[0], 1.0])
        affine[:3, 3] = 5, -7, 11
        nib.save(nib.Nifti1Image(image[0].T, affine), tmp_path / "case.nii.gz")
        command = [exported / "out" / "run.py", tmp_path / "case.nii.gz", tmp_path / "labels.nii.gz"]
        done = subprocess.run(
            [sys.executable, "-c", BLOCKER, *command], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert "1 organ, 2 lesion" in done.stdout
        written = nib.load(tmp_path / "labels.nii.gz")
        assert np.array_equal(written.affine, nib.load(tmp_path / "case.nii.gz").affine)
        labels = np.asarray(written.dataobj)
        assert labels.dtype == np.uint8
        expected = torch_labels(exported / "model", image)
        assert (expected == labels.T).mean() >= 0.9999
        assert main([str(exported / "out"), str(tmp_path / "case.nii.gz"), str(tmp_path / "same.nii.gz")]) == 0
        assert (tmp_path / "same.nii.gz").read_bytes() == (tmp_path / "labels.nii.gz").read_bytes()

    def test_a_model_that_turns_images_labels_a_file_alike_however_it_is_stored(self, tmp_path, exported):
        """One file upright and the same lying: what is turned back by hand equals the engine's labels."""
        shutil.copytree(exported / "model", tmp_path / "model")
        record = replace(load_model_record(tmp_path / "model"), orientation="RAS")
        write_record(tmp_path / "model" / "model.json", record)
        export(tmp_path / "model", tmp_path / "out")
        assert "turned to RAS" in (tmp_path / "out" / "README.md").read_text()
        image = phantom(channels=1, seed=6)
        expected = torch_labels(exported / "model", image)
        upright = nib.Nifti1Image(image[0].T, np.diag([SPACING_MM[2], SPACING_MM[1], SPACING_MM[0], 1.0]))
        lying = upright.as_reoriented(nib.orientations.axcodes2ornt("PIL"))
        for name, stored in (("upright", upright), ("lying", lying)):
            nib.save(stored, tmp_path / f"{name}.nii.gz")
            paths = [str(tmp_path / file) for file in ("out", f"{name}.nii.gz", f"{name}-labels.nii.gz")]
            assert main(paths) == 0
            written = nib.load(paths[-1])
            assert written.shape == stored.shape
            np.testing.assert_allclose(written.affine, stored.affine, atol=1e-5)
            labels = np.asarray(nib.as_closest_canonical(written).dataobj).T
            assert (labels == expected).mean() >= 0.9999
        assert len(np.unique(expected)) > 1
        assert load(tmp_path / "out").record.orientation == "RAS"

    def test_the_stand_in_for_shapes_is_the_array_itself(self):
        assert Float32[np.ndarray, "z y x"] is np.ndarray


class TestErrors:
    def test_arguments_are_explained(self, capsys):
        assert main(["somewhere", "--help"]) == 2
        assert "give INPUT.nii.gz" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            ("case.nii.gz case.nii.gz", "is an input and would be overwritten"),
            ("case.nii.gz labels.png", "is not named as a NIfTI file"),
            ("no.nii.gz labels.nii.gz", "cannot be read"),
            ("case.nii.gz case.nii.gz labels.nii.gz", "2 channels where the model takes 1 (t1)"),
            ("case.nii.gz other.nii.gz labels.nii.gz", "another grid than case.nii.gz"),
        ],
    )
    def test_files_that_do_not_fit_are_named(self, tmp_path, exported, capsys, names, said):
        nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "case.nii.gz")
        nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4) * 2), tmp_path / "other.nii.gz")
        code = main([str(exported / "out"), *(str(tmp_path / name) for name in names.split())])
        error = capsys.readouterr().err
        assert code == 2
        assert said in error
        assert len(error.splitlines()) == 1

    @pytest.mark.parametrize(
        ("array", "spacing_mm", "said"),
        [
            (np.ones((2, 3, 4, 5)), (1, 1, 1), "2 channels where the model takes 1"),
            (np.ones((1, 3, 4, 5)), (1, 1), "has shape"),
            (np.full((3, 4, 5), np.nan), (1, 1, 1), "not all finite"),
            (np.ones((3, 0, 5)), (1, 1, 1), "empty"),
            (np.ones((3, 4, 5)), (1, 0, 1), "each above 0"),
        ],
    )
    def test_arrays_that_do_not_fit_are_refused(self, exported, array, spacing_mm, said):
        with pytest.raises(AutosegError, match=said):
            load(exported / "out").predict(array, spacing_mm)

    @pytest.fixture
    def broken(self, tmp_path, exported):
        """A copy of the export, and a way to change a record of it."""
        for path in (exported / "out").iterdir():
            if path.is_file():
                (tmp_path / path.name).write_bytes(path.read_bytes())

        def change(name, **keys):
            document = json.loads((tmp_path / name).read_text())
            for key, value in keys.items():
                document.pop(key) if value is ... else document.update({key: value})
            (tmp_path / name).write_text(json.dumps(document))
            return tmp_path

        return change

    @pytest.mark.parametrize(
        ("name", "keys", "said"),
        [
            ("runner.json", {"schema": "autoseg.runner/9"}, "schema is 'autoseg.runner/9'"),
            ("runner.json", {"mirror": 1}, r"RunnerRecord\.mirror is '1', not <class 'bool'>"),
            ("runner.json", {"mirror": ...}, r"missing key RunnerRecord\.mirror"),
            ("runner.json", {"macro": "x"}, r"unknown key RunnerRecord\.macro"),
            ("runner.json", {"labels": []}, "0 labels where the plan has 2"),
            ("runner.json", {"configurations": ["2d"]}, "no network 2d"),
            ("runner.json", {"windows": {"step": 0.9, "sigma": 0.1}}, "its recipe is another version's"),
            ("plan.json", {"transpose": [0, 1]}, r"Plan\.transpose"),
            ("plan.json", {"target": "everything"}, r"Plan\.target is 'everything'"),
            ("plan.json", {"dataset": float("nan")}, "NaN is no number"),
        ],
    )
    def test_records_that_are_damaged_are_refused_with_the_place(self, broken, name, keys, said):
        with pytest.raises(AutosegError, match=said):
            load(broken(name, **keys))

    def test_networks_that_are_damaged_missing_or_elsewhere_are_refused(self, broken):
        folder = broken("runner.json")
        network = folder / "3d_fullres-fold_0.onnx"
        network.write_bytes(network.read_bytes()[:-1])
        with pytest.raises(AutosegError, match="damaged: its SHA-256"):
            load(folder)
        network.unlink()
        with pytest.raises(AutosegError, match="missing; copy the whole folder"):
            load(folder)
        entry = {"configuration": "3d_fullres", "fold": 0, "file": "../x.onnx", "sha256": ""}
        with pytest.raises(AutosegError, match="lies elsewhere"):
            load(broken("runner.json", networks=[entry]))

    def test_a_file_that_is_no_network_is_said_to_be_none(self, broken):
        sha256 = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"  # of "0"
        entry = {"configuration": "3d_fullres", "fold": 0, "file": "3d_fullres-fold_0.onnx", "sha256": sha256}
        folder = broken("runner.json", networks=[entry])
        (folder / entry["file"]).write_bytes(b"0")
        with pytest.raises(AutosegError, match=r"onnxruntime .* cannot run it"):
            load(folder)

    def test_a_folder_without_a_model_is_said_to_have_none(self, tmp_path):
        with pytest.raises(AutosegError, match=r"no exported model here \(no runner\.json\)"):
            load(tmp_path)
        (tmp_path / "runner.json").write_text("{")
        with pytest.raises(AutosegError, match="not valid JSON"):
            load(tmp_path)

    def test_logits_that_are_not_finite_are_an_error(self, exported):
        predictor = load(exported / "out").segmenter.members[0].predictor
        with pytest.raises(AutosegError, match="not finite"):
            predictor.forward(np.full((1, 1, 8, 16, 16), np.inf, np.float32))

    def test_a_network_whose_outputs_differ_from_torchs_is_not_exported(self, tmp_path, exported, monkeypatch):
        monkeypatch.setattr("autoseg.steps.export.largest_difference", lambda *_: 0.01)
        with pytest.raises(AutosegError, match=r"differ from torch's by 0\.01"):
            export(exported / "model", tmp_path / "out")
        assert not (tmp_path / "out" / "runner.json").exists()
