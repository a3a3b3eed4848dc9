"""Several processes that train one network together, each on its share of every batch.

All of them hold the same weights. A loss is that of the whole batch: sums are added over the workers before they are
divided, so that batch Dice and voxel means are those of one process with that batch. Gradients are then added. Numbers
that decide (the clock, wishes, validation) are those of worker 0, who alone writes files.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """This process among the `count` that train together; `rank` 0 leads. Alone, every method does nothing."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Return how many samples of a batch this worker takes, at least one.

        >>> [Workers(rank=rank, count=3).share(7) for rank in range(3)]
        [3, 2, 2]

        """
        return max(1, batch // self.count + (self.rank < batch % self.count))

    def smallest_share(self, batch: int) -> int:
        """Return how many samples of a batch the worker with the fewest takes."""
        return max(1, batch // self.count)

    def total(self, own: Tensor) -> Tensor:
        """Return `own` added over all workers; the gradient is that of the own part."""
        if self.count == 1:
            return own
        summed: Tensor = _Total.apply(own)
        return summed

    def add_gradients(self, module: nn.Module) -> None:
        """Replace the gradients by their sums over all workers."""
        if self.count == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def of_leader(self, numbers: Iterable[float | None], length: int) -> tuple[float | None, ...]:
        """Return the `length` numbers that worker 0 gave; None stays None."""
        if self.count == 1:
            return tuple(numbers)
        given = [math.nan if number is None else number for number in numbers] if self.leads else [math.nan] * length
        tensor = torch.tensor(given, dtype=torch.float64)
        torch.distributed.broadcast(tensor, 0)
        return tuple(None if math.isnan(number) else number for number in tensor.tolist())

    def largest(self, number: float) -> float:
        """Return the largest number that any worker gave."""
        if self.count == 1:
            return number
        tensor = torch.tensor(number, dtype=torch.float64)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return float(tensor)

    def tell(self, text: str) -> None:
        """Give a text to the workers that `hear`."""
        if self.count > 1:
            data = torch.frombuffer(bytearray(text.encode() or b" "), dtype=torch.uint8)
            torch.distributed.broadcast(torch.tensor(len(data)), 0)
            torch.distributed.broadcast(data, 0)

    def hear(self) -> str:
        """Return the text that worker 0 tells, without space around it."""
        length = torch.tensor(0)
        torch.distributed.broadcast(length, 0)
        data = torch.zeros(int(length), dtype=torch.uint8)
        torch.distributed.broadcast(data, 0)
        return bytes(data.tolist()).decode().strip()


ALONE = Workers()


class _Total(torch.autograd.Function):
    """A sum over workers. Each computes the whole loss from it, so each part's gradient is that of the sum."""

    @staticmethod
    def forward(_context: object, own: Tensor) -> Tensor:
        summed = own.clone()
        torch.distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> Tensor:
        return gradient
