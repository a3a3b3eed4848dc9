"""Exports write some forty files; whether the disk has them at once is tested elsewhere."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield
