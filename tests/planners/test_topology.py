"""How often a network halves its feature maps, on worked examples."""

from planners.recipe import RECIPES
from planners.topology import build_stages, stage_shapes, topology


def test_a_cube_is_halved_until_four_voxels_are_left() -> None:
    shape = topology((1.0, 1.0, 1.0), (40, 56, 40), 4)
    assert shape.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert shape.kernels == ((3, 3, 3),) * 4
    assert shape.divisor == (8, 8, 8)
    assert shape.patch == (40, 56, 40)


def test_thick_slices_are_halved_last_and_see_their_neighbours_last() -> None:
    shape = topology((5.0, 1.0, 1.0), (20, 64, 64), 4)
    assert shape.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    assert shape.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    assert shape.divisor == (4, 16, 16)


def test_patches_are_padded_up() -> None:
    assert topology((1.0, 1.0), (45.5, 33), 4).patch == (48, 40)


def test_seven_voxels_are_never_halved() -> None:
    shape = topology((1.0, 1.0, 1.0), (7, 7, 7), 4)
    assert shape.strides == ((1, 1, 1),)
    assert shape.kernels == ((3, 3, 3),)


def test_a_single_short_axis_is_not_halved_alone() -> None:
    assert topology((1.0, 1.0, 1.0), (11, 7, 7), 4).divisor == (1, 1, 1)
    assert topology((1.0, 1.0, 1.0), (12, 7, 7), 4).divisor == (2, 1, 1)


def test_the_depth_can_be_limited() -> None:
    assert len(topology((1.0, 1.0), (512, 512), 4, 5).strides) == 5


def test_features_double_up_to_the_recipes_maximum_for_the_width() -> None:
    shape = topology((1.0, 1.0, 1.0), (128, 128, 128), 4)
    auto = RECIPES["auto"]
    assert [stage.features for stage in build_stages(shape, auto, 32)] == [32, 64, 128, 256, 320, 320]
    assert [stage.features for stage in build_stages(shape, auto, 16)] == [16, 32, 64, 128, 160, 160]


def test_residual_encoders_have_more_blocks_where_maps_are_small() -> None:
    shape = topology((1.0, 1.0), (256, 256), 4)
    stages = build_stages(shape, RECIPES["nnunet-resenc"], 32)
    assert [stage.convolutions for stage in stages] == [1, 3, 4, 6, 6, 6, 6]
    assert [stage.decoder_convolutions for stage in stages] == [1, 1, 1, 1, 1, 1, 0]


def test_shapes_of_stages_follow_the_strides() -> None:
    shape = topology((5.0, 1.0, 1.0), (20, 64, 64), 4)
    stages = build_stages(shape, RECIPES["auto"], 16)
    assert stage_shapes(shape.patch, stages) == ((20, 64, 64), (20, 32, 32), (20, 16, 16), (10, 8, 8), (5, 4, 4))
