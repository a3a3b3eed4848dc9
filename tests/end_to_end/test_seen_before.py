"""An image that the model was trained on is recognised by what it holds, and told."""

import gzip
import json

from autoseg import cli


def test_a_training_image_among_the_new_ones_is_told(tiny_run, tmp_path, capsys):
    new = tmp_path / "new"
    new.mkdir()
    packed = tiny_run.dataset / "images" / "case_01.nii.gz"
    (new / "someone.nii").write_bytes(gzip.decompress(packed.read_bytes()))  # another name, another compression
    arguments = ["--model", str(tiny_run.workspace / "model"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert cli.run(["predict", str(new), *arguments]) == 0
    assert "someone: is an image that the model was trained on" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "records" / "someone.json").read_text())
    assert any("trained on" in warning for warning in record["warnings"])
    references = tmp_path / "references"
    references.mkdir()
    (references / "someone.nii.gz").write_bytes((tiny_run.dataset / "labels" / "case_01.nii.gz").read_bytes())
    assert cli.run(["evaluate", str(tmp_path / "out"), str(references)]) == 0
    assert "1 of 1 images (someone) were in the training data" in capsys.readouterr().out
    strict = [*arguments[:3], str(tmp_path / "strict"), *arguments[4:], "--strict"]
    assert cli.run(["predict", str(new), *strict]) == 3
    assert not list((tmp_path / "strict").glob("*.nii*"))
