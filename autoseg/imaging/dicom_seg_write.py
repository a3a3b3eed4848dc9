"""A label map out as DICOM SEG of the series that it was made from, read back before it gets its final name.

One segment per structure that occurs, one bit a pixel, every slice written: viewers show segmentations without their
empty frames in the wrong place.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.files import write_atomically
from autoseg.core.runtime import digest_bytes
from autoseg.core.version import VERSION
from autoseg.imaging.dicom import read_dicom_header
from autoseg.imaging.dicom_codes import LONGEST_TEXT, codes_of
from autoseg.imaging.dicom_places import Places
from autoseg.imaging.dicom_scan import damage_named
from autoseg.imaging.dicom_seg import read_segments
from autoseg.imaging.dicom_sources import source_headers
from autoseg.imaging.nifti_write import DISCLAIMER
from autoseg.imaging.volume import Grid
from planners.fingerprint import Label

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.dataset import Dataset

MAKER = "autoseg"
SERIES_NUMBER_OFFSET = 9000
"""Above the numbers that scanners give."""


def write_segmentation(
    path: Path, label_map: NDArray[Any], series: Path, labels: Sequence[Label], grid: Grid | None = None
) -> None:
    """Write a label map (z, y, x) on the grid of a DICOM series as a SEG that refers to it, atomically and verified.

    Foreground labels that occur become segments 1, 2, ... in their order (all of them if none occurs); a label is
    wherever the map has one of its values. `grid` is that of the map where the series was resampled; its frames
    then lie between the images of the series, in the same frame of reference.

    Raises:
        AutosegError: the series does not say what a SEG must repeat, such as its frame of reference.
        ResourceError: the disk is full, or what was read back is not what was written.

    """
    grid = grid or read_dicom_header(series).grid
    if label_map.shape != grid.shape:
        msg = f"a label map of shape {grid.shape} is wanted, not {label_map.shape}"
        raise ValueError(msg)
    shown = shown_labels(label_map, labels)
    with damage_named(series, "cannot carry a segmentation"):
        sources = source_headers(series, "--format dicom-seg")
        segmentation = _segmentation(label_map, grid, sources, shown)

    def writer(temporary: Path) -> None:
        segmentation.save_as(temporary)
        for number, label in enumerate(shown, start=1):
            back = read_segments(temporary, frozenset({number}), Places(grid=grid, shape=grid.shape))
            if not np.array_equal(back != 0, np.isin(label_map, label.values)):
                msg = f"what was read back of {label.name} differs from what was written"
                raise OSError(msg)

    write_atomically(path, writer, expected_bytes=len(shown) * label_map.size // 8)


def shown_labels(label_map: NDArray[Any], labels: Sequence[Label]) -> list[Label]:
    """Return the labels that are segments 1, 2, ... of a label map: those that occur, all of them if none does."""
    foreground = [label for label in labels if label.role == "foreground"]
    present = set(np.unique(label_map).tolist())
    return [label for label in foreground if present & set(label.values)] or foreground


def _segmentation(
    label_map: NDArray[Any], grid: Grid, sources: Sequence["Dataset"], labels: Sequence[Label]
) -> "Segmentation":
    import highdicom as hd
    from pydicom.uid import generate_uid

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(grid.affine, np.float64)  # RAS to LPS
    first = sources[0]
    array = _numbered(label_map, labels)
    volume = hd.Volume(
        array=array,
        affine=affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=str(first.FrameOfReferenceUID),
        channels={"SegmentNumber": list(range(1, len(labels) + 1))} if array.ndim == 4 else None,
    )
    entropy = [str(first.SeriesInstanceUID), digest_bytes(np.ascontiguousarray(array).tobytes()), VERSION]
    return hd.seg.Segmentation(
        source_images=list(sources),
        pixel_array=volume,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(number, label) for number, label in enumerate(labels, start=1)],
        series_instance_uid=generate_uid(entropy_srcs=["series", *entropy]),
        series_number=SERIES_NUMBER_OFFSET + int(first.get("SeriesNumber") or 0),
        sop_instance_uid=generate_uid(entropy_srcs=["instance", *entropy]),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=VERSION,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description=DISCLAIMER,
        series_description=f"{MAKER}: {DISCLAIMER}",
        omit_empty_frames=False,
    )


def _numbered(label_map: NDArray[Any], labels: Sequence[Label]) -> NDArray[Any]:
    """Return segment numbers (z, y, x), or masks (z, y, x, segment) where regions share voxels."""
    values = [value for label in labels for value in label.values]
    if len(set(values)) < len(values):
        return np.stack([np.isin(label_map, label.values) for label in labels], axis=-1).astype(np.uint8)
    table = np.zeros(max([*values, int(label_map.max())]) + 1, np.uint8 if len(labels) < 256 else np.uint16)
    for number, label in enumerate(labels, start=1):
        table[list(label.values)] = number
    numbered: NDArray[Any] = table[label_map]
    return numbered


def _description(number: int, label: Label) -> "SegmentDescription":
    import highdicom as hd
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    coded = codes_of(label)
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name[:LONGEST_TEXT],
        segmented_property_category=coded.category,
        segmented_property_type=coded.kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=MAKER, family=codes.cid7162.ArtificialIntelligence, version=VERSION
        ),
    )
    if coded.side is not None:
        side = Dataset()
        side.CodeValue, side.CodingSchemeDesignator, side.CodeMeaning = (
            coded.side.value,
            coded.side.scheme_designator,
            coded.side.meaning,
        )
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return description
