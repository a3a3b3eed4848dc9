"""Class numbers with a special meaning in stored label arrays (int16, class indexes from 0)."""

OUTSIDE = -1
"""Outside the nonzero mask of the image: background, and masked z-score leaves it unnormalised."""

IGNORE = -2
"""Not annotated: takes no part in loss or metrics."""
