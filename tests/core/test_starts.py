import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.starts import StartNetwork, StartRecord


@pytest.mark.parametrize("file", ["../weights.safetensors", "/etc/passwd", "fold_0/../../x"])
def test_weights_outside_the_folder_are_refused(tmp_path, file):
    network = StartNetwork(configuration="2d", fold=0, file="fold_0/weights.safetensors", sha256="0" * 64)
    path = tmp_path / "start.json"
    write_record(path, StartRecord(source="model", kind="model", networks=(network,)))
    assert read_record(path, StartRecord).networks == (network,)
    path.write_text(path.read_text().replace(network.file, file))
    with pytest.raises(AutosegError, match=r"start\.json: .*lies outside the folder"):
        read_record(path, StartRecord)
