"""What is added up while a case is predicted equals sums over all its probabilities, whatever the tiles are."""

import bisect
from dataclasses import replace

import numpy as np
import pytest
import torch

from autoseg.core.errors import ResourceError
from autoseg.learning.ensemble import Ensemble, footprint
from autoseg.learning.observation import SAMPLED_VOXELS, SURE, Watch
from autoseg.learning.reduction import TILE_EDGE, TILE_PLANES
from tests.learning.test_ensemble import SHAPE, both_grids, collect, inputs, members, on_native, softmax


def entropy(p):
    p = np.clip(p, 1e-12, 1)
    q = np.clip(1 - p, 1e-12, 1)
    return -(p * np.log(p) + q * np.log(q))


def test_sums_are_those_over_every_voxel():
    grids = both_grids()
    given = inputs(grids)
    watch = Watch(3, "labels")
    label = grids[0].crop(Ensemble(members=members()).labels(given, watch=watch))
    each = [softmax(on_native(m, i)) for m, i in zip(members(), given, strict=True)]
    mean = sum(each) / 2
    sums = watch.finish(grids[0]).sums
    for row, index in zip(sums, (1, 2), strict=True):
        p, mask = mean[index], label == index
        apart = sum(np.abs(e[index] - p) for e in each) / 2
        expected = [mask.sum(), p.sum(), p[mask].sum(), entropy(p).sum(), apart.sum()]
        np.testing.assert_allclose(row, expected, rtol=1e-3)


def test_sums_of_regions_are_those_over_every_voxel():
    grids = both_grids()
    given = inputs(grids)
    watch = Watch(3, "regions")
    tested = members("regions")[:1]
    Ensemble(members=tested).labels(given[:1], watch=watch)
    p = 1 / (1 + np.exp(-on_native(tested[0], given[0])))
    expected = [[(q > 0.5).sum(), q.sum(), q[q > 0.5].sum(), entropy(q).sum(), 0] for q in p]
    np.testing.assert_allclose(watch.finish(grids[0]).sums, expected, rtol=2e-3, atol=0.5)


@pytest.mark.parametrize("options", [{}, {"transpose": (1, 2, 0), "margin": 3}], ids=["plain", "transposed, cropped"])
def test_sampled_voxels_carry_their_probabilities_and_stand_for_all(options):
    grids = both_grids(**options)
    given = inputs(grids)
    watch, (sink, probabilities) = Watch(3, "labels", sampling=True), collect((3, *SHAPE))
    Ensemble(members=members()).labels(given, sink, watch=watch)
    found = watch.finish(grids[0])
    native = np.full((3, *grids[0].native_shape), np.nan, np.float32)
    for whole, part in zip(native, probabilities, strict=True):
        grids[0].crop(whole)[...] = part
    near = (probabilities[0] < SURE) | (probabilities.argmax(axis=0) > 0)
    assert found.near.drawn_from + found.far.drawn_from == near.size
    assert abs(found.near.drawn_from - int(near.sum())) <= 5  # float32's rounding at the threshold
    assert len(found.near.indexes) == min(SAMPLED_VOXELS, found.near.drawn_from)
    assert len(np.unique(found.near.indexes)) == len(found.near.indexes)
    np.testing.assert_allclose(found.near.probabilities, native.reshape(3, -1)[:, found.near.indexes].T, atol=2e-3)
    mean = probabilities[1][near].mean()
    error = probabilities[1][near].std() / np.sqrt(len(found.near.indexes))
    assert abs(found.near.probabilities[:, 1].mean() - mean) < 4 * error


def test_the_sample_does_not_depend_on_bands_or_tiles():
    given = inputs(both_grids())
    free = Ensemble(members=members())
    taken = [footprint(each) for each in given]
    whole = free.estimate_bytes(taken, watch=Watch(3, "labels", sampling=True))
    steps = range(0, whole, whole // 64)
    least = next(step for step in steps if possible(replace(free, max_ram_bytes=step), taken))
    found = []
    for ensemble in (free, replace(free, max_ram_bytes=(least + whole) // 2)):
        watch = Watch(3, "labels", sampling=True)
        ensemble.labels(given, watch=watch)
        found.append(watch.finish(given[0].mapping))
    np.testing.assert_array_equal(found[0].near.indexes, found[1].near.indexes)
    np.testing.assert_allclose(found[0].sums, found[1].sums, rtol=1e-5)


def test_what_a_watch_holds_is_part_of_what_predicting_is_said_to_take():
    given = inputs(both_grids())
    ensemble = Ensemble(members=members())
    taken = [footprint(each) for each in given]
    watch = Watch(3, "labels", sampling=True)
    without, said = ensemble.estimate_bytes(taken), ensemble.estimate_bytes(taken, watch=watch)
    assert said - without == watch.held_bytes(2, tiles_of(SHAPE), torch.get_num_threads() * TILE_PLANES * TILE_EDGE**2)
    assert said - without > ensemble.estimate_bytes(taken, watch=Watch(3, "labels")) - without > 0
    views = torch.get_num_threads() * TILE_PLANES * TILE_EDGE**2
    ensemble.labels(given, watch=watch)
    kept = watch.finish(given[0].mapping)
    drawn = sum(part.indexes.nbytes + part.probabilities.nbytes for part in (kept.near, kept.far))
    assert said - without > drawn + 2 * 3 * 4 * views  # both members' probabilities of the tiles at work


def test_a_ceiling_without_room_for_the_watch_is_refused():
    given = inputs(both_grids())
    taken = [footprint(each) for each in given]
    free = Ensemble(members=members())
    held = replace(free, max_ram_bytes=least(free, taken, None))
    assert len(np.unique(held.labels(given))) > 1
    with pytest.raises(ResourceError, match=r"this image needs .* GiB"):
        held.labels(given, watch=Watch(3, "labels", sampling=True))


def tiles_of(shape):
    return (1 + -(-shape[1] // TILE_EDGE)) * (1 + -(-shape[2] // TILE_EDGE))


def least(ensemble, taken, watch):
    """The smallest ceiling that an ensemble keeps to."""

    def fits(ceiling):
        try:
            return replace(ensemble, max_ram_bytes=ceiling).estimate_bytes(taken, watch=watch) <= ceiling
        except ResourceError:
            return False

    return bisect.bisect_left(range(ensemble.estimate_bytes(taken, watch=watch) + 1), 1, key=fits)


def possible(ensemble, taken):
    try:
        watch = Watch(3, "labels", sampling=True)
        return ensemble.estimate_bytes(taken, watch=watch) <= ensemble.max_ram_bytes
    except ResourceError:
        return False
