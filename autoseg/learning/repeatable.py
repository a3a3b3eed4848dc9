"""The same bits every time: what `--deterministic` asks of torch (docs/reproducible.md)."""

import contextlib
from collections.abc import Iterator

import torch

CUBLAS_CONFIG = ":4096:8"
"""What CUBLAS_WORKSPACE_CONFIG has to be for matrix products to repeat. Source: cuBLAS, "Results reproducibility"."""


def repeatable_if(wanted: bool) -> contextlib.AbstractContextManager[None]:
    """Return `repeatable()` if that is wanted, else a context in which nothing changes."""
    return repeatable() if wanted else contextlib.nullcontext()


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Let torch compute only by algorithms that repeat to the last bit, while the block runs.

    On a processor an operation that has none is an error; on a GPU, where some are known not to, torch warns and names
    it. cuDNN no longer times its algorithms to take the fastest.
    """
    cudnn = torch.backends.cudnn
    enabled, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, deterministic = cudnn.benchmark, cudnn.deterministic
    torch.use_deterministic_algorithms(True, warn_only=torch.accelerator.is_available())
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        cudnn.benchmark, cudnn.deterministic = benchmark, deterministic
