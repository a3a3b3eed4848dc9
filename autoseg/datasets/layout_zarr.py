"""OME-Zarr images that hold their label images themselves, in the group `labels` (NGFF)."""

from autoseg.core.errors import AutosegError
from autoseg.datasets.arrangement import Arrangement, case_of, structure_labels
from autoseg.datasets.dataset import Inference
from autoseg.datasets.listing import Item, Listing
from autoseg.datasets.names import natural_key
from autoseg.datasets.options import Options
from autoseg.imaging.read import IMAGE_ENDINGS, ending_of
from autoseg.imaging.zarr_file import LABELS, label_groups


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return a case per OME-Zarr image with labels in it, or None if no image has any; the others are unlabelled.

    One label image for all cases is a label map; several are structures, which may share voxels.

    Raises:
        AutosegError: two images in different folders are of one name, or a group of labels is damaged.

    """
    if options.images or options.labels:
        return None
    images = listing.where(lambda item: IMAGE_ENDINGS.get(ending_of(listing.folder / item.path)) == "zarr")
    found = {item: label_groups(listing.folder / item.path) for item in images}
    labelled = [item for item in images if found[item]]
    if not labelled:
        return None
    kinds = sorted({name for names in found.values() for name in names}, key=natural_key)
    names = _names(listing, images)
    cases = tuple(
        case_of(
            names[item],
            (item.path,),
            tuple(item.path / LABELS / kind if kind in found[item] else None for kind in kinds),
        )
        for item in labelled
    )
    said = [Inference(what="layout", value=f"{len(cases)} OME-Zarr images", because="labels lie in their group labels")]
    if len(kinds) > 1:
        because = "the names of the label images"
        said.append(Inference(what="structures", value=", ".join(kinds), because=because))
    return Arrangement(
        layout="OME-Zarr",
        cases=cases,
        test_cases=tuple(case_of(names[item], (item.path,)) for item in images if not found[item]),
        labels=structure_labels(kinds) if len(kinds) > 1 else None,
        reference_kind="structures" if len(kinds) > 1 else "map",
        inferences=tuple(said),
    )


def _names(listing: Listing, images: tuple[Item, ...]) -> dict[Item, str]:
    """Return the stem of each image, with its folders where stems repeat."""
    stems = [item.stem for item in images]
    names = {i: i.stem if stems.count(i.stem) == 1 else "_".join((*i.folder.parts, i.stem)) for i in images}
    if len(set(names.values())) < len(images):
        raise AutosegError.at(listing.folder, "two OME-Zarr images are of one name", "list the cases with --cases")
    return names
