import math

import numpy as np
import pytest

from autoseg.datasets.modality import ChannelRange, guess_modality
from autoseg.datasets.pooling import pool, take_sample, values_per_case


def statistics_of_equal_cases(cases):
    """Describe the pool in which every case has equally many voxels: what drawing with replacement tends to."""
    size = math.lcm(*map(len, cases))
    pool_of_all = np.concatenate([np.repeat(case, size // len(case)) for case in cases]).astype(np.float64)
    return (
        pool_of_all.mean(),
        pool_of_all.std(),
        pool_of_all.min(),
        pool_of_all.max(),
        np.median(pool_of_all),
        np.percentile(pool_of_all, 0.5),
        np.percentile(pool_of_all, 99.5),
    )


@pytest.mark.parametrize("sizes", [(5000, 300, 90_000), (701, 700), (100_000,)])
def test_statistics_agree_with_drawing_equally_many_voxels_from_each_case(sizes):
    rng = np.random.default_rng(0)
    cases = [rng.normal(50 * i, 10 + 20 * i, size).astype(np.float32) for i, size in enumerate(sizes)]
    pooled = pool([take_sample(case, values_per_case(len(cases))) for case in cases])
    found = (
        pooled.mean,
        pooled.std,
        pooled.minimum,
        pooled.maximum,
        pooled.median,
        pooled.percentile_00_5,
        pooled.percentile_99_5,
    )
    expected = statistics_of_equal_cases(cases)
    spread = expected[3] - expected[2]
    np.testing.assert_allclose(found, expected, atol=1e-3 * spread)
    assert (pooled.minimum, pooled.maximum) == (expected[2], expected[3])


def test_a_case_without_foreground_takes_no_part():
    assert take_sample(np.empty(0, np.float32), 10) is None
    assert pool([]) is None


def test_memory_is_bounded_whatever_the_number_of_cases():
    assert values_per_case(1) == 65536
    assert values_per_case(2048) * 2048 * 4 <= 64 << 20
    sample = take_sample(np.arange(10_000, dtype=np.int16), 100)
    assert len(sample.values) == 100
    assert (sample.minimum, sample.maximum, sample.mean) == (0, 9999, 4999.5)


HOUNSFIELD = ChannelRange(minimum=-1000, maximum=1478, air=0.3)
PLAIN = ChannelRange(minimum=0, maximum=1900, air=0.0)


@pytest.mark.parametrize(
    ("name", "values", "file", "modality", "reason"),
    [
        ("image", HOUNSFIELD, "a.nii.gz", "ct", "30% of them near -1000 (air): Hounsfield units"),
        ("image", PLAIN, "a.nii.gz", "mr", "3D without Hounsfield units"),
        ("image", PLAIN, "a.tif", "microscopy", "TIFF files"),
        ("image", PLAIN, "a.png", "other", "2D gray pictures"),
        ("CT", PLAIN, "a.nii.gz", "ct", "the channel is named CT"),
        ("FLAIR", PLAIN, "a.nii.gz", "mr", "the channel is named FLAIR"),
        ("T1w", PLAIN, "a.nii.gz", "mr", "the channel is named T1w"),
        ("PET", PLAIN, "a.nii.gz", "pet", "the channel is named PET"),
        ("red", PLAIN, "a.png", "rgb", "the channel is named red"),
    ],
)
def test_the_modality_is_guessed_with_its_reason(name, values, file, modality, reason):
    found, because = guess_modality(name, [values, values], file, 3 if file.endswith("nii.gz") else 2)
    assert found == modality
    assert reason in because
