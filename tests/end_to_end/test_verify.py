"""`autoseg verify` finds each way in which a file can be other than written, and nothing else."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest

from autoseg import cli
from autoseg.core.calibration import Calibration
from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.scores import Scores
from autoseg.core.seals import without_seal
from autoseg.steps.compare import compare
from autoseg.steps.evaluate import evaluate
from autoseg.verification import describe, verify


@pytest.fixture
def copied(tiny_run, tmp_path):
    workspace = tmp_path / "tiny.autoseg"
    shutil.copytree(tiny_run.workspace, workspace)
    return workspace


def flip(path, position=-20):
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(bytes(data))


def only_problem(place):
    (problem,) = verify(place).problems
    return problem


def test_a_finished_workspace_is_as_written(copied, capsys):
    found = verify(copied)
    assert found.problems == ()
    assert found.checked > 20
    assert cli.run(["verify", str(copied)]) == 0
    assert "all as written" in capsys.readouterr().out


@pytest.mark.parametrize(
    "pattern",
    [
        "preprocessed/*/*.image.b2nd",
        "preprocessed/*/*.label.b2nd",
        "preprocessed/*/*.locations.npy",
        "training/*/fold_0/checkpoint-*-1.safetensors",
        "model/*.safetensors",
        "validation/*/fold_0/*.nii.gz",
        "validation/*/fold_0/observations/*.npz",
        "validation/*/fold_0/scores.csv",
        "report.html",
        "inspect.html",
    ],
)
def test_one_flipped_byte_is_found(copied, pattern, capsys):
    flip(min(copied.glob(pattern)))
    found = verify(copied)
    assert len(found.problems) == 1
    assert cli.run(["verify", str(copied), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["file"].startswith(str(copied))


RECORDS = (
    "workspace.json",
    "dataset.json",
    "inspection.json",
    "manifest.json",
    "previews.json",
    "fingerprint.json",
    "plan.json",
    "folds.json",
    "machine.json",
    "budget.json",
    "selection.json",
    "provenance.json",
    "calibration.json",
    "quality.json",
    "suspects.json",
    "training/*/fold_0/training.json",
    "validation/*/fold_0/scores.json",
    "validation/*/fold_0/records/*.json",
    "validation/*/fold_0/observations/*.json",
    "preprocessed/*/*.json",
    "model/model.json",
    "model/plan.json",
    "model/fingerprint.json",
    "model/training_cases.json",
    "model/calibration.json",
    "model/quality.json",
)


TEXTS = frozenset({"dataset", "folder", "identity", "inputs", "png", "version", "because"})
COUNTS = frozenset({"n_cases", "n_voxels", "fold"})


def edited(document):
    """Change one number or text in a record to another that is as valid, and return whether there was one."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(value, float):
            document[key] = value * 1.01 + 0.001
        elif key in COUNTS:
            document[key] = value + 1
        elif key in TEXTS and isinstance(value, str):
            document[key] = value[:-1] + ("1" if value.endswith("0") else "0")
        elif isinstance(value, list) and len(value) > 1 and isinstance(value[0], str):
            value.reverse()
        elif not (isinstance(value, dict | list) and edited(value)):
            continue
        return True
    return False


@pytest.mark.parametrize("pattern", RECORDS)
def test_a_valid_edit_of_a_record_is_found(copied, pattern):
    path = min(copied.glob(pattern))
    document = json.loads(path.read_bytes())
    assert edited(document)
    path.write_text(json.dumps(document, indent=1) + "\n")
    found = {problem.file: problem.what for problem in verify(copied).problems}
    assert found[str(path)] == "edited since it was made"
    assert set(found) == {str(path)} or pattern == "dataset.json"


@pytest.mark.parametrize("pattern", RECORDS)
def test_a_cut_record_is_found(copied, pattern):
    path = min(copied.glob(pattern))
    path.write_bytes(path.read_bytes()[:-90])
    assert str(path) in {problem.file for problem in verify(copied).problems}


def test_a_plan_that_was_edited_on_purpose_is_said_and_obeyed(copied, tiny_run, capsys):
    path = copied / "plan.json"
    text = path.read_text()
    rate = json.loads(text)["configurations"][0]["schedule"]["learning_rate"]
    path.write_text(text.replace(f'"learning_rate": {rate}', '"learning_rate": 0.00123', 1))
    assert cli.run(["verify", str(copied)]) == 1
    assert "plan.json: edited since it was made; restore it or, if it was meant, leave it" in capsys.readouterr().out
    arguments = [str(copied) if part == str(tiny_run.workspace) else part for part in tiny_run.arguments]
    assert cli.run([*arguments, "--json"]) == 0
    assert json.loads((copied / "model" / "plan.json").read_text())["configurations"][0]["schedule"][
        "learning_rate"
    ] == pytest.approx(0.00123)
    assert only_problem(copied).file == str(path)


def test_a_record_of_another_model_is_no_companion(copied):
    path = copied / "model" / "calibration.json"
    record = replace(read_record(path, Calibration), n_voxels=1)
    write_record(path, record)  # whole in itself
    assert only_problem(copied / "model").what == "not the bytes that were written"


def test_of_what_an_older_version_wrote_no_digest_is_known(copied, capsys):
    for path in (*copied.rglob("*.json"), *copied.glob("*.html")):
        path.write_bytes(without_seal(path.read_bytes()))
    for path in copied.glob("validation/*/*/records/*.json"):
        record = json.loads(path.read_bytes())
        del record["files"]
        path.write_text(json.dumps(record))
    path = copied / "model" / "model.json"
    document = json.loads(path.read_bytes())
    del document["companions"]
    path.write_text(json.dumps(document))
    found = verify(copied)
    assert found.problems == ()
    assert str(copied / "plan.json") in found.unknown
    assert cli.run(["verify", str(copied)]) == 0
    said = capsys.readouterr().out
    assert "no digest known of" in said
    assert "all that is known as written" in said


def test_damaged_indexes_of_checkpoints_are_found(copied):
    index = next(copied.glob("training/*/fold_0/checkpoint.json"))
    copy, whole = index.with_name("checkpoint-copy.json"), index.read_bytes()
    copy.write_bytes(copy.read_bytes()[:-20])
    assert (only_problem(copied).file, only_problem(copied).what) == (str(copy), "not valid JSON")
    copy.write_bytes(whole.replace(b'"skipped": 0', b'"skipped": 7'))
    assert only_problem(copied).what == "other than checkpoint.json"
    copy.write_bytes(whole)
    index.write_bytes(whole[:-20])
    assert only_problem(copied).mend == "training reads checkpoint-copy.json instead"


def test_stored_probabilities_and_tables_of_predictions_are_checked(copied, tiny_run, tmp_path):
    image = min((tiny_run.dataset / "images").iterdir())
    arguments = ["predict", str(image), "--model", str(copied), "--output", str(tmp_path / "out"), "--probabilities"]
    assert cli.run([*arguments, "--device", "cpu"]) == 0
    assert verify(tmp_path / "out").problems == ()
    stored = next((tmp_path / "out" / "probabilities").glob("*.b2nd"))
    whole = stored.read_bytes()
    flip(stored)
    assert only_problem(tmp_path / "out").file == str(stored)
    stored.write_bytes(whole)
    for pattern in ("probabilities/*.json", "records/*.json", "prediction.json"):
        path = next((tmp_path / "out").glob(pattern))
        before = path.read_bytes()
        document = json.loads(before)
        assert edited(document)
        path.write_text(json.dumps(document))
        assert only_problem(tmp_path / "out").what == "edited since it was made"
        path.write_bytes(before)
    record = json.loads(next((tmp_path / "out" / "records").glob("*.json")).read_bytes())
    (named,) = record["input_files"]
    assert named == {"file": image.name, "sha256": hashlib.sha256(image.read_bytes()).hexdigest()}


def test_a_missing_weight_file_is_found_in_a_model_alone(copied):
    weights = next((copied / "model").glob("*.safetensors"))
    weights.unlink()
    assert only_problem(copied / "model").what == "missing"


def test_a_damaged_log_line_is_found_and_a_cut_last_one_is_not(copied):
    log = copied / "run.jsonl"
    log.write_bytes(log.read_bytes() + b'{"step": "tra')
    assert verify(copied).problems == ()
    log.write_bytes(b"nonsense\n" + log.read_bytes())
    assert only_problem(copied).what.startswith("line 1")


def test_a_changed_case_of_the_dataset_is_found(copied, tmp_path):
    moved = tmp_path / "tiny"
    record = json.loads((copied / "dataset.json").read_text())
    shutil.copytree(record["folder"], moved, copy_function=shutil.copy2)
    record["folder"] = str(moved)
    (copied / "dataset.json").write_text(json.dumps(record))
    assert only_problem(copied).file == str(copied / "dataset.json")
    flip(sorted((moved / "images").iterdir())[2])
    assert [found.what for found in verify(copied).problems][1:] == ["case changed since it was read"]
    shutil.rmtree(moved)
    assert {found.what for found in verify(copied).problems} != set()


def test_what_a_killed_process_left_is_named(copied):
    (copied / "training" / ".tmp-12-abc.json").write_text("")
    found = verify(copied)
    assert [problem.what for problem in found.problems] == ["left by a killed process"]
    assert "1 not as written" in describe(found)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(AutosegError, match="nothing to verify here"):
        verify(tmp_path)


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_damaged_finished_label_map_is_predicted_again(copied, tiny_run, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["predict", str(tiny_run.dataset / "images"), "--model", str(copied), "--output", str(output)]
    arguments += ["--device", "cpu", "--json"]

    def skipped():
        capsys.readouterr()
        assert cli.run(arguments) == 0
        return json.loads(capsys.readouterr().out)["skipped"]

    assert skipped() == []
    label_map, other = sorted(output.glob("*.nii.gz"))[:2]
    whole, names = digest_of(label_map), skipped()
    assert len(names) == 6
    flip(label_map)
    assert skipped() == [name for name in names if not label_map.name.startswith(name)]
    assert digest_of(label_map) == whole
    record = output / "records" / other.name.replace(".nii.gz", ".json")
    record.write_text(record.read_text().replace("autoseg.case-prediction/1", "autoseg.case-prediction/0"))
    assert len(skipped()) == 5
    (output / "measurements.csv").write_text("edited")
    assert only_problem(output).file == str(output / "measurements.csv")


def test_scores_and_comparisons_name_what_was_compared(copied, tiny_run, tmp_path):
    scores_file = next(copied.glob("validation/*/fold_0/scores.json"))
    scores = read_record(scores_file, Scores)
    for case in scores.cases:
        (prediction,), (reference,) = case.prediction_files, case.reference_files
        assert prediction.sha256 == digest_of(scores_file.parent / prediction.file)
        assert reference.sha256 == digest_of(tiny_run.dataset / reference.file)
    predictions, labels = scores_file.parent, tmp_path / "labels"
    labels.mkdir()
    for case in scores.cases:
        shutil.copy(tiny_run.dataset / case.reference_files[0].file, labels)
    made = evaluate(predictions, labels, tmp_path / "scores")
    assert [case.prediction_files for case in made.cases] == [case.prediction_files for case in scores.cases]
    assert {case.reference_files[0].sha256 for case in made.cases} == {digest_of(path) for path in labels.iterdir()}
    assert read_record(tmp_path / "scores" / "scores.json", Scores) == made
    shutil.copytree(tmp_path / "scores", tmp_path / "again")
    compared = compare([tmp_path / "scores", tmp_path / "again"])
    assert [result.sha256 for result in compared.results] == [digest_of(tmp_path / "again" / "scores.json")] * 2
