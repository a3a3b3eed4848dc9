from autoseg.core.provenance import inputs_digest, is_done, mark_done


def test_a_step_is_done_only_with_the_same_inputs(tmp_path):
    record = tmp_path / "provenance.json"
    source = tmp_path / "dataset.json"
    assert not is_done(record, "plan", inputs_digest(source, "auto"))
    source.write_text("1")
    before = inputs_digest(source, "auto")
    mark_done(record, "plan", before)
    assert is_done(record, "plan", inputs_digest(source, "auto"))
    assert not is_done(record, "fingerprint", before)
    source.write_text("2")
    assert not is_done(record, "plan", inputs_digest(source, "auto"))
    assert not is_done(record, "plan", inputs_digest(source, "nnunet"))


def test_only_the_newest_inputs_of_a_step_count(tmp_path):
    record = tmp_path / "provenance.json"
    mark_done(record, "plan", "a")
    mark_done(record, "folds", "x")
    mark_done(record, "plan", "b")
    assert [is_done(record, "plan", "a"), is_done(record, "plan", "b"), is_done(record, "folds", "x")] == [0, 1, 1]


def test_an_absent_file_is_an_input_of_its_own(tmp_path):
    assert inputs_digest(tmp_path / "a") != inputs_digest("")
    assert inputs_digest("ab", "c") != inputs_digest("a", "bc")
