"""Options, fixtures and skips that all tests share."""

import os
import signal
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Test processes side by side: as many threads each as cores would wait for one another. Read when libraries are loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Types and shapes of these packages are checked at every call, in tests alone (design rule 7); an int may stand for a
# float (PEP 484). This file is loaded before any test imports them.
install_import_hook(
    ["autoseg.imaging", "autoseg.learning", "autoseg.runner"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

# The background jobs of a shell start with interrupts ignored, and so would every program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--datasets",
        default=None,
        metavar="DIR",
        help="--datasets=DIR: folder with the public datasets of tests/real_data (README.md names their sources)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "real_data" in item.path.parts:
            item.add_marker(pytest.mark.real_data)
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items:
        import torch

        if not torch.cuda.is_available():
            for item in gpu_items:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def datasets_dir(request: pytest.FixtureRequest) -> Path:
    """Return the folder of public datasets, or skip."""
    given = request.config.getoption("--datasets")
    if given is None:
        pytest.skip("reads public datasets: give --datasets=DIR")
    folder = Path(given).resolve()
    if not folder.is_dir():
        pytest.fail(f"--datasets {given}: no such folder")
    return folder
