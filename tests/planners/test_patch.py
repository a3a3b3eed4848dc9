"""nnU-Net's patch rule, where the golden plans do not reach."""

import math
from dataclasses import replace

from planners.patch import Space, Task, coarsened, reference_sizes, shrink, start_patch
from planners.recipe import RECIPES
from planners.topology import topology

TASK = Task(channels=1, outputs=2, label_entries=2, n_training=10, foreground_voxels=None)


def space(shape: tuple[float, ...], spacing_mm: tuple[float, ...]) -> Space:
    return Space(spacing_mm=spacing_mm, median_shape=shape, dataset_voxels=10 * math.prod(shape))


def test_the_start_is_a_cube_in_millimetres() -> None:
    assert start_patch(space((999.0, 999.0, 999.0), (4.0, 1.0, 1.0)), 256) == (102, 406, 406)


def test_the_last_of_equally_long_axes_is_shortened() -> None:
    cube = space((64.0, 64.0, 64.0), (1.0, 1.0, 1.0))
    assert shrink(cube, topology((1.0, 1.0, 1.0), (64, 64, 64), 4), 4).patch == (64, 64, 56)


def test_no_memory_at_all_ends_with_the_smallest_patch() -> None:
    starved = replace(RECIPES["nnunet"], memory_target_gb=1e-9)
    sizes = reference_sizes(space((30.0, 30.0, 30.0), (1.0, 1.0, 1.0)), TASK, starved)
    assert sizes.batch == 2
    assert max(sizes.network.patch) <= 8


def test_fine_axes_become_coarser_first() -> None:
    assert coarsened((5.0, 1.0, 3.0), 1.5) == (5.0, 1.5, 3.0)
    assert coarsened((2.0, 1.0, 1.5), 2.0) == (4.0, 2.0, 3.0)
