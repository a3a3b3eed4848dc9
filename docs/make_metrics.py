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
  silence. Cases where only one side holds a label are counted as `only_reference` and `only_prediction`.
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
  patients, a note under 50.

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
ASSD is our MASD. These numbers and more are tests in `tests/imaging/test_metric_oracles.py`;
`tests/imaging/test_metric_peers.py` compares with surface-distance and SimpleITK on random masks. Figures of
Metrics Reloaded for measures that are not among ours (boundary IoU, MCC, kappa, net benefit, expected cost) are
left out.
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
