"""Configurations that predict together: the textbook average, streamed; and windows that need no network."""

import bisect
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoseg.core.errors import ResourceError
from autoseg.imaging.resampling import LINEAR, axis_orders, resize
from autoseg.learning.ensemble import Ensemble, Input, Sink, footprint
from autoseg.learning.slab import Slab
from autoseg.learning.source import Source, Tally
from tests.learning.test_sliding_window import labels, mapping, predictor, same, small_network

SHAPE = (19, 30, 22)
"""Of the native crop: several blocks of planes, of which the last is not full."""


def both_grids(**options):
    """The way to the native grid for a 3D network at half the resolution, and for a 2D one that keeps the slices."""
    coarse = mapping((10, 15, 12), SHAPE, **options)
    fine = mapping((SHAPE[0], 20, 16), SHAPE, **options)
    return coarse, fine


def members(target="labels"):
    solid = predictor(small_network(seed=1), (8, 8, 8), 3, target=target, batch=9)
    flat = predictor(small_network(dimensions=2, seed=2), (8, 8), 3, target=target, batch=50)
    return solid, flat


def inputs(grids, seed=0):
    random = np.random.default_rng(seed)
    images = [random.standard_normal((1, *grid.network_shape), dtype=np.float32) * 3 for grid in grids]
    return [Input(source=Source(image=image), mapping=grid) for image, grid in zip(images, grids, strict=True)]


def on_native(tested, each):
    """The logits of one member, all of them, resampled to the crop."""
    orders = axis_orders(each.mapping.network_spacing_mm, each.mapping.cropped_spacing_mm, LINEAR)
    return resize(tested.logits(each.source.image), each.mapping.cropped_shape, orders).astype(np.float64)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


def collect(shape):
    """A sink and the array that it fills."""
    result = np.full(shape, np.nan, np.float32)

    def take(block, plane, row):
        _, planes, rows, _ = block.shape
        assert np.isnan(result[:, plane : plane + planes, row : row + rows]).all()  # nothing is made twice
        result[:, plane : plane + planes, row : row + rows] = block

    return Sink(take=take), result


class TestSeveralConfigurations:
    @pytest.mark.parametrize(
        "options", [{}, {"transpose": (1, 2, 0), "margin": 3}], ids=["plain", "transposed, cropped"]
    )
    def test_average_their_probabilities_on_the_native_grid(self, options):
        grids = both_grids(**options)
        given = inputs(grids)
        mean = sum(softmax(on_native(m, each)) for m, each in zip(members(), given, strict=True)) / 2
        sink, probabilities = collect((3, *SHAPE))
        found = Ensemble(members=members()).labels(given, sink)
        np.testing.assert_allclose(probabilities, mean, atol=2e-6)
        expected = grids[0].crop_to_native(mean.argmax(axis=0).astype(np.uint8))
        assert len(np.unique(expected)) == 3
        assert (found == expected).mean() > 0.9999  # ties at float32's rounding

    def test_average_the_probabilities_of_regions(self):
        given = inputs(both_grids())
        tested = members("regions")
        mean = sum(1 / (1 + np.exp(-on_native(m, each))) for m, each in zip(tested, given, strict=True)) / 2
        expected = np.zeros(SHAPE, np.uint8)
        for index, values in enumerate(mean):
            expected[values > 0.5] = index + 1
        sink, probabilities = collect((3, *SHAPE))
        found = Ensemble(members=tested).labels(given, sink)
        np.testing.assert_allclose(probabilities, mean, atol=2e-6)
        assert set(np.unique(expected)) == {0, 1, 2, 3}
        assert (found == expected).mean() > 0.9999

    def test_give_the_same_within_any_ceiling(self):
        given = inputs(both_grids())
        free = Ensemble(members=members())
        taken = [footprint(each) for each in given]
        whole = free.estimate_bytes(taken, probabilities=True)
        steps = range(0, whole, whole // 64)
        fewest = bisect.bisect_left(steps, 1, key=lambda ceiling: possible(replace(free, max_ram_bytes=ceiling), taken))
        ceiling = (steps[fewest] + whole) // 2
        held = replace(free, max_ram_bytes=ceiling)
        assert held.estimate_bytes(taken, probabilities=True) <= ceiling < whole
        sink, probabilities = collect((3, *SHAPE))
        other, again = collect((3, *SHAPE))
        expected = free.labels(given, sink)
        found = held.labels(given, other)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(again, probabilities, atol=1e-6)  # windows of two bands come in other batches

    def test_of_another_crop_are_refused(self):
        coarse, _ = both_grids()
        _, fine = both_grids(margin=2)
        with pytest.raises(ValueError, match="the same part of the same image"):
            Ensemble(members=members()).labels(inputs((coarse, fine)))


def possible(ensemble, taken):
    try:
        return ensemble.estimate_bytes(taken, probabilities=True) <= ensemble.max_ram_bytes
    except ResourceError:
        return False


class TestOneConfiguration:
    def test_is_one_forward_pass_where_the_volume_fits_the_patch(self):
        network = small_network()
        image = np.random.default_rng(0).standard_normal((1, 16, 24, 16), dtype=np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(image)[None])[0].argmax(dim=0).numpy()
        found = labels(predictor(network, (16, 24, 16), 3), image, same((16, 24, 16)))
        assert len(np.unique(expected)) == 3
        np.testing.assert_array_equal(found, expected)

    def test_is_nowhere_wrong_at_borders_where_windows_agree(self):
        """A network that sees one voxel alone: each corner voxel, which windows count e^-24, has its own label."""

        class Voxelwise(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.cat([x * 0, x * 1e-3, x * -1e-3], dim=1)  # leads of a thousandth

        image = np.random.default_rng(0).standard_normal((1, 37, 41, 29), dtype=np.float32)
        found = labels(predictor(Voxelwise(), (16, 16, 16), 3), image, same((37, 41, 29)))
        np.testing.assert_array_equal(found, np.where(image[0] > 0, 1, 2))

    def test_gives_labels_of_its_logits_also_beside_probabilities(self):
        coarse, _ = both_grids()
        given = inputs((coarse,))
        alone = Ensemble(members=members()[:1])
        sink, probabilities = collect((3, *SHAPE))
        np.testing.assert_array_equal(alone.labels(given, sink), alone.labels(given))
        np.testing.assert_allclose(probabilities, softmax(on_native(members()[0], given[0])), atol=2e-6)


def test_a_band_gives_up_its_logits_before_the_next_one_takes_memory(monkeypatch):
    alive = []

    class Watched(Slab):
        def __init__(self, *arguments):
            assert [ring for ring in alive if ring() is not None] == []
            super().__init__(*arguments)
            alive.append(weakref.ref(self._ring))

    monkeypatch.setattr("autoseg.learning.sliding_window.Slab", Watched)
    monkeypatch.setattr(Ensemble, "band_count", lambda *_, **__: 3)
    coarse, _ = both_grids()
    Ensemble(members=members()[:1]).labels(inputs((coarse,)))
    assert len(alive) == 3


class Counting(nn.Module):
    """A network that counts its windows."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.windows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.windows += len(x)
        found: Tensor = self.network(x)
        return found


def body_in_air(noise=0.0):
    """A body in air of one value, as CT is after clipping."""
    image = np.full((1, 16, 32, 32), -1.5, np.float32)
    random = np.random.default_rng(0)
    image[:, 4:12, 4:14, 4:14] = random.standard_normal((1, 8, 10, 10))
    return image + noise * random.random(image.shape, dtype=np.float32)


class TestFlatWindows:
    @pytest.mark.parametrize("batch", [1, 16])
    def test_are_predicted_once_and_nothing_changes(self, batch):
        network = Counting(small_network())
        every = predictor(network, (8, 8, 8), 3, flat_tolerance=None)
        once = predictor(network, (8, 8, 8), 3, batch=batch)
        image, tally = body_in_air(), Tally()
        where = same((16, 32, 32))
        expected = labels(every, image, where)
        total, network.windows = network.windows, 0
        ensemble = Ensemble(members=(once,))
        found = ensemble.labels([Input(source=Source(image=image), mapping=where)], tally=tally)
        np.testing.assert_array_equal(found, expected)
        assert (total, tally.windows) == (147, 147)
        assert network.windows == tally.windows - tally.skipped
        assert tally.skipped > 60

    def test_that_are_nearly_flat_are_predicted_unless_tolerated(self):
        image, where = body_in_air(noise=1e-4), same((16, 32, 32))
        given = [Input(source=Source(image=image), mapping=where)]
        found, skipped = [], []
        for tolerance in (0.0, 1e-3):
            tally = Tally()
            tested = predictor(small_network(), (8, 8, 8), 3, flat_tolerance=tolerance)
            found.append(Ensemble(members=(tested,)).labels(given, tally=tally))
            skipped.append(tally.skipped)
        assert skipped[0] == 0
        assert skipped[1] > 60
        assert (found[0] != found[1]).mean() < 0.01

    def test_of_other_values_are_others(self):
        image = np.zeros((1, 8, 8, 32), np.float32)
        image[..., 16:] = 5
        tested = predictor(small_network(), (8, 8, 8), 3)
        every = replace(tested, flat_tolerance=None)
        np.testing.assert_allclose(tested.logits(image), every.logits(image), atol=1e-6)

    def test_too_large_to_remember_are_predicted(self, monkeypatch):
        monkeypatch.setattr("autoseg.learning.sliding_window.MEMORY_BYTES", 100)
        tally = Tally()
        given = [Input(source=Source(image=np.zeros((1, 8, 8, 32), np.float32)), mapping=same((8, 8, 32)))]
        Ensemble(members=(predictor(small_network(), (8, 8, 8), 3),)).labels(given, tally=tally)
        assert (tally.windows, tally.skipped) == (7, 0)


def test_a_pass_takes_time():
    tested = predictor(small_network(), (8, 8, 8), 3, mirror_axes=(0, 1))
    assert 0 < tested.pass_seconds(1) < 1
    assert (tested.passes, tested.window_count((8, 8, 12))) == (4, 2)
