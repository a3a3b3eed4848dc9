import hashlib
import json
import subprocess
from dataclasses import dataclass
from typing import ClassVar

import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import encode, read_record, write_record
from autoseg.core.seals import content_digest_of, digests_of, sealed_page, state_of, without_seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    schema: ClassVar[str] = "autoseg.made/1"

    rate: float
    name: str


MADE = Made(rate=0.25, name="a")


@pytest.fixture
def written(tmp_path):
    write_record(tmp_path / "made.json", MADE)
    return tmp_path / "made.json"


def test_a_record_is_whole_until_it_is_edited_and_is_read_all_the_same(written):
    data = written.read_bytes()
    assert state_of(data) == "whole"
    written.write_bytes(data.replace(b"0.25", b"0.50"))
    assert state_of(written.read_bytes()) == "edited"
    assert read_record(written, Made).rate == 0.5
    written.write_text(json.dumps(json.loads(data)))  # an editor's other layout
    assert state_of(written.read_bytes()) == "edited"
    assert read_record(written, Made) == MADE


def test_what_older_versions_wrote_has_no_seal_and_the_same_digest(written, tmp_path):
    old = tmp_path / "old.json"
    old.write_bytes(encode(MADE))
    assert state_of(old.read_bytes()) == "unsealed"
    assert read_record(old, Made) == MADE
    assert content_digest_of(old) == content_digest_of(written) == hashlib.sha256(encode(MADE)).hexdigest()
    assert without_seal(written.read_bytes()) == encode(MADE)


def test_a_seal_that_is_no_text_is_an_unknown_key(written):
    document = json.loads(written.read_bytes()) | {"seal": 1}
    written.write_text(json.dumps(document))
    with pytest.raises(AutosegError, match="unknown key seal"):
        read_record(written, Made)


def test_a_page_is_whole_until_it_is_edited_or_cut():
    old = "<!DOCTYPE html>\n<p>0.9</p></html>\n"
    page = sealed_page(old)
    assert page.startswith(f"{old}<!-- seal: ")
    assert state_of(page.encode()) == "whole"
    assert state_of(page.replace("0.9", "1.0").encode()) == "edited"
    assert {state_of(page[:-cut].encode()) for cut in range(1, 80)} == {"edited"}
    assert state_of(old.encode()) == "unsealed"


def test_digests_are_those_that_sha256sum_shows(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "scan.nii.gz"
    path.write_bytes(b"voxels")
    (found,) = digests_of([path], tmp_path)
    said = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (found.file, found.sha256) == ("a/scan.nii.gz", said)
