"""What a machine says of itself."""

import pytest
import torch

from autoseg.core.errors import AutosegError
from autoseg.learning.machine import choose_device, measure_machine, training_dtype


def test_an_absent_device_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(AutosegError, match="device cuda: not available"):
        choose_device("cuda")
    assert choose_device("auto").type in {"cpu", "mps"}


def test_the_measurement_is_positive_and_names_its_precision() -> None:
    machine = measure_machine(torch.device("cpu"))
    assert machine.flops_per_s is not None
    assert machine.flops_per_s > 1e8
    assert machine.bytes_per_s is not None
    assert machine.bytes_per_s > 1e8
    assert training_dtype(machine) is (torch.bfloat16 if machine.bf16 else torch.float32)
