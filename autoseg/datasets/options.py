"""What a user may say about a folder when it does not speak for itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to read a dataset folder. Paths and patterns are relative to it, with `/`.

    Attributes:
        images: folder or glob pattern of the images, e.g. `scans` or `*/T1.nii.gz`.
        labels: folder or glob pattern of the label maps.
        cases: a CSV (columns image, label, optionally case and group) or JSON list of the cases.
        merge_instances: label values are single objects (nuclei, lesions): take all of them as one label.
        clean_labels: move stray label values (antialiasing, JPEG) to the nearest regular one.

    """

    images: str | None = None
    labels: str | None = None
    cases: str | None = None
    merge_instances: bool = False
    clean_labels: bool = False
