"""What this machine can do: its device, its precision and its speed, measured in a few seconds once per workspace."""

import time
from collections.abc import Callable

import torch
from torch import nn

from autoseg.core.errors import AutosegError
from autoseg.core.runtime import cores, memory_bytes
from planners.recipe import Machine

_FEATURES, _EDGE, _BATCH = 24, 32, 2  # a convolution like those that dominate our networks on two cores
_REPEATS = 4
_LEAST_SECONDS = 1.5  # repeats go on this long, so that another program's short burst of work is not measured
_BF16_GAIN = 1.1  # bf16 must be this much faster than float32 to be used
_STREAM_ELEMENTS = 1 << 25
_OPERATIONS_PER_MULTIPLY_ADD = 2
_PASSES = 3  # forward, gradient of the input, gradient of the weights


def choose_device(name: str) -> torch.device:
    """Return the device called `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        AutosegError: it is not there.

    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(name, False):
        raise AutosegError.at(f"device {name}", "not available on this machine", "use --device auto")
    return torch.device(name)


def training_dtype(machine: Machine) -> torch.dtype:
    """Return the precision of the convolutions: bfloat16 where it was measured to pay, else float32."""
    return torch.bfloat16 if machine.bf16 else torch.float32


def measure_machine(device: torch.device) -> Machine:
    """Time a convolution forward and backward in float32 and bfloat16, and an elementwise operation."""
    plain = _convolution_seconds(device, torch.float32)
    reduced = _convolution_seconds(device, torch.bfloat16) if _has_bf16(device) else float("inf")
    bf16 = reduced * _BF16_GAIN < plain
    multiply_adds = 27 * _FEATURES * _FEATURES * _BATCH * _EDGE**3
    operations = _OPERATIONS_PER_MULTIPLY_ADD * _PASSES * multiply_adds
    return Machine(
        device=str(device),
        cores=cores(),
        memory_bytes=_device_memory(device),
        bf16=bf16,
        flops_per_s=operations / (reduced if bf16 else plain),
        bytes_per_s=_stream_bytes_per_s(device),
    )


def _device_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory_bytes()


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu"


def _convolution_seconds(device: torch.device, dtype: torch.dtype) -> float:
    layer = nn.Conv3d(_FEATURES, _FEATURES, 3, padding=1).to(device)
    image = torch.randn(_BATCH, _FEATURES, _EDGE, _EDGE, _EDGE, device=device, requires_grad=True)

    def once() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            output = layer(image)
        output.float().sum().backward()

    return _best_seconds(once, device)


def _stream_bytes_per_s(device: torch.device) -> float:
    array = torch.randn(_STREAM_ELEMENTS, device=device)
    seconds = _best_seconds(lambda: array.mul_(1.0001), device)
    return 2 * 4 * _STREAM_ELEMENTS / seconds


def _best_seconds(function: Callable[[], object], device: torch.device) -> float:
    best = float("inf")
    began = time.perf_counter()
    repeats = 0
    while repeats < _REPEATS or time.perf_counter() - began < _LEAST_SECONDS:
        repeats += 1
        _synchronise(device)
        started = time.perf_counter()
        function()
        _synchronise(device)
        best = min(best, time.perf_counter() - started)
    return best


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
