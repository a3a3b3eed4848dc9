"""How a cascade's label map of the stage before is changed in training, so that it is believed only where it is right.

The stage before is better on cases like those it has seen than on others; networks that copy it learn nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeAugmentation:
    """Random changes of the one-hot channels of a training patch, structure by structure.

    A sample is changed by morphological operators with `operator_probability`; then each structure is, with
    `operator_label_probability`, dilated, eroded, opened or closed with a ball of a radius in `operator_radius_voxels`
    (first, last). A sample loses parts with `removal_probability`; then each structure loses, with
    `removal_label_probability`, one connected component that fills less than `removal_share_max` of the patch.
    """

    operator_probability: float
    operator_label_probability: float
    operator_radius_voxels: tuple[int, int]
    removal_probability: float
    removal_label_probability: float
    removal_share_max: float


CASCADE_AUGMENTATION = CascadeAugmentation(  # nnU-Net: get_training_transforms, is_cascaded
    operator_probability=0.4,
    operator_label_probability=0.5,
    operator_radius_voxels=(1, 8),
    removal_probability=0.2,
    removal_label_probability=0.5,
    removal_share_max=0.15,
)
