"""The split is the one that was agreed, and the published numbers come out."""

import numpy as np
import pytest

from autoseg.core.statistics import paired_difference
from benchmarks.hippocampus.published import VARIANTS, published
from benchmarks.hippocampus.split import ENDING, arrange, case_names, make_split


def test_plain_nnunet_has_its_published_mean_on_the_judged_cases() -> None:
    table = published("plain")
    assert len(table) == 200
    assert np.mean([table[case] for case in make_split(list(table)).judged]) == pytest.approx(0.8997, abs=5e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_is_close_to_its_published_mean(variant: str) -> None:
    assert np.mean(list(published(variant).values())) == pytest.approx(0.89, abs=0.01)


def test_residual_encoders_do_not_differ_much_from_plain_on_the_same_cases() -> None:
    plain, residual = (list(published(variant).values()) for variant in ("plain", "resenc_m"))
    result = paired_difference(residual, plain)
    assert result.mean_interval is not None
    assert result.mean_interval.upper - result.mean_interval.lower < 0.005


def test_split_does_not_depend_on_order_or_on_other_cases_being_trained_on() -> None:
    names = list(published("plain"))
    assert make_split(names) == make_split(names[::-1])
    assert not set(make_split(names).train) & set(make_split(names).judged)
    assert len(make_split(names).judged) == 50


def test_judged_cases_lie_outside_the_training_dataset(tmp_path) -> None:
    names = [f"case_{i}" for i in range(53)]
    for kind in ("images", "labels"):
        (tmp_path / "source" / kind).mkdir(parents=True)
        for name in names:
            (tmp_path / "source" / kind / f"{name}{ENDING}").write_bytes(f"{kind}{name}".encode())
    split = make_split(case_names(tmp_path / "source"))
    data = arrange(tmp_path / "source", split, tmp_path / "data")
    trained = sorted(path.name.removesuffix(ENDING) for path in data.training.rglob(f"*{ENDING}"))
    assert trained == sorted(2 * split.train)
    assert len(list(data.judged_images.iterdir())) == len(list(data.judged_references.iterdir())) == 50
    assert (data.judged_references / f"{split.judged[0]}{ENDING}").read_text() == f"labels{split.judged[0]}"
