"""The optimisers that a plan may name, built for a network."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from planners.plan import Schedule


def _adamw(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)


def _sgd(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        network.parameters(),
        lr=schedule.learning_rate,
        momentum=schedule.momentum or 0.0,
        nesterov=bool(schedule.momentum),
        weight_decay=schedule.weight_decay,
    )


OPTIMIZERS: Mapping[str, Callable[[nn.Module, Schedule], torch.optim.Optimizer]] = {"adamw": _adamw, "sgd": _sgd}
