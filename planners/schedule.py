"""How long a step takes, how many there are, and how learning proceeds over them."""

import math
from dataclasses import replace

from planners.memory import BFLOAT16, FLOAT32, layers, network_of
from planners.plan import Configuration, Schedule
from planners.recipe import Budget, Machine, Recipe
from planners.topology import Network

# Cost of a step in forward passes: backward computes the gradients of inputs and of weights, each as costly again.
FORWARD_AND_BACKWARD = 3
_OPERATIONS_PER_MULTIPLY_ADD = 2
# Time of a convolution over that of the measured one, and what norm and activation of an element cost, forward and
# backward, in operations of the measured one. Fitted by benchmarks/planner_models.py to fourteen networks in float32
# and bfloat16 (torch 2.13): worst error 12 %, median 4 %.
_CPU_EFFICIENCY = 0.40
_CPU_OPERATIONS_PER_ELEMENT = 1170.0
# Convolutions work on blocks of so many features, the last one filled up: 24 features take 0.66 s a step where 16 take
# 0.34 and 32 take 0.74 (docs/log.md). Fewer than a block are not filled up.
_CPU_BLOCK = 16
# Not measured yet: norm and activation read and write each element about twice, forward and backward.
_GPU_PASSES = 10.0


def forward_operations(network: Network) -> float:
    """Return the operations of one forward pass of one sample: twice the multiply-adds of its convolutions."""
    return float(_OPERATIONS_PER_MULTIPLY_ADD * sum(layer.multiply_adds for layer in layers(network)))


def operations_per_step(configuration: Configuration, channels: int, outputs: int) -> float:
    """Return the operations of one training step: forward and backward of the whole batch."""
    network = network_of(configuration, channels, outputs)
    return FORWARD_AND_BACKWARD * configuration.batch * forward_operations(network)


def seconds_per_step(configuration: Configuration, channels: int, outputs: int, machine: Machine) -> float | None:
    """Return the expected seconds of one training step on `machine`, None if its speed was not measured."""
    network = network_of(configuration, channels, outputs)
    return network_seconds(network, configuration.batch, machine)


def network_seconds(network: Network, batch: int, machine: Machine) -> float | None:
    """Return the expected seconds of one training step of `batch` samples, None if nothing was measured.

    On a CPU both convolutions and what follows them (norm, activation) are bound by computing; elsewhere the latter
    by moving bytes.
    """
    if machine.flops_per_s is None:
        return None
    operations = FORWARD_AND_BACKWARD * batch * forward_operations(network)
    elements = batch * sum(layer.features_out * layer.voxels for layer in layers(network) if layer.normalized)
    if machine.device == "cpu":
        operations *= _filled_up(network)
        return (_CPU_EFFICIENCY * operations + _CPU_OPERATIONS_PER_ELEMENT * elements) / machine.flops_per_s
    moving = 0.0
    if machine.bytes_per_s is not None:
        moving = elements * (BFLOAT16 if machine.bf16 else FLOAT32) * _GPU_PASSES / machine.bytes_per_s
    return operations / machine.flops_per_s + moving


def _filled_up(network: Network) -> float:
    """Return the operations of blocks of features over those of the features themselves."""
    blocks = sum(
        layer.multiply_adds / (layer.features_in * layer.features_out)
        * _in_blocks(layer.features_in) * _in_blocks(layer.features_out)
        for layer in layers(network)
    )  # fmt: skip
    return blocks / sum(layer.multiply_adds for layer in layers(network))


def _in_blocks(features: int) -> int:
    return features if features < _CPU_BLOCK else math.ceil(features / _CPU_BLOCK) * _CPU_BLOCK


def training_seconds(budget: Budget, recipe: Recipe) -> float | None:
    """Return the seconds that training may take, None without a time budget."""
    return None if budget.seconds is None else budget.seconds * recipe.training_share


def wanted_steps(train_seconds: float, recipe: Recipe) -> int:
    """Return how many steps a training of `train_seconds` should hold at least.

    More time buys half more steps and half larger networks (in ratios): the number grows with the root of time.
    """
    grown = recipe.steps_wanted * math.sqrt(train_seconds / recipe.steps_reference_seconds)
    return max(recipe.steps_min, round(grown))


def schedule(budget: Budget, recipe: Recipe) -> Schedule:
    """Return the recipe's schedule for a budget: its steps, the clock (steps None), or else the recipe's own length.

    Only without a budget does the validation curve of a recipe that has a rule for it decide.
    """
    if budget.steps is not None:
        per_epoch = max(1, min(recipe.schedule.steps_per_epoch, budget.steps // 10))
        return replace(recipe.schedule, steps=budget.steps, steps_per_epoch=per_epoch, convergence=None)
    if budget.seconds is not None:
        return replace(recipe.schedule, steps=None, convergence=None)
    return replace(recipe.schedule, steps=recipe.steps_without_budget)


def supervision_weights(stages: int, coarsest: float) -> tuple[float, ...] | None:
    """Return the loss weights of the decoder's outputs, full resolution first; None for the full resolution alone.

    Each output weighs half the one above it, the coarsest `coarsest`; together 1. Where that leaves nothing to
    divide by, or one output, only the full resolution is supervised. Source: nnU-Net, _build_loss.
    """
    outputs = stages - 1
    weights = [1 / 2**level for level in range(outputs)]
    if outputs > 1:
        weights[-1] = coarsest
        total = sum(weights)
        return tuple(weight / total for weight in weights)
    return None
