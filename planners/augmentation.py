"""How far a patch may be turned and mirrored, and how much of an image a turned patch needs."""

import math
from collections.abc import Sequence
from dataclasses import replace

from planners.fingerprint import Fingerprint
from planners.plan import Augmentation, Configuration
from planners.recipe import Recipe

_VOLUME = 3
# Largest zoom that the enlarged patch allows for. Source: nnU-Net, compute_initial_patch_size.
_ZOOM = 0.85
# The planes of the turns about each axis, from the first to the second axis of each.
_TURNS_2D = ((0, 1),)
_TURNS_3D = ((1, 2), (2, 0), (0, 1))


def augmentation(patch: Sequence[int], fingerprint: Fingerprint, recipe: Recipe) -> Augmentation:
    """Return the recipe's augmentation for a patch; `rotation_deg` is (low, high) of the angle about each axis.

    Flat 3D patches turn in the plane only, because thick slices cannot be turned into each other; elongated 2D patches
    turn little. Source: nnU-Net, configure_rotation_dummyDA_mirroring_and_inital_patch_size. By the recipe's rule,
    turning upside down and mirroring are left to images that have no upright position.
    """
    upright = has_upright_position(fingerprint)
    plane_deg = recipe.rotation_upright_deg if upright else recipe.rotation_plane_deg
    in_plane_only = len(patch) == _VOLUME and max(patch) / patch[0] > recipe.in_plane_above
    if in_plane_only:
        angle = plane_deg
    elif len(patch) == _VOLUME:
        angle = recipe.rotation_volume_deg
    else:
        angle = recipe.rotation_elongated_deg if max(patch) / min(patch) > recipe.elongated_above else plane_deg
    mirrored = recipe.mirror == "all-axes" or not upright
    return replace(
        recipe.augmentation,
        rotation_deg=(-angle, angle),
        mirror_axes=tuple(range(len(patch))) if mirrored else (),
        in_plane_only=in_plane_only,
    )


def has_upright_position(fingerprint: Fingerprint) -> bool:
    """Return whether images show a body in a usual position; what lies under a microscope does not."""
    return any(channel.modality != "microscopy" for channel in fingerprint.channels)


def loader_patch(configuration: Configuration) -> tuple[int, ...]:
    """Return the patch that nnU-Net would load so that a turned and zoomed one has few empty corners.

    The corner vector is turned one way about each axis in turn. Source: nnU-Net, get_patch_size.
    """
    patch, turns = configuration.patch, configuration.augmentation
    angle = min(max(turns.rotation_deg), 90.0) / 360 * 2.0 * math.pi
    if turns.in_plane_only:
        return (patch[0], *_turned_extent(patch[1:], angle))
    return _turned_extent(patch, angle)


def _turned_extent(patch: Sequence[int], angle_rad: float) -> tuple[int, ...]:
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    extent = [float(edge) for edge in patch]
    for a, b in _TURNS_3D if len(patch) == _VOLUME else _TURNS_2D:
        extent[a] = max(extent[a], abs(cosine * patch[a] + sine * patch[b]))
        extent[b] = max(extent[b], abs(cosine * patch[b] - sine * patch[a]))
    return tuple(int(edge / _ZOOM) for edge in extent)
