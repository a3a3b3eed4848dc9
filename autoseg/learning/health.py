"""Is there anything to learn? Before the time is spent, one case is overfitted for a few seconds; if not, why not.

A small copy of the network (few features, one convolution a stage) is fitted to patches around the labels of the case
that has most of them; each is judged before it is learned from, so that nothing can be memorised. What can be seen
without fitting is looked at first. The copy is thrown away and nothing that the training draws from is touched, so the
training is the same with and without this check.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int16
from torch import Tensor

from autoseg.core.errors import AutosegError
from autoseg.core.runtime import say
from autoseg.core.stopping import Wish
from autoseg.learning.evidence import Cause, HealthTask, absent_labels, causes_in_case, shifted_everywhere
from autoseg.learning.feeding import Feeder
from autoseg.learning.loss import LossOptions, segmentation_loss
from autoseg.learning.network import build_network
from autoseg.learning.sampling import CaseSource
from autoseg.learning.training_task import TrainingTask
from planners.plan import Augmentation, Configuration

SECONDS_MAX = 20.0
SHARE = 0.04
"""Of a training's budget: what the check takes at most."""
STEPS_MIN = 40
"""Fewer steps prove nothing: no verdict."""
STEPS_MAX = 400
ENOUGH_SKILL = 0.3
"""Of the way from the Dice of labelling everything to 1: enough to end the check well. Labels that have nothing to do
with their image stay at 0; healthy cases of four datasets were there within 25 steps (docs/log.md)."""
_FEATURES = 8
_BATCH = 2
_LEARNING_RATE = 5e-3
_BATCHES_JUDGED = 5
_CASES_COMPARED = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """Dice, and how far it is from that of labelling everything to 1."""

    dice: float
    skill: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was found: the case, its Dice after so many steps (None: no verdict), and the causes, worst first."""

    case: str
    dice: float | None
    steps: int
    causes: tuple[Cause, ...]
    verdict: Literal["learns", "does not learn", "too short to tell", "nothing to learn"]


def check_health(
    task: TrainingTask,
    source: CaseSource,
    looked_at: HealthTask,
    clock: Callable[[], float],
    stop: Callable[[], Wish | None],
) -> Health:
    """Look at the training cases and overfit one of them, within the share of time that the budget allows."""
    allowed = SECONDS_MAX if task.seconds is None else min(SECONDS_MAX, SHARE * task.seconds)
    end = clock() + allowed

    def may_go_on() -> bool:
        return clock() < end and stop() is None

    absent = absent_labels(source, looked_at, may_go_on)
    case = _fullest(source, looked_at.names)
    if not any(len(places) for places in source.locations(case)):
        return Health(case=case, dice=None, steps=0, causes=absent, verdict="nothing to learn")
    seen = causes_in_case(source, case, looked_at, task.configuration)
    certain = tuple(cause for cause in seen if cause.severity == "error")
    if certain:
        return Health(case=case, dice=None, steps=0, causes=(*certain, *absent), verdict="nothing to learn")
    small = _small(task.configuration)
    feed = replace(looked_at.feed, configuration=small, names=(case,))
    with Feeder(source, feed) as feeder:
        fit, steps = _overfit(task, small, feeder, may_go_on)
    if fit is not None and fit.skill >= ENOUGH_SKILL:
        moved = shifted_everywhere(source, looked_at.names, task.configuration)
        return Health(case=case, dice=fit.dice, steps=steps, causes=(*moved, *absent), verdict="learns")
    if fit is None or steps < STEPS_MIN:
        return Health(case=case, dice=None, steps=steps, causes=absent, verdict="too short to tell")
    unknown = Cause(
        severity="warning",
        what=f"case {case}: even alone it is hardly learned (training Dice {fit.dice:.2f} after {steps} steps), and why"
        " is not known",
        mend="look whether its labels belong to its image: autoseg inspect draws both",
    )
    return Health(
        case=case, dice=fit.dice, steps=steps, causes=(*(seen or (unknown,)), *absent), verdict="does not learn"
    )


def _fullest(source: CaseSource, names: tuple[str, ...]) -> str:
    """Return the case with most labels, and most voxels of them, among some that are evenly spread."""
    spread = names[:: -(-len(names) // _CASES_COMPARED)]

    def amount(name: str) -> tuple[int, int]:
        counts = [len(places) for places in source.locations(name)]
        return sum(count > 0 for count in counts), sum(counts)

    return max(spread, key=amount) if any(amount(name) > (0, 0) for name in spread) else max(names, key=amount)


def _overfit(
    task: TrainingTask, small: Configuration, feeder: Feeder, may_go_on: Callable[[], bool]
) -> tuple[_Fit | None, int]:
    """Return how well new patches of the case fed are predicted, and after how many steps."""
    options = LossOptions(name="dice-ce", target=task.target, batch_dice=True)
    fits: deque[_Fit] = deque(maxlen=_BATCHES_JUDGED)
    network, optimizer = None, None
    step = 0
    while step < STEPS_MAX and (step < _BATCHES_JUDGED or (_mean(fits).skill < ENOUGH_SKILL and may_go_on())):
        batch = feeder.batch(step)
        if network is None or optimizer is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(task.seed)
                network = build_network(small, batch.images.shape[1], task.outputs).to(task.device).train()
            optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)
        with torch.autocast(task.device.type, task.dtype, enabled=task.dtype != torch.float32):
            logits = network(batch.images)
        segmentation_loss(logits, batch.labels, options).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), task.configuration.schedule.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        fits.extend(_fit(logits.detach(), batch.labels, task.target == "labels"))
        step += 1
        if step == _BATCHES_JUDGED and not fits:
            return None, step
    return _mean(fits), step


def _mean(fits: Iterable[_Fit]) -> _Fit:
    every = tuple(fits)
    return _Fit(
        dice=sum(fit.dice for fit in every) / len(every),
        skill=sum(fit.skill for fit in every) / len(every),
    )


def _small(configuration: Configuration) -> Configuration:
    """Return the configuration with few features, one convolution a stage, and nothing random but the place."""
    stages = tuple(
        replace(
            stage,
            features=min(stage.features, _FEATURES * 2 ** min(depth, 3)),
            convolutions=1,
            decoder_convolutions=min(1, stage.decoder_convolutions),
        )
        for depth, stage in enumerate(configuration.stages)
    )
    return replace(
        configuration,
        stages=stages,
        batch=min(_BATCH, configuration.batch),
        deep_supervision_weights=None,
        augmentation=_without_chance(configuration.augmentation),
        schedule=replace(configuration.schedule, foreground_fraction=1.0),
    )


def _without_chance(augmentation: Augmentation) -> Augmentation:
    never = {name: 0.0 for name in augmentation.__dataclass_fields__ if name.endswith("probability")}
    return replace(augmentation, mirror_axes=(), **never)  # type: ignore[arg-type]


def _fit(
    logits: Float[Tensor, "batch outputs *spatial"], labels: Int16[Tensor, "batch l *spatial"], exclusive: bool
) -> tuple[_Fit, ...]:
    """Return the mean fit over the labels that the batch holds, nothing without any."""
    outputs = logits.shape[1]
    if exclusive:
        predicted = logits.argmax(1)
        pairs = [(predicted == label, labels[:, 0] == label) for label in range(1, outputs)]
    else:
        pairs = [(logits[:, label] > 0, labels[:, label] > 0) for label in range(outputs)]
    fits = []
    for found, wanted in pairs:
        held = int(wanted.sum())
        if 0 < held < wanted.numel():
            dice = 2 * int((found & wanted).sum()) / (int(found.sum()) + held)
            everywhere = 2 * held / (wanted.numel() + held)
            fits.append(_Fit(dice=dice, skill=(dice - everywhere) / (1 - everywhere)))
    return (_mean(fits),) if fits else ()


def look_first(task: TrainingTask, source: CaseSource, looked_at: HealthTask, stop: Callable[[], Wish | None]) -> None:
    """Check that there is something to learn; a training of fixed steps is left without, as it needs no clock.

    Raises:
        AutosegError: as `act_on`.

    """
    if task.seconds is not None or task.convergence is not None:
        act_on(check_health(task, source, looked_at, time.monotonic, stop), say)


def act_on(health: Health, tell: Callable[[str], None]) -> None:
    """Warn of what was found, or refuse to train on nothing.

    Raises:
        AutosegError: no label, or no image, is left to learn from.

    """
    for cause in health.causes:
        if cause.severity == "error":
            raise AutosegError.at("health check before training", cause.what, cause.mend)
        tell(f"warning: {cause.what}; {cause.mend}")
    if health.verdict == "learns":
        tell(
            f"health check: {health.case} alone is learned (training Dice {health.dice:.2f} after {health.steps} steps)"
        )
