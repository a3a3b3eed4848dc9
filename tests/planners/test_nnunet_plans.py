"""Plans that nnU-Net 2.8.1 made for sixty fingerprints, reproduced to the last number."""

from pathlib import Path

import pytest

from autoseg.core.records import read_record
from benchmarks.nnunet_figures import GoldenPlans, planned_figures

GOLDEN = Path(__file__).parents[1] / "golden" / "nnunet_plans"
VARIANTS = ("plain", "resenc", "resenc-m", "resenc-l", "resenc-xl")
FURTHER_VARIANTS = ("plain@4GB", "plain@16GB", "resenc-m@80GB", "plain@suppress_transpose")
WITH_FURTHER_VARIANTS = (
    "acdc_like",
    "knee_sagittal_0p7",
    "msd01_BrainTumour",
    "msd03_Liver",
    "msd05_Prostate",
    "msd07_Pancreas",
    "sagittal_spine_worst_axis_last",
)
CASES = (
    "acdc_like",
    "amos_like",
    "aniso_just_above_3",
    "aniso_p10_below_inplane",
    "aniso_p10_between",
    "aniso_spacing_not_voxels",
    "autopet_like",
    "borehole_1500x96x96_aniso",
    "btcv_like",
    "cells_2d_64_tiny",
    "cremi_em_like",
    "five_slices_cine",
    "flat_3d_9x20x20",
    "histology_2d_4096",
    "huge_ct_1024_inplane",
    "huge_ct_wholebody_1100",
    "hyperspectral_2d_16ch",
    "ignore_label_3class",
    "iso_mr_n1",
    "iso_mr_n30",
    "iso_mr_n3000",
    "iso_mr_n5",
    "kits_like",
    "knee_sagittal_0p7",
    "legacy_modality_key",
    "lightsheet_aniso_big",
    "lits_like_1mm_iso",
    "long_3d_2000x64x64",
    "manyclass_2d_151",
    "microct_1024cube",
    "mix_ct_mr_norms_rel074",
    "mix_norms_rel075_boundary",
    "mixed_1_and_20_slices_median1",
    "mnist_like_2d_28",
    "mr_4ch_nonzero_mask",
    "msd01_BrainTumour",
    "msd02_Heart",
    "msd03_Liver",
    "msd05_Prostate",
    "msd06_Lung",
    "msd07_Pancreas",
    "msd09_Spleen",
    "msd10_Colon",
    "oct_2d_aniso_pixels",
    "overwrite_spacing_fine",
    "overwrite_spacing_iso2",
    "ribfrac_like_huge",
    "sagittal_spine_worst_axis_last",
    "single_slice_stack_3dspacing",
    "small_iso_64_n10",
    "three_slices",
    "tiny_2d_14_2stages",
    "tiny_3d_12cube_2stages",
    "tiny_3d_30x40x50_n6",
    "toothfairy2_like",
    "totalseg_3mm_118",
    "twelve_slices_4ch",
    "two_slices",
    "us_3d_cone",
    "xray_2d_mm",
)


@pytest.mark.parametrize("name", CASES)
def test_every_figure_is_the_one_nnunet_chose(name: str) -> None:
    golden = read_record(GOLDEN / f"{name}.json", GoldenPlans)
    for theirs in golden.plans:
        assert planned_figures(golden, theirs.variant) == theirs


@pytest.mark.parametrize("name", CASES)
def test_every_variant_is_there(name: str) -> None:
    golden = read_record(GOLDEN / f"{name}.json", GoldenPlans)
    expected = VARIANTS + FURTHER_VARIANTS if name in WITH_FURTHER_VARIANTS else VARIANTS
    assert [plan.variant for plan in golden.plans] == list(expected)


def test_no_golden_file_is_missing_and_none_is_orphaned() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == [f"{name}.json" for name in CASES]
