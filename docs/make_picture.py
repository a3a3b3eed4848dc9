"""Draw the README's picture from a finished demo: python -m docs.make_picture [autoseg-demo].

Unseen cases side by side: the image in a soft-tissue window, the reference, and what the model made of the image.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from autoseg.core.files import write_atomically
from autoseg.imaging.phantom import ORGANS, SPACING_MM
from autoseg.imaging.read import read_image, read_label

PICTURE = Path(__file__).parent / "images" / "demo.png"
CASES = 3
WINDOW_HU = (-160, 240)
COLORS = ("#d1495b", "#edae49", "#66a182", "#2e86ab")


def draw(folder: Path) -> Figure:
    """Return one row per case: image, reference, prediction, in the slice with the largest lesion."""
    mpl.use("agg")
    figure = Figure(figsize=(9, 3.05 * CASES), layout="constrained")
    axes = figure.subplots(CASES, 3, squeeze=False)
    for row, path in zip(axes, sorted((folder / "segmentations").glob("*.nii.gz"))[:CASES], strict=True):
        image = read_image(folder / "unseen" / "images" / path.name).array[0]
        reference = read_label(folder / "unseen" / "labels" / path.name).array[0]
        prediction = read_label(path).array[0]
        z = int((reference == len(ORGANS)).sum(axis=(1, 2)).argmax())
        for axis, overlay in zip(row, (None, reference[z], prediction[z]), strict=True):
            axis.imshow(
                image[z], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], aspect=SPACING_MM[1] / SPACING_MM[2]
            )
            if overlay is not None:
                shown = np.ma.masked_equal(overlay, 0)
                axis.imshow(
                    shown, cmap=ListedColormap(COLORS), vmin=1, vmax=len(ORGANS), alpha=0.6, interpolation="none"
                )
            axis.set_axis_off()
    for axis, title in zip(axes[0], ("synthetic CT, never seen", "reference", "autoseg demo"), strict=True):
        axis.set_title(title)
    handles = [Patch(color=color, label=organ) for color, organ in zip(COLORS, ORGANS, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(ORGANS), frameon=False)
    return figure


if __name__ == "__main__":
    drawn = draw(Path(sys.argv[1] if len(sys.argv) > 1 else "autoseg-demo"))
    write_atomically(PICTURE, lambda path: drawn.savefig(path, dpi=80, metadata={"Software": None}))
