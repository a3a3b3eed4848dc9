import pytest

from autoseg.core.errors import AutosegError, PartialError, ResourceError
from autoseg.core.workspace import Workspace, default_root, open_workspace


def test_a_workspace_remembers_its_dataset_and_can_be_opened_again(tmp_path):
    dataset = tmp_path / "liver"
    dataset.mkdir()
    first = open_workspace(tmp_path / "w.autoseg", dataset, seed=3)
    assert first.record.exists()
    assert open_workspace(tmp_path / "w.autoseg", dataset, seed=3) == first


def test_a_workspace_of_another_dataset_is_refused(tmp_path):
    (tmp_path / "liver").mkdir()
    (tmp_path / "lung").mkdir()
    open_workspace(tmp_path / "w.autoseg", tmp_path / "liver", seed=0)
    with pytest.raises(AutosegError, match=r"belongs to .*liver; give --workspace another name"):
        open_workspace(tmp_path / "w.autoseg", tmp_path / "lung", seed=0)


def test_nothing_is_written_into_a_dataset(tmp_path):
    (tmp_path / "liver").mkdir()
    with pytest.raises(AutosegError, match="lies inside the dataset"):
        open_workspace(tmp_path / "liver" / "w.autoseg", tmp_path / "liver", seed=0)
    assert list((tmp_path / "liver").iterdir()) == []


def test_a_dataset_that_is_not_there_is_one_line_with_a_suggestion(tmp_path):
    (tmp_path / "hippocampus").mkdir()
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(AutosegError, match=r"no such folder; did you mean .*hippocampus\?"):
        open_workspace(tmp_path / "w", tmp_path / "hipocampus", seed=0)
    with pytest.raises(AutosegError, match="no such folder; check the path"):
        open_workspace(tmp_path / "w", tmp_path / "nowhere" / "deep", seed=0)
    with pytest.raises(AutosegError, match="a file, not a folder"):
        open_workspace(tmp_path / "w", tmp_path / "readme.txt", seed=0)
    assert not (tmp_path / "w").exists()


def test_the_default_is_named_after_the_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_root(tmp_path / "liver") == tmp_path / "liver.autoseg"


def test_every_path_lies_inside_and_is_its_own(tmp_path):
    workspace = Workspace(tmp_path)
    paths = [getattr(workspace, name) for name, kind in vars(Workspace).items() if isinstance(kind, property)] + [
        workspace.preprocessed("2d"),
        workspace.training("2d", 0),
        workspace.training("2d", 1),
        workspace.validation("2d", 0),
    ]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)


def test_exit_codes_follow_the_kind_of_error():
    kinds = (AutosegError, ResourceError, PartialError)
    assert [kind.at("a", "b", "c").exit_code for kind in kinds] == [2, 4, 3]
    assert str(AutosegError.at("a", "b", "c")) == "a: b; c"


def test_a_folder_with_other_things_is_not_taken_for_a_workspace(tmp_path):
    (tmp_path / "liver").mkdir()
    (tmp_path / "documents" / "model").mkdir(parents=True)
    with pytest.raises(AutosegError, match="not a workspace, and not empty; give --workspace a new name"):
        open_workspace(tmp_path / "documents", tmp_path / "liver", seed=0)
    (tmp_path / "empty").mkdir()
    assert open_workspace(tmp_path / "empty", tmp_path / "liver", seed=0).record.exists()
