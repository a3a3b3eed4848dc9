"""run.jsonl: what every step read and wrote, on what, from which seed; and nothing of whose machine it was."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from autoseg import cli
from autoseg.core.runtime import digest_file
from autoseg.core.traces import commit
from autoseg.core.version import VERSION


def lines_of(folder):
    return [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]


@pytest.fixture
def personal(tiny_run, tmp_path):
    """Texts that would tell who ran this, and where."""
    del tiny_run
    home = Path.home()
    return {str(home), str(tmp_path), tempfile.gettempdir(), *([home.name] if home.name not in {"", "root"} else [])}


def refuse_personal(text, personal):
    assert not [told for told in personal if told in text]


def test_a_run_notes_device_seed_version_and_digests_and_nothing_personal(tiny_run, personal):
    text = (tiny_run.workspace / "run.jsonl").read_text()
    refuse_personal(text, {*personal, str(tiny_run.dataset), str(tiny_run.dataset.parent)})
    lines = {line["step"]: line for line in lines_of(tiny_run.workspace)}
    assert {(line["version"], line["commit"]) for line in lines.values()} == {(VERSION, commit())}
    train = lines["train"]
    assert (train["device"], train["seed"]) == ("cpu", 0)
    assert dict(train["inputs"])["plan.json"] == digest_file(tiny_run.workspace / "plan.json")
    assert "preprocessed/3d_fullres/*.json" in dict(train["inputs"])
    assert "training/3d_fullres/fold_0/training.json" in dict(train["outputs"])
    assert dict(lines["plan"]["outputs"]) == {"plan.json": digest_file(tiny_run.workspace / "plan.json")}
    assert dict(lines["fingerprint"]["inputs"])["dataset.json"] == digest_file(tiny_run.workspace / "dataset.json")


def test_predictions_scores_and_comparisons_have_a_log_of_their_own(tiny_run, tmp_path, personal):
    images, labels, out = tiny_run.dataset / "images", tiny_run.dataset / "labels", tmp_path / "out"
    device = ("--device", "cpu")
    assert cli.run(["predict", str(images), "--model", str(tiny_run.workspace), "-o", str(out), *device]) == 0
    assert cli.run(["evaluate", str(out), str(labels), "--metrics", "dice"]) == 0
    assert cli.run(["compare", str(out), str(out), "-o", str(out)]) == 0
    predict, evaluate, compare = lines_of(out)
    assert [predict["step"], predict["device"], predict["outcome"]] == ["predict", "cpu", "done"]
    assert dict(predict["inputs"]) == {"model.json": digest_file(tiny_run.workspace / "model" / "model.json")}
    assert dict(predict["outputs"])["prediction.json"] == digest_file(out / "prediction.json")
    assert set(dict(evaluate["inputs"])) == {"out", "labels"}
    assert dict(evaluate["outputs"])["scores.json"] == digest_file(out / "scores.json")
    assert dict(compare["inputs"])["scores.json"] == digest_file(out / "scores.json")
    assert dict(compare["outputs"])["comparison.json"] == digest_file(out / "comparison.json")
    refuse_personal((out / "run.jsonl").read_text(), personal)


def test_what_fails_before_it_writes_leaves_no_log_and_no_folder(tiny_run, tmp_path):
    out = tmp_path / "out"
    assert cli.run(["predict", str(tmp_path / "none"), "--model", str(tiny_run.workspace), "-o", str(out)]) == 2
    assert not out.exists()


def test_an_error_is_noted_without_where_it_was(tiny_run, tmp_path, personal):
    root = tmp_path / "w"
    shutil.copytree(tiny_run.workspace, root)
    (root / "model" / "model.json").write_text("{")
    out = tmp_path / "out"
    assert cli.run(["export", str(root), "--onnx", str(out)]) == 2
    last = lines_of(root)[-1]
    assert last["step"] == "export"
    assert last["outcome"].startswith("AutosegError: model/model.json: ")
    refuse_personal((root / "run.jsonl").read_text(), personal)
