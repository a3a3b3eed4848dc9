"""Write docs/metrics.md anew: the definitions in the code are the definitions, this page only shows them.

python -m docs.make_metrics
"""

from pathlib import Path

from autoseg.core.definitions import DEFINITIONS, Definition
from autoseg.core.files import write_text
from autoseg.core.presets import PRESETS, Preset

PAGE = Path(__file__).parent / "metrics.md"

_HEAD = """# Metrics

What `autoseg evaluate` measures, and exactly what it means. Made by `python -m docs.make_metrics` from
`autoseg/core/definitions.py` and `autoseg/core/presets.py`; the same sentences stand in every scores.json and are
printed by `autoseg evaluate --explain`.

    autoseg evaluate PREDICTIONS REFERENCES --metrics dice,hd95,nsd --tolerance-mm 1
    autoseg evaluate PREDICTIONS REFERENCES --metrics lesions
    autoseg evaluate PREDICTIONS REFERENCES --preset kits23

Without `--metrics`: Dice, HD95 and ASSD, and NSD when a tolerance is given. Groups: `overlap`, `distances`,
`lesions`, `all` (all but the lesion-wise scores, which need a challenge's rules).

## Rules for all

- tp, fp and fn are voxels (or lesions) in both, only in the prediction, only in the reference. Each label of each
  case is scored first; means are over cases, intervals resample patients.
- What is undefined is null, counted in the column `undefined` and left out of the mean; it is never dropped in
  silence. Cases where only one side holds a label are counted as `only_reference` and `only_prediction`; the table
  has them as `missed` and `made up` where there are any.
  `--empty-is-one` gives 1 to Dice, IoU, NSD and lesion-wise Dice of what neither side holds, as some challenges do.
- A distance to nothing is infinite. It stands as inf in scores.csv; means take the diagonal of the image, in mm,
  and a note counts how often.
- A reference without a prediction is scored as an empty prediction, unless `--partial`. A prediction without a
  reference is an error, and so is one on another grid (a corner more than a tenth of a voxel away). Spacing is the
  reference's.
- Boundaries are made of voxels whose centres carry the distance, except for NSD, whose surface elements are the
  marching-cubes triangles of each 2 x 2 x 2 neighbourhood with their area (segments with their length in a single
  slice). The two forms differ most on thick slices; `nsd_voxel` is the other form.
- Voxels that the reference gives to a label of role ignore take no part.
- Intervals: bootstrap over patients, 2000 resamples, BCa for means and percentile for medians; none under 10
  patients, a note under 50, for the whole table and for each label that fewer patients have.
- Who is a patient: what `--groups` says (a CSV with the columns case and group), else what the dataset or the names
  of the files tell (`sub-03_ses-1` is of `sub-03`). A note says what was concluded, and where nothing is known that
  every file counts as a patient.
- Only when configurations and postprocessing are chosen, what a candidate rightly leaves empty counts as 1 where
  another candidate makes it up; no score that is shown for a model does.
- Differences (`autoseg compare`): Wilcoxon's signed-rank test of the patients' mean differences; under 20 patients the
  exact test of the mean over all flips of the patients' signs, which needs six patients to fall below 0.05. p-values
  are two-sided and corrected by Holm.

## Definitions
"""

_PRESETS = """
## Presets

A preset is a challenge's labels, metrics, tolerances and rule for what is empty; what is given on the command line
replaces it.

| preset | labels | metrics | tolerance of NSD (mm) | both empty | rules by | lesions |
|---|---|---|---|---|---|---|
"""

_TAIL = """
The Decathlon has one tolerance for each of its tasks, between 1 and 7 mm, and its program is not public. Only
tolerances that a second source repeats are presets of their own; for the other tasks take `--preset msd
--tolerance-mm`.

BraTS: two things its program does are taken for mistakes and done otherwise. A component that touches several
lesions counts for the one it shares most voxels of the dilation with, not for each; and the least volume holds for
false lesions, too.

## Where programs disagree

Two concentric balls of 20 and 22 mm on a grid of 5 x 0.7 x 0.7 mm: NSD at 1 mm is 0.509 for surface-distance and
for our `nsd`, 0.552 for MONAI, MetricsReloaded and our `nsd_voxel`. A slab over a corner of a 4 x 4 table: HD95 is
2.473 for panoptica (our `hd95_pooled`; medpy pools, too), 2.591 for our `hd95`, the larger direction. panoptica's
ASSD is our MASD. Of a lesion that two candidates reach, PI-CAI counts the second neither as found nor as false; ours
counts it as false. picai_eval's permutation test deals values out between two groups, one-sided; ours flips the signs
of pairs, two-sided. Of two empty masks surface-distance says that they are infinitely far apart, and ours nothing.

## Numbers that hold them

What other programs publish in their tests and papers, and the tests (under `tests/`) in which ours give the same.
In `imaging/test_metric_oracles.py` and, of the first three, also in `imaging/test_metrics.py`:

- surface-distance: voxels and pixels two apart, half-spaces (HD, HD95, NSD, mean distances, overlaps, Dice, lengths).
- Metrics Reloaded: squares (TP, FP, FN, TN, HD, MASD, ASSD, NSD), far pixel (HD, HD95), cross (Dice, IoU, ASSD, MASD,
  NSD), F1, PPV, NPV and sensitivity of rows of voxels.
- MONAI: balls (HD one way and both ways, percentiles, ASSD), surface Dice in closed form.
- panoptica: 4 x 4 tables (Dice, RVD, ASSD, HD, HD95, clDice).
- picai_eval: ten cases (IoU of every pair, TP, FP, FN), rebuilt from the overlaps that it names.
- MIST and BraTS: lesion F1, lesion-wise Dice, empty cases.

Elsewhere:

- `imaging/test_lesions.py`: panoptica's rectangle (SQ, PQ, Dice), Metrics Reloaded's panoptic quality and clDice of its
  hook and vessels, MIST's penalties.
- `imaging/test_metrics.py`: cubes by brute force, concentric balls at 2, 1 and 0.5 mm.
- `imaging/test_metric_laws.py`: what swaps, margins, spacing and unions change and what not.
- `core/test_statistics.py`: p-values of picai_eval's permutation test.

`imaging/test_metric_peers.py` compares with surface-distance and SimpleITK on random masks.

## Left out

Their published figures are no tests, as nothing here computes them:

- Accuracy, specificity, negative predictive value and the count of true negatives: they say how much background the
  image holds, and a wider margin improves them. The tests get NPV and true negatives as precision and hits of the
  background.
- Matthews' correlation, Cohen's kappa, balanced accuracy, Youden's index, likelihood ratios: true negatives again;
  measures of a classification.
- Net benefit and expected cost: they need a price for either error, which only the use can set.
- Boundary IoU: with NSD (a tolerance in mm) and HD95 it would be a third opinion on boundaries, in voxels.
- Distance of centres (panoptica): volume difference and ASSD say more of a segmentation; a detection is judged by
  pairs.
- Average precision and AUROC (PI-CAI): they rank lesions and cases by confidence, and a label map has none.
"""


def page() -> str:
    """Return the page."""
    return "".join([
        _HEAD,
        *(_definition(definition) for definition in DEFINITIONS.values()),
        _PRESETS,
        *(_preset(name, preset) for name, preset in PRESETS.items()),
        _TAIL,
    ])  # fmt: skip


def _definition(definition: Definition) -> str:
    return (
        f"\n**{definition.title}** (`{definition.metric}`; {definition.better} is better): {definition.text}."
        f" Both empty: {definition.both_empty}. One empty: {definition.one_empty}. Source: {definition.source}.\n"
    )


def _preset(name: str, preset: Preset) -> str:
    rules, lesions = preset.rules, preset.rules.lesion_wise
    labels = ", ".join(label.name for label in preset.labels) or "those found"
    tolerances = ", ".join(f"{mm:g}" for mm in rules.tolerances_mm) or ("given" if "nsd" in rules.metrics else "-")
    empty = "undefined" if rules.both_empty is None else f"{rules.both_empty:g}"
    how = "-"
    if lesions:
        how = f"dilated {lesions.dilations} x, over {lesions.minimum_mm3:g} mm3, penalty {lesions.penalty_mm:g} mm"
    cells = (f"`{name}`", labels, ", ".join(rules.metrics), tolerances, empty, preset.source, how)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    write_text(PAGE, page())
