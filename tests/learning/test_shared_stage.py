"""A cascade together with its first stage: the first stage predicts once, and nothing else changes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.core.errors import ResourceError
from autoseg.learning.inference import InferenceOptions, Segmenter, make_segmenter
from autoseg.learning.model_files import load_networks
from autoseg.learning.source import Tally
from tests.nnunet_results import Trained, made_plan, write_ours

LOWRES, CASCADE = Trained(name="3d_lowres", mirror_axes=None), Trained(name="3d_cascade_fullres", mirror_axes=None)
NAMES = ("3d_lowres", "3d_cascade_fullres")
SPACING_MM = (1.3, 0.9, 0.9)


@pytest.fixture
def segmenter(tmp_path: Path) -> Segmenter:
    """Both configurations, in float32."""
    folder = write_ours(tmp_path / "model", made_plan(), NAMES, LOWRES, CASCADE)
    model = load_networks(folder, torch.device("cpu"))
    return make_segmenter(model.plan, model.networks, InferenceOptions(dtype=torch.float32, configurations=NAMES))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((1, 14, 20, 17)).cumsum(axis=1).astype(np.float32)


def apart(segmenter: Segmenter) -> Segmenter:
    """The same with a first stage that is not known to be the same, so that it predicts twice."""
    lowres, cascade = segmenter.members
    assert cascade.previous is not None
    stage = cascade.previous.members[0]
    other = replace(stage, predictor=replace(stage.predictor, flat_tolerance=None))  # there is no flat window
    return replace(segmenter, members=(lowres, replace(cascade, previous=replace(cascade.previous, members=(other,)))))


def test_the_first_stage_of_a_cascade_beside_it_predicts_once_with_the_same_labels(segmenter, image):
    once, twice, alone = Tally(), Tally(), Tally()
    prepared = segmenter.prepare(image, SPACING_MM)
    labels = segmenter.segment(prepared, tally=once)
    separate = apart(segmenter)
    expected = separate.segment(separate.prepare(image, SPACING_MM), tally=twice)
    stage = replace(segmenter, members=segmenter.members[:1])
    stage.segment(stage.prepare(image, SPACING_MM), tally=alone)
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, expected)
    assert alone.windows > 1
    assert once.windows == twice.windows - alone.windows


def test_its_windows_and_its_image_are_said_once(segmenter, image):
    prepared = segmenter.prepare(image, SPACING_MM)
    assert prepared.previous[1] is not None
    assert prepared.previous[1].members[0] is prepared.members[0]
    counts = segmenter.window_passes(prepared)
    assert [predictor.configuration.name for predictor, _ in counts] == list(NAMES)
    separate = apart(segmenter)
    more = separate.prepare(image, SPACING_MM)
    assert [predictor.configuration.name for predictor, _ in separate.window_passes(more)] == [NAMES[0], *NAMES]
    stage = prepared.members[0]
    assert more.nbytes - prepared.nbytes == stage.image.nbytes + stage.mask.nbytes


def test_a_ceiling_is_kept_with_the_same_labels_and_the_least_predicts_twice_rather_than_fail(segmenter, image):
    prepared = segmenter.prepare(image, SPACING_MM)
    free = Tally()
    expected = segmenter.segment(prepared, tally=free)
    whole = segmenter.estimate_bytes(prepared)
    kept = [ceiling for ceiling in range(whole // 2, whole, whole // 40) if fits(segmenter, prepared, ceiling)]
    assert kept
    for ceiling in (kept[0], kept[-1]):
        held, tally = segmenter.limited(ceiling), Tally()
        assert held.estimate_bytes(prepared) <= ceiling
        found = held.segment(prepared, tally=tally)
        assert (found == expected).mean() > 0.999  # windows of two bands come in other batches
        assert tally.windows >= free.windows


def fits(segmenter: Segmenter, prepared, ceiling: int) -> bool:
    try:
        return segmenter.limited(ceiling).estimate_bytes(prepared) <= ceiling
    except ResourceError:
        return False
