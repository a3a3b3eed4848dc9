"""The page of an inspection: self-contained, everything escaped, cases with findings first."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from autoseg.core.records import read_record
from autoseg.core.workspace import open_workspace
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.options import Options
from autoseg.datasets.preview import preview_png
from autoseg.imaging.volume import Grid
from autoseg.reporting.inspection import inspection_page
from autoseg.steps.inspect import inspect

GRID = Grid(shape=(4, 6, 8), affine=((0, 0, 1, 0), (0, 1, 0, 0), (3, 0, 0, 0), (0, 0, 0, 1)))


def test_a_preview_is_the_slice_across_the_widest_spacing_with_most_label_and_its_outline():
    image = np.zeros((1, 4, 6, 8), np.float32)
    image[0, 2] = np.arange(48).reshape(6, 8)
    label = np.zeros((4, 6, 8), np.uint8)
    label[2, 1:5, 2:6] = 1
    label[3, 1, 1] = 1
    shown = np.asarray(Image.open(io.BytesIO(preview_png(image, label, GRID))).convert("RGB")).astype(int)
    coloured = shown.max(axis=2) != shown.min(axis=2)
    outline = label[2].astype(bool)
    outline[2:4, 3:5] = False
    np.testing.assert_array_equal(coloured, outline)
    assert shown[0, 0, 0] < shown[0, 7, 0] < shown[5, 7, 0]


def test_a_large_plane_is_thinned():
    grid = replace(GRID, shape=(1, 400, 330), dimensions=2)
    picture = Image.open(io.BytesIO(preview_png(np.zeros((1, *grid.shape), np.uint8), None, grid)))
    assert picture.size == (110, 134)


def test_the_page_holds_every_case_and_finding_once_and_fetches_nothing(scans, nifti):
    folder = scans(3)
    nifti(folder / "labels" / "case_01.nii.gz", np.zeros((6, 10, 12), np.uint8))
    workspace = open_workspace(folder.with_suffix(".autoseg"), folder, 0)
    inspection = inspect(folder, workspace, Options())
    page = workspace.inspection_page.read_text()
    assert page.count("<img ") == 3
    assert page.index('alt="case_01"') < page.index('alt="case_00"')  # it has a finding: empty label
    assert page.count("case_01: empty label") == 1
    assert page.count("<td>case_0") == 3
    assert 'src="http' not in page
    assert 'href="http' not in page
    odd = replace(inspection, findings=(replace(inspection.findings[0], what="<script>"),))
    written = inspection_page(odd, read_record(workspace.dataset, Dataset), {})
    assert "&lt;script&gt;" in written
    assert "<img " not in written


def test_pictures_of_unchanged_cases_are_kept(scans):
    folder = scans(2)
    workspace = open_workspace(folder.with_suffix(".autoseg"), folder, 0)
    inspect(folder, workspace, Options())
    first = workspace.inspection_page.read_bytes()
    inspect(folder, workspace, Options())
    assert workspace.inspection_page.read_bytes() == first
    workspace.previews.write_text("{}")
    inspect(folder, workspace, Options())  # a record of another version is no error
