"""Windows cover, weights sum to one, and streamed labels are the labels of the plain computation."""

import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoseg.core.errors import AutosegError, ResourceError
from autoseg.imaging.preparation import GridMapping
from autoseg.imaging.resampling import LINEAR, axis_orders, resize
from autoseg.learning.ensemble import Ensemble, Footprint, Input
from autoseg.learning.network import build_network
from autoseg.learning.sliding_window import WindowPredictor
from autoseg.learning.source import Source
from autoseg.learning.windows import gaussian, make_spans, make_tiling, window_starts
from tests.builders import configuration

CPU = torch.device("cpu")


def mapping(network, native, *, native_mm=(1.0, 1.0, 1.0), network_mm=None, transpose=(0, 1, 2), margin=0):
    """A mapping whose crop of shape `native` (transposed axes) lies `margin` voxels inside the native grid."""
    padded = [n + 2 * margin for n in native]
    shape = [0, 0, 0]
    spacing = [0.0, 0.0, 0.0]
    for axis, source in enumerate(transpose):
        shape[source] = padded[axis]
        spacing[source] = native_mm[axis]
    network_mm = network_mm or tuple(s * a / b for s, a, b in zip(native_mm, native, network, strict=True))
    return GridMapping(
        native_shape=tuple(shape),
        native_spacing_mm=tuple(spacing),
        transpose=transpose,
        crop_lower=(margin,) * 3,
        crop_upper=tuple(margin + n for n in native),
        network_shape=tuple(network),
        network_spacing_mm=network_mm,
    )


def same(shape):
    return mapping(shape, shape)


def predictor(networks, patch, outputs, **options):
    planned = replace(configuration(len(patch)), patch=patch)
    networks = networks if isinstance(networks, tuple) else (networks,)
    return WindowPredictor(networks, planned, outputs, CPU, options.pop("dtype", torch.float32), **options)


class Pointwise(nn.Module):
    """Logits that depend on the voxel alone: windows, weights and mirroring must not be visible."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.slope = torch.linspace(-1, 1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return x[:, :1] * self.slope.view(shape) - x[:, :1] ** 2 * self.slope.view(shape) ** 2


class Ramp(nn.Module):
    """Logits that grow along one axis of the window, whatever the image shows."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[2 + self.axis]
        shape = [-1 if a == 2 + self.axis else 1 for a in range(x.ndim)]
        return torch.arange(length, dtype=torch.float32).view(shape).expand(len(x), 1, *x.shape[2:])


def labels(tested, image, where, max_ram_bytes=None):
    """Labels of one predictor alone."""
    return Ensemble(members=(tested,), max_ram_bytes=max_ram_bytes).labels(
        [Input(source=Source(image=image), mapping=where)]
    )


def estimate_bytes(tested, image_shape, where, max_ram_bytes=None):
    channels, *shape = image_shape
    taken = Footprint(shape=tuple(shape), channels=channels, source_bytes=4 * math.prod(image_shape), mapping=where)
    return Ensemble(members=(tested,), max_ram_bytes=max_ram_bytes).estimate_bytes([taken])


def plain_logits(network, image, patch, outputs):
    """The textbook sliding window: a volume of sums over a volume of weights."""
    padding = [max(0, p - n) for p, n in zip(patch, image.shape[1:], strict=True)]
    padded = np.pad(image, [(0, 0), *((p // 2, p - p // 2) for p in padding)])
    total = np.zeros((outputs, *padded.shape[1:]))
    weights = np.zeros(padded.shape[1:])
    window = np.prod(np.meshgrid(*(gaussian(p) for p in patch), indexing="ij"), axis=0)
    starts = (window_starts(n, p) for n, p in zip(padded.shape[1:], patch, strict=True))
    for corner in product(*starts):
        box = tuple(slice(s, s + p) for s, p in zip(corner, patch, strict=True))
        with torch.inference_mode():
            logits = network(torch.from_numpy(padded[(slice(None), *box)])[None])[0].numpy()
        total[(slice(None), *box)] += logits * window
        weights[box] += window
    inside = tuple(slice(p // 2, p // 2 + n) for p, n in zip(padding, image.shape[1:], strict=True))
    return (total / weights)[(slice(None), *inside)].astype(np.float32)


def plain_labels(logits, where):
    """Resample all logits to the native grid, then argmax."""
    orders = axis_orders(where.network_spacing_mm, where.cropped_spacing_mm, LINEAR)
    return where.crop_to_native(resize(logits, where.cropped_shape, orders).argmax(axis=0).astype(np.uint8))


def small_network(outputs=3, dimensions=3, seed=0):
    torch.manual_seed(seed)
    return build_network(configuration(dimensions), 1, outputs).eval()


@pytest.fixture
def generator():
    return np.random.default_rng(0)


class TestWindows:
    def test_lie_half_a_patch_apart_and_touch_both_ends(self):
        assert window_starts(10, 4) == (0, 2, 4, 6)
        assert window_starts(11, 4) == (0, 2, 4, 5, 7)  # 7 / 4 * index, rounded half to even
        assert window_starts(9, 4, 1.0) == (0, 2, 5)

    def test_a_short_axis_is_padded_more_after_than_before(self):
        (span,) = make_spans(5, 8)
        assert (span.start, span.lower, span.upper, span.weights) == (-1, 0, 5, None)

    @pytest.mark.parametrize(("length", "patch"), [(10, 4), (37, 16), (64, 64), (65, 64), (5, 8), (100, 1)])
    def test_weights_sum_to_one_everywhere(self, length, patch):
        total = np.zeros(length)
        for span in make_spans(length, patch):
            total[span.lower : span.upper] += 1 if span.weights is None else span.weights
        np.testing.assert_allclose(total, 1, atol=2e-7)

    def test_a_window_counts_e_to_the_minus_8_at_its_border(self):
        weights = gaussian(8)
        assert weights[4] == 1
        assert weights[0] == pytest.approx(np.exp(-8))

    def test_two_axes_take_every_slice(self):
        assert [span.start for span in make_tiling((3, 8, 8), (8, 8)).spans[0]] == [0, 1, 2]


class TestLogits:
    def test_one_window_is_one_forward_pass(self, generator):
        network = small_network()
        image = generator.standard_normal((1, 8, 8, 8), dtype=np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(image)[None])[0].numpy()
        np.testing.assert_array_equal(predictor(network, (8, 8, 8), 3).logits(image), expected)

    @pytest.mark.parametrize("shape", [(8, 8, 8), (20, 8, 13), (5, 6, 30), (3, 3, 3), (9, 17, 8)])
    def test_equal_the_textbook_sliding_window(self, generator, shape):
        network = small_network()
        image = generator.standard_normal((1, *shape), dtype=np.float32)
        expected = plain_logits(network, image, (8, 8, 8), 3)
        for batch in (1, 3):
            found = predictor(network, (8, 8, 8), 3, batch=batch).logits(image)
            np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_of_slices_equal_slices_alone(self, generator):
        network = small_network(dimensions=2)
        image = generator.standard_normal((1, 5, 12, 8), dtype=np.float32)
        found = predictor(network, (8, 8), 3, batch=4).logits(image)
        for z in range(5):
            alone = predictor(network, (8, 8), 3).logits(image[:, z : z + 1])
            np.testing.assert_allclose(found[:, z : z + 1], alone, atol=1e-6)

    def test_mirrored_copies_are_averaged(self):
        image = np.zeros((1, 4, 4, 6), dtype=np.float32)
        straight = predictor(Ramp(2), (4, 4, 6), 1).logits(image)
        np.testing.assert_array_equal(straight[0, 0, 0], [0, 1, 2, 3, 4, 5])
        mirrored = predictor(Ramp(2), (4, 4, 6), 1, mirror_axes=(2,)).logits(image)
        np.testing.assert_array_equal(mirrored, 2.5)
        other = predictor(Ramp(2), (4, 4, 6), 1, mirror_axes=(0, 1)).logits(image)
        np.testing.assert_array_equal(other, straight)

    def test_mirroring_takes_every_subset_of_the_axes(self, generator):
        network = small_network()
        image = generator.standard_normal((1, 8, 8, 8), dtype=np.float32)
        x = torch.from_numpy(image)[None]
        subsets = [axes for size in range(4) for axes in combinations((2, 3, 4), size)]
        with torch.inference_mode():
            expected = sum(network(x.flip(axes)).flip(axes) for axes in subsets)[0].numpy() / 8
        found = predictor(network, (8, 8, 8), 3, mirror_axes=(0, 1, 2)).logits(image)
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_a_slice_is_mirrored_in_its_plane(self):
        image = np.zeros((1, 2, 4, 6), dtype=np.float32)
        found = predictor(Ramp(1), (4, 6), 1, mirror_axes=(1,)).logits(image)
        np.testing.assert_array_equal(found, 2.5)

    def test_networks_are_averaged(self, generator):
        first, second = small_network(seed=1), small_network(seed=2)
        image = generator.standard_normal((1, 12, 8, 8), dtype=np.float32)
        both = predictor((first, second), (8, 8, 8), 3).logits(image)
        alone = [predictor(network, (8, 8, 8), 3).logits(image) for network in (first, second)]
        np.testing.assert_allclose(both, (alone[0] + alone[1]) / 2, atol=1e-6)

    def test_bfloat16_stays_near_float32(self, generator):
        network = small_network()
        image = generator.standard_normal((1, 12, 8, 8), dtype=np.float32)
        exact = predictor(network, (8, 8, 8), 3).logits(image)
        reduced = predictor(network, (8, 8, 8), 3, dtype=torch.bfloat16).logits(image)
        assert reduced.dtype == np.float32
        assert 0 < np.abs(reduced - exact).max() < 0.1 * np.abs(exact).max() + 0.05

    def test_that_are_not_finite_are_an_error(self):
        image = np.full((1, 8, 8, 8), np.inf, dtype=np.float32)
        with pytest.raises(AutosegError, match="not finite"):
            predictor(Pointwise(2), (8, 8, 8), 2).logits(image)


NATIVE = [
    pytest.param(mapping((20, 13, 9), (20, 13, 9)), id="same grid"),
    pytest.param(mapping((20, 13, 9), (41, 26, 20)), id="finer"),
    pytest.param(mapping((20, 13, 9), (7, 6, 5)), id="coarser"),
    pytest.param(mapping((20, 13, 9), (20, 29, 9)), id="one axis"),
    pytest.param(mapping((6, 13, 9), (11, 26, 20), network_mm=(9.0, 2.0, 2.2)), id="thick slices"),
    pytest.param(mapping((20, 13, 9), (41, 26, 20), transpose=(2, 0, 1), margin=2), id="transposed and cropped"),
]


class TestLabels:
    @pytest.mark.parametrize("where", NATIVE)
    @pytest.mark.parametrize("patch", [(8, 8, 8), (8, 8)])
    def test_streamed_equal_whole(self, generator, where, patch):
        network = small_network(dimensions=len(patch))
        image = generator.standard_normal((1, *where.network_shape), dtype=np.float32)
        tested = predictor(network, patch, 3)
        found = labels(tested, image, where)
        expected = plain_labels(tested.logits(image), where)
        assert found.dtype == np.uint8
        assert found.shape == where.native_shape
        assert len(np.unique(expected)) > 1
        np.testing.assert_array_equal(found, expected)

    def test_many_classes_skip_only_those_that_cannot_win(self, generator):
        where = mapping((20, 16, 16), (70, 80, 90))
        image = generator.standard_normal((1, *where.network_shape), dtype=np.float32) * 3
        tested = predictor(Pointwise(30), (8, 8, 8), 30)
        expected = plain_labels(tested.logits(image), where)
        agreement = (labels(tested, image, where) == expected).mean()
        assert agreement > 0.9999  # ties at float32's rounding

    def test_regions_are_painted_in_order_above_one_half(self):
        class Three(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.cat([x, x - 1, 2 - x], dim=1)

        image = np.array([-1, 0.5, 1.5, 3], dtype=np.float32).reshape(1, 1, 1, 4)
        tested = predictor(Three(), (4, 4, 4), 3, target="regions")
        # above 0: first where x > 0, second where x > 1, third where x < 2; the last one wins
        np.testing.assert_array_equal(labels(tested, image, same((1, 1, 4)))[0, 0], [3, 3, 3, 2])

    def test_of_a_region_model_equal_the_whole_computation(self, generator):
        where = mapping((20, 13, 9), (41, 26, 20))
        network = small_network()
        image = generator.standard_normal((1, *where.network_shape), dtype=np.float32)
        tested = predictor(network, (8, 8, 8), 3, target="regions")
        native = resize(tested.logits(image), where.cropped_shape, LINEAR)
        expected = np.zeros(native.shape[1:], dtype=np.uint8)
        for index, logits in enumerate(native):
            expected[logits > 0] = index + 1
        assert set(np.unique(expected)) == {0, 1, 2, 3}
        assert (labels(tested, image, where) == expected).mean() > 0.9999

    def test_more_than_255_classes_are_uint16(self):
        class Last(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.arange(300.0).view(1, -1, 1, 1, 1).expand(len(x), -1, *x.shape[2:])

        found = labels(predictor(Last(), (4, 4, 4), 300), np.zeros((1, 4, 4, 4), np.float32), same((4, 4, 4)))
        assert found.dtype == np.uint16
        assert (found == 299).all()

    def test_outside_the_crop_is_background(self):
        class One(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.cat([x * 0, x * 0 + 1], dim=1)

        where = mapping((4, 4, 4), (4, 4, 4), margin=1)
        found = labels(predictor(One(), (4, 4, 4), 2), np.ones((1, 4, 4, 4), np.float32), where)
        assert found.sum() == 64
        assert found[1:5, 1:5, 1:5].all()


class TestMemory:
    def test_labels_do_not_depend_on_the_ceiling(self, generator):
        where = mapping((12, 40, 12), (15, 90, 20))
        image = generator.standard_normal((1, *where.network_shape), dtype=np.float32)
        free = predictor(small_network(), (8, 8, 8), 3, batch=1)
        expected = labels(free, image, where)
        ceiling = int(estimate_bytes(free, image.shape, where) * 0.75)
        assert estimate_bytes(free, image.shape, where, ceiling) <= ceiling
        np.testing.assert_array_equal(labels(free, image, where, ceiling), expected)

    def test_an_impossible_ceiling_is_said_with_numbers(self):
        held = predictor(small_network(), (8, 8, 8), 3)
        with pytest.raises(ResourceError, match=r"needs 0\.02 GiB, 0\.00 GiB are allowed"):
            labels(held, np.zeros((1, 8, 8, 8), np.float32), same((8, 8, 8)), 1000)

    def test_a_long_image_takes_no_more_logits_than_a_short_one(self):
        tested = predictor(Pointwise(40), (8, 16, 16), 40, batch=1)

        def beyond_image_and_labels(planes):
            where = mapping((planes, 32, 32), (2 * planes, 64, 64))
            estimate = estimate_bytes(tested, (1, planes, 32, 32), where)
            return estimate - planes * 32 * 32 * 4 - 2 * planes * 64 * 64

        assert beyond_image_and_labels(400) == beyond_image_and_labels(40)

    def test_slab_is_as_deep_as_a_window_and_what_resampling_reaches(self):
        from autoseg.learning.reduction import make_reduction
        from autoseg.learning.slab import make_turns, ring_depth

        where = mapping((100, 16, 16), (150, 16, 16))
        tiling = make_tiling((100, 16, 16), (16, 16, 16))
        reach = make_reduction(where, 3, "labels", CPU).reach
        assert ring_depth(make_turns(tiling.windows(0, 16), 1, 100), reach) <= 16 + reach.upper[0]
