"""The dataset.json of nnU-Net and of the Medical Segmentation Decathlon, read strictly enough to trust it."""

from dataclasses import replace
from pathlib import PurePosixPath

import msgspec

from autoseg.core.errors import AutosegError
from autoseg.datasets.arrangement import Arrangement
from autoseg.datasets.dataset import Inference
from autoseg.datasets.listing import Listing
from planners.fingerprint import Label, LabelRole

DESCRIPTION = "dataset.json"
_BACKGROUND = "background"
_IGNORE = "ignore"


class Description(msgspec.Struct, frozen=True):
    """The keys of a dataset.json that say something about files, channels and labels; all others are left alone."""

    labels: dict[str, int | str | list[int]]
    channel_names: dict[str, str] | None = None
    modality: dict[str, str] | None = None
    file_ending: str | None = None
    regions_class_order: list[int] | None = None
    training: list[dict[str, str] | str] | None = None
    test: list[dict[str, str] | str] | None = None
    dataset: dict[str, dict[str, str | list[str]]] | None = None


def find_description(listing: Listing) -> PurePosixPath | None:
    """Return the path of the dataset.json at the top of the folder, or in its only subfolder, or None."""
    found = [path for path in listing.documents if path.name == DESCRIPTION and len(path.parts) <= 2]
    top = [path for path in found if len(path.parts) == 1]
    return (top or found)[0] if len(top or found) == 1 else None


def read_description(listing: Listing, path: PurePosixPath) -> Description | None:
    """Return what a dataset.json says, or None when it is of another kind (no `labels` key).

    Raises:
        AutosegError: it is not JSON, or a key has a value that makes no sense; the message names the key.

    """
    file = listing.folder / path
    data = file.read_bytes()
    try:
        document = msgspec.json.decode(data)
        if not isinstance(document, dict) or "labels" not in document:
            return None
        return msgspec.convert(document, Description)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise AutosegError.at(file, str(error), "mend this key or remove the file") from error


def channel_names(description: Description) -> tuple[str, ...] | None:
    """Return the channels in the order of their numbers, None if none is named."""
    named = description.channel_names or description.modality
    if not named:
        return None
    return tuple(name for _, name in sorted(named.items(), key=lambda pair: (len(pair[0]), pair[0])))


def declared_labels(description: Description, file: object) -> tuple[Label, ...]:
    """Return the labels of a dataset.json without its background.

    Both spellings are read: `"liver": 1` (nnU-Net; a list makes a region) and `"1": "liver"` (Decathlon). The value
    that `regions_class_order` writes for a region comes first in its values.

    Raises:
        AutosegError: a label has no usable value.

    """
    labels = []
    for key, value in description.labels.items():
        name, values = (value, _number(key, file)) if isinstance(value, str) else (key, value)
        if name.lower() == _BACKGROUND or values in (0, [0]):
            continue
        many = tuple(values) if isinstance(values, list) else (values,)
        role: LabelRole = "ignore" if name.lower() == _IGNORE else "foreground"
        try:
            labels.append(Label(name=name, values=many, role=role))
        except ValueError as error:
            raise AutosegError.at(str(file), str(error), "mend this label in dataset.json") from error
    return _in_class_order(tuple(labels), description.regions_class_order, file)


def _number(text: str, file: object) -> int:
    try:
        return int(text)
    except ValueError:
        raise AutosegError.at(str(file), f"label {text!r} has no number", 'write "liver": 1 or "1": "liver"') from None


def _in_class_order(labels: tuple[Label, ...], order: list[int] | None, file: object) -> tuple[Label, ...]:
    if not order or all(len(label.values) == 1 for label in labels):
        return labels
    foreground = [label for label in labels if label.role == "foreground"]
    if len(order) != len(foreground):
        what = f"regions_class_order has {len(order)} values for {len(foreground)} labels"
        raise AutosegError.at(str(file), what, "give one value per label, without background and ignore")
    written = dict(zip((label.name for label in foreground), order, strict=True))
    return tuple(_writes(label, written[label.name]) if label.role == "foreground" else label for label in labels)


def _writes(label: Label, value: int) -> Label:
    if value not in label.values:
        return label
    return Label(name=label.name, values=(value, *(v for v in label.values if v != value)), role=label.role)


def described(listing: Listing, arrangement: Arrangement) -> Arrangement:
    """Return the arrangement with the names of labels and channels that a dataset.json beside the data gives.

    A layout that has read its dataset.json itself, or that found structures in files of their own, stays as it is.

    Raises:
        AutosegError: the dataset.json cannot be read.

    """
    path = find_description(listing)
    if path is None or arrangement.labels is not None or arrangement.reference_kind != "map":
        return arrangement
    description = read_description(listing, path)
    if description is None:
        return arrangement
    labels = declared_labels(description, listing.folder / path)
    named = channel_names(description)
    said = Inference(what="labels", value=", ".join(label.name for label in labels), because=f"named in {path}")
    return replace(
        arrangement,
        labels=labels,
        channels=named or arrangement.channels,
        inferences=(*arrangement.inferences, said),
    )
