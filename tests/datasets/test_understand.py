import nibabel as nib
import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.datasets.examine import Reading
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import read_case
from autoseg.datasets.understand import study, understand

PLAIN = Options()


def picture(levels, shape=(20, 24), seed=0):
    return np.random.default_rng(seed).choice(np.array(levels, np.uint8), shape)


@pytest.fixture
def pictures(tmp_path, png):
    """Two gray pictures whose labels hold the given levels."""

    def make(levels, dirt=()):
        for index in range(2):
            png(tmp_path / "image" / f"{index}.png", picture(range(256), seed=index))
            label = picture(levels, seed=index)
            for place, value in enumerate(dirt):
                label[0, place] = value
            png(tmp_path / "label" / f"{index}.png", label)
        return tmp_path

    return make


def test_a_plain_folder_is_understood_without_a_word(scans):
    dataset = understand(scans(3), PLAIN)
    assert (dataset.name, dataset.layout, dataset.channels) == ("data", "folders", ("image",))
    assert [(label.name, label.values) for label in dataset.labels] == [("label_1", (1,)), ("label_2", (2,))]
    assert dataset.value_map == ()
    assert not dataset.overlapping


def test_black_and_white_masks_become_0_and_1_and_it_is_said(pictures):
    dataset = understand(pictures((0, 255)), PLAIN)
    assert dataset.value_map == ((255, 1),)
    assert [(label.name, label.values) for label in dataset.labels] == [("label_1", (1,))]
    assert ("255 is 1", "the files hold gray levels of a picture") in [(i.value, i.because) for i in dataset.inferences]
    label = read_case(dataset, dataset.cases[0]).label
    assert label.shape == (1, 20, 24)
    assert set(np.unique(label)) == {0, 1}


@pytest.mark.parametrize("middle", [127, 128])
def test_three_gray_levels_become_0_1_and_2(pictures, middle):
    dataset = understand(pictures((0, middle, 255)), PLAIN)
    assert dataset.value_map == ((middle, 1), (255, 2))
    assert [label.values for label in dataset.labels] == [(1,), (2,)]


def test_values_with_gaps_are_kept_as_they_are(pictures):
    dataset = understand(pictures((0, 1, 7, 9)), PLAIN)
    assert dataset.value_map == ()
    assert [(label.name, label.values) for label in dataset.labels] == [
        ("label_1", (1,)),
        ("label_7", (7,)),
        ("label_9", (9,)),
    ]


def test_stray_values_are_counted_and_refused(pictures):
    with pytest.raises(AutosegError) as caught:
        understand(pictures((0, 255), dirt=(3, 3, 250)), PLAIN)
    assert str(caught.value) == (
        "label/0.png: stray label values, as smoothing or JPEG leave them: 3 (4 voxels), 250 (2 voxels);"
        " save the labels without smoothing, or give --clean-labels to move each to the nearest of 0, 255"
    )


def test_stray_values_are_moved_when_asked(pictures):
    dataset = understand(pictures((0, 255), dirt=(3, 3, 250)), Options(clean_labels=True))
    label = read_case(dataset, dataset.cases[0]).label
    assert label[0, 0, :3].tolist() == [0, 0, 1]


def test_numbers_of_single_objects_are_refused_with_the_option_that_merges_them(tmp_path, nifti):
    for index in range(2):
        image = np.zeros((6, 10, 12), np.float32)
        label = (np.arange(image.size).reshape(image.shape) % 150 + 1 + 300 * index).astype(np.int16)
        nifti(tmp_path / "img" / f"{index}.nii.gz", image)
        nifti(tmp_path / "mask" / f"{index}.nii.gz", label)
    with pytest.raises(AutosegError, match="300 different label values, too many for classes; give --merge-instances"):
        understand(tmp_path, PLAIN)
    dataset = understand(tmp_path, Options(merge_instances=True))
    assert [(label.name, label.values) for label in dataset.labels] == [("label_1", (1,))]
    label = read_case(dataset, dataset.cases[1]).label
    assert (label == 1).all()


def test_colour_pictures_have_three_channels(tmp_path, png):
    png(tmp_path / "images" / "a.png", np.zeros((5, 6, 3), np.uint8))
    png(tmp_path / "labels" / "a.png", picture((0, 1), (5, 6)))
    dataset = understand(tmp_path, PLAIN)
    assert dataset.channels == ("red", "green", "blue")
    assert read_case(dataset, dataset.cases[0]).image.array.shape == (3, 1, 5, 6)


def test_one_file_per_structure_is_one_map_unless_they_overlap(tmp_path, png):
    png(tmp_path / "images" / "a.png", np.arange(30, dtype=np.uint8).reshape(5, 6))
    masks = np.zeros((2, 5, 6), np.uint8)
    masks[0, :2], masks[1, 3:] = 255, 255
    for mask, name in zip(masks, ("heart", "lung"), strict=True):
        png(tmp_path / "masks" / name / "a.png", mask)
    dataset = understand(tmp_path, PLAIN)
    assert not dataset.overlapping
    assert read_case(dataset, dataset.cases[0]).label[0, :, 0].tolist() == [1, 1, 0, 2, 2]
    masks[1, 1] = 255
    png(tmp_path / "masks" / "lung" / "a.png", masks[1])
    dataset = understand(tmp_path, PLAIN)
    assert dataset.overlapping
    label = read_case(dataset, dataset.cases[0]).label
    assert label[:, 0, :, 0].tolist() == [[1, 1, 0, 0, 0], [0, 1, 0, 1, 1]]


def test_single_objects_are_merged_into_one_label(tmp_path, png):
    for case, rows in (("c1", (0, 2)), ("c2", (1, 3, 4))):
        png(tmp_path / case / "images" / f"{case}.png", np.arange(30, dtype=np.uint8).reshape(5, 6))
        for row in rows:
            mask = np.zeros((5, 6), np.uint8)
            mask[row] = 255
            png(tmp_path / case / "masks" / f"{case}{row}x.png", mask)
    dataset = understand(tmp_path, PLAIN)
    assert dataset.reference_kind == "instances"
    assert read_case(dataset, dataset.cases[1]).label[0, :, 0].tolist() == [0, 1, 0, 1, 1]


def test_a_label_on_the_same_grid_in_another_index_order_is_turned(scans):
    folder = scans(2)
    path = folder / "labels" / "case_00.nii.gz"
    expected = read_case(dataset := understand(folder, PLAIN), dataset.cases[0]).label
    image = nib.load(path)
    flipped = np.asarray(image.dataobj)[:, ::-1].transpose(2, 1, 0)
    affine = image.affine[:, [2, 1, 0, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (flipped.shape[1] - 1)
    affine[:3, 1] *= -1
    nib.save(nib.Nifti1Image(np.ascontiguousarray(flipped), affine), path)
    dataset = understand(folder, PLAIN)
    np.testing.assert_array_equal(read_case(dataset, dataset.cases[0]).label, expected)


def test_declared_labels_are_held_to(scans):
    folder = scans(2, "imagesTr", "labelsTr")
    for path in (folder / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace(".nii.gz", "_0000.nii.gz")))
    description = '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}'
    (folder / "dataset.json").write_text(description)
    with pytest.raises(AutosegError) as caught:
        understand(folder, PLAIN)
    assert str(caught.value) == (
        "labelsTr/case_00.nii.gz: label values that are not declared: 2 (4 voxels);"
        " declare them (declared are 0, 1) or correct the file"
    )


def test_cases_with_unlike_channels_are_named(tmp_path, nifti):
    for index, channels in enumerate((2, 2, 1)):
        nifti(tmp_path / "images" / f"{index}.nii.gz", np.random.default_rng(0).random((channels, 3, 4, 5), np.float32))
        nifti(tmp_path / "labels" / f"{index}.nii.gz", np.ones((3, 4, 5), np.uint8))
    with pytest.raises(AutosegError, match=r"images/2.nii.gz: 1 channels where 2 are expected"):
        understand(tmp_path, PLAIN)


@pytest.fixture
def ramp_and_coarse_ramp(tmp_path, nifti):
    """One case of two channels: x in mm at 1 mm, and the same at 2 mm; the label lies on the first."""
    x = np.broadcast_to(np.arange(12, dtype=np.float32), (6, 8, 12))
    nifti(tmp_path / "images" / "a_0000.nii.gz", x)
    nifti(tmp_path / "images" / "a_0001.nii.gz", x[::2, ::2, ::2].copy(), (2.0, 2.0, 2.0))
    nifti(tmp_path / "labels" / "a.nii.gz", (x > 5).astype(np.uint8))
    return tmp_path


def test_a_channel_on_another_grid_is_resampled_to_the_first_and_it_is_said(ramp_and_coarse_ramp):
    found = study(ramp_and_coarse_ramp, PLAIN, {})
    assert [(f.severity, f.where, f.what) for f in found.findings] == [
        (
            "note",
            "images/a_0001.nii.gz",
            "lies on another grid than images/a_0000.nii.gz and is resampled to it",
        )
    ]
    image = read_case(found.dataset, found.dataset.cases[0]).image.array
    assert image.shape == (2, 6, 8, 12)
    np.testing.assert_allclose(image[1, :5, :7, :11], image[0, :5, :7, :11], atol=1e-5)


def test_a_channel_of_another_part_of_the_body_is_refused(ramp_and_coarse_ramp, nifti):
    nifti(ramp_and_coarse_ramp / "images" / "a_0001.nii.gz", np.ones((6, 8, 4), np.float32))
    with pytest.raises(AutosegError, match=r"a_0001.nii.gz: covers only 33% of a_0000.nii.gz"):
        understand(ramp_and_coarse_ramp, PLAIN)


def test_pictures_of_unlike_size_are_no_channels_of_one_case(tmp_path, png):
    png(tmp_path / "images" / "a_0000.png", picture(range(9), (5, 6)))
    png(tmp_path / "images" / "a_0001.png", picture(range(9), (5, 7)))
    png(tmp_path / "labels" / "a.png", picture((0, 1), (5, 6)))
    with pytest.raises(AutosegError, match=r"another grid than a_0000.png .7 x 5 x 1 voxels against 6 x 5 x 1"):
        understand(tmp_path, PLAIN)


def test_labels_without_any_structure_are_refused(scans, nifti):
    folder = scans(2)
    for name in ("case_00", "case_01"):
        nifti(folder / "labels" / f"{name}.nii.gz", np.zeros((6, 10, 12), np.uint8))
    with pytest.raises(AutosegError, match="no label file holds any structure"):
        understand(folder, PLAIN)


@pytest.mark.parametrize("value", [-1, 65_536])
def test_label_values_that_no_network_takes_are_refused_by_inspect_and_not_only_later(scans, nifti, value):
    folder = scans(2)
    nifti(folder / "labels" / "case_01.nii.gz", np.full((6, 10, 12), value, np.int32))
    with pytest.raises(AutosegError, match=rf"case_01.nii.gz: (negative )?label value {value}; use "):
        understand(folder, PLAIN)


def test_two_cases_of_one_name_are_refused(tmp_path, nifti):
    (tmp_path / "cases.csv").write_text("case,image,label\na,x.nii.gz,y.nii.gz\na,z.nii.gz,y.nii.gz\n")
    for name in "xyz":
        nifti(tmp_path / f"{name}.nii.gz", np.ones((2, 2, 2), np.uint8))
    with pytest.raises(AutosegError, match=r"two cases are called a: x.nii.gz and z.nii.gz"):
        understand(tmp_path, Options(cases="cases.csv"))


def test_names_are_made_fit_for_files(tmp_path, nifti):
    (tmp_path / "cases.csv").write_text("case,image,label\n../a b,x.nii.gz,y.nii.gz\n")
    for name in "xy":
        nifti(tmp_path / f"{name}.nii.gz", np.ones((2, 2, 2), np.uint8))
    assert understand(tmp_path, Options(cases="cases.csv")).cases[0].name == "_a_b"


def test_unchanged_files_are_not_read_again(scans, monkeypatch):
    folder = scans(3)
    first = study(folder, PLAIN, {})
    known = {fact.stamp: fact for fact in first.facts}
    (folder / "images" / "case_01.nii.gz").touch()
    read = []
    monkeypatch.setattr(
        "autoseg.datasets.understand.examine_apart",
        lambda task: read.append(task.case.name) or Reading(facts=first.facts[1], preview=b""),
    )
    second = study(folder, PLAIN, known)
    assert read == ["case_01"]
    assert second.dataset == first.dataset


def test_a_stack_of_slices_is_recognised_and_unrelated_pictures_are_not(tmp_path, png):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, 16, 16))
    stack = [noise[i : i + 6].mean(axis=0) for i in range(20)]  # each slice shares five sixths with the next
    for kind, planes in (("stack", stack), ("apart", noise[:20])):
        for index, plane in enumerate(planes):
            gray = np.kron(np.clip(plane * 60 + 128, 0, 255), np.ones((2, 2))).astype(np.uint8)
            png(tmp_path / kind / "image" / f"{index}.png", gray)
            png(tmp_path / kind / "label" / f"{index}.png", (gray > 128).astype(np.uint8))
    assert understand(tmp_path / "stack", PLAIN).stacks == (tuple(str(i) for i in range(20)),)
    assert understand(tmp_path / "apart", PLAIN).stacks == ()


def test_slices_are_put_in_order_by_likeness_when_their_names_are_not(tmp_path, png):
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(40, 16, 16))
    shuffled = rng.permutation(24)
    for slice_number, name in enumerate(shuffled):
        plane = noise[slice_number : slice_number + 6].mean(axis=0)
        gray = np.kron(np.clip(plane * 60 + 128, 0, 255), np.ones((2, 2))).astype(np.uint8)
        png(tmp_path / "image" / f"{name}.png", gray)
        png(tmp_path / "label" / f"{name}.png", (gray > 128).astype(np.uint8))
    (stack,) = understand(tmp_path, PLAIN).stacks
    truth = [str(name) for name in shuffled]
    assert list(stack) in (truth, truth[::-1])
