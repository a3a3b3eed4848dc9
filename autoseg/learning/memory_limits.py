"""When memory does not hold a batch: halves of it, one after the other, from then on."""

import torch

from autoseg.core.errors import ResourceError
from autoseg.learning.feeding import Batch
from autoseg.learning.training_state import TrainingState
from autoseg.learning.training_step import train_step
from autoseg.learning.training_task import Hooks, TrainingTask

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""How CUDA, MPS and the CPU's allocator say so when they raise a plain RuntimeError."""


def step_fits(task: TrainingTask, state: TrainingState, batch: Batch, rate: float) -> bool:
    """Take one training step; False where the memory did not hold it, and nothing was learned."""
    try:
        train_step(task, state, batch, rate)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the CPU had too little memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error).lower() for words in _NO_MEMORY)


def free_memory(task: TrainingTask, state: TrainingState) -> None:
    """Give up what a step that ran out of memory left behind."""
    state.optimizer.zero_grad(set_to_none=True)
    if state.step == 0:
        state.optimizer.state.clear()  # it may have been made for some of the weights only
    if task.device.type == "cuda":
        torch.cuda.empty_cache()


def say_halved(task: TrainingTask, hooks: Hooks) -> None:
    """Note that batches are halved from now on, and say so.

    Raises:
        ResourceError: they are halved already, or hold one sample; or this is one of several workers, and the others
            wait for it in vain: the same command goes on with halves.

    """
    name, batch = task.configuration.name, task.workers.smallest_share(task.configuration.batch)
    if task.parts > 1 or batch < 2:
        raise ResourceError.at(
            f"training {name}",
            f"out of memory with {max(1, batch // task.parts)} sample(s) at a time on {task.device}",
            "close other programs, or plan with a smaller --budget",
        )
    hooks.halved()
    if task.workers.count > 1:
        raise ResourceError.at(
            f"training {name}, worker {task.workers.rank}",
            f"out of memory with {batch} samples at a time",
            "run the same command again: it takes half as many",
        )
    hooks.say(
        f"out of memory with {batch} samples at a time: from here on each step takes them in two halves, with the same"
        " learning rate; machine.json remembers it"
    )
