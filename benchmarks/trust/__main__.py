"""Does a model know when it is wrong, and which labels are? On all 200 hippocampus cases, each judged out of fold.

python -m benchmarks.trust --datasets FOLDER --work FOLDER [--steps 150]

Ten labels are put wrong before training (benchmarks.trust.disturb), five small networks are trained on five folds of
that, and everything is judged on predictions of cases that the network had not seen:
- the 90 % interval of the foreseen Dice, by ten further parts of the 200 cases: foreseen from the other nine parts, by
  the published labels and by those with the ten wrong ones, and compared with the Dice against the published labels;
- the flag, on images spoilt until they cost more than 0.1 Dice;
- the ten wrong labels among the most suspect cases, and, for more than ten, others put wrong after the training: a
  case's own label has no part in its out-of-fold prediction.
Everything that is there already in the work folder is kept, so that a stopped run goes on.
"""

import argparse
import sys
from pathlib import Path

from autoseg.core.records import write_record
from benchmarks.record import RESULTS
from benchmarks.trust.evidence import TrustRecord, gather
from benchmarks.trust.networks import prepare, train

OUTPUT = RESULTS / "evaluation" / "trust.json"
SUBFOLDER = "msd-hippocampus"


def main() -> int:
    """Train what is not trained, measure, write the record and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True, help="folder with msd-hippocampus")
    parser.add_argument("--work", type=Path, required=True, help="what is made is kept here")
    parser.add_argument("--steps", type=int, default=150, help="training steps of each of the five networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=1, help="networks trained beside each other")
    parser.add_argument("--every", type=int, default=8, help="every how many cases one is spoilt")
    options = parser.parse_args()
    source = (options.datasets / SUBFOLDER).resolve()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    workspace = prepare(source, work, options.seed)
    train(workspace, options.steps, options.at_once)
    record = gather(workspace, source, work, options.every)
    write_record(OUTPUT, record)
    sys.stdout.write(text(record))
    return 0


def text(record: TrustRecord) -> str:
    """Return the record as lines for people."""
    lines = [
        f"networks of {record.steps} steps: mean Dice {record.mean_dice:.4f} over {record.n_cases} unseen cases",
        f"temperature {record.temperature:.3f}",
        f"calibration error {record.error_before:.4f} before, {record.error_after:.4f} after",
    ]
    for what, intervals in (("", record.intervals), (", fitted with ten wrong labels", record.intervals_as_labelled)):
        lines += [
            f"{each.label}: 90 % interval covers {each.covered}/{each.n} ({100 * each.covered / each.n:.1f} %){what},"
            f" median width {each.median_width:.3f}, mean error {each.mean_error:.4f}, rank correlation"
            f" {each.rank_correlation:.2f}"
            for each in intervals
        ]
    lines += [f"flag: {record.false_alarms}/{record.n_cases} clean cases"]
    lines += [f"  {each.kind}: {each.flagged}/{each.n}, mean Dice {each.mean_dice:.3f}" for each in record.spoilt]
    lines += [f"wrong labels in training: ranks {', '.join(str(each.rank) for each in record.disturbed)}"]
    later = f"{100 * record.later_found:.1f} % in the top {record.top}, nine or more in {100 * record.later_nine:.0f} %"
    lines += [f"ten wrong labels after training, {record.later_draws} draws: {later} of draws"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
