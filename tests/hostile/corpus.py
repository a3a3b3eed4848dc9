"""The corpus: files made by hand to run something, to reach outside of their folder, to hang a reader or fill memory.

Each attack is a function of an empty folder: it makes its files there and opens them through the door that a user's
command would. It must end in an AutosegError, or, where that is said (`HARMLESS`), with a value that does no harm.
"""

from tests.hostile.attacks_on_files import IMAGES, LISTS, RECORDS
from tests.hostile.attacks_on_models import ARCHIVES, CHECKPOINTS, MODELS, NNUNET, PICKLES, Attack

HARMLESS = frozenset({
    "list: a link to a file of the same dataset",
    "json: a number of 400 digits as text of a name",
    "image: a folder that links to itself",
    "image: PNG of more bytes than pixels",
    "nnU-Net: imports that it asks for",
    "nnU-Net: stages without end",
})  # fmt: skip
"""Attacks that may give a value: nothing outside is reached, nothing runs, nothing hangs."""


def corpus() -> dict[str, Attack]:
    """Return every attack by `kind: name`."""
    kinds = {
        "pickle": PICKLES,
        "checkpoint": CHECKPOINTS,
        "archive": ARCHIVES,
        "model": MODELS,
        "nnU-Net": NNUNET,
        "list": LISTS,
        "image": IMAGES,
        "json": RECORDS,
    }
    return {f"{kind}: {name}": attack for kind, table in kinds.items() for name, attack in table.items()}
