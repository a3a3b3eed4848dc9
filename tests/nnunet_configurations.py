"""The small networks that are compared with nnU-Net's own."""

from dataclasses import replace
from typing import Literal

from planners.plan import Configuration
from tests.builders import configuration, stages

FEATURES = (4, 8, 12)
BLOCKS = (1, 3, 4)


def nnunet_configuration(architecture: Literal["plain-unet", "residual-unet"], dimensions: int) -> Configuration:
    """Three stages; residual networks have one convolution per decoder level, as nnU-Net's have."""
    residual = architecture == "residual-unet"
    return replace(
        configuration(dimensions),
        architecture=architecture,
        stages=tuple(
            replace(
                stage,
                features=features,
                convolutions=blocks if residual else 2,
                decoder_convolutions=min(stage.decoder_convolutions, 1 if residual else 2),
            )
            for stage, features, blocks in zip(stages(dimensions, 3), FEATURES, BLOCKS, strict=True)
        ),
    )
