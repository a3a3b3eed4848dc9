"""Fingerprints to plan from."""

from planners.fingerprint import CaseFingerprint, ChannelFingerprint, Fingerprint, Label, Modality

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


def channel(name: str = "image", modality: Modality = "mr", *, measured: bool = True) -> ChannelFingerprint:
    return ChannelFingerprint(
        name=name,
        modality=modality,
        modality_reason="it was said so",
        mean=100.0 if measured else None,
        std=50.0 if measured else None,
        minimum=-1000.0 if measured else None,
        maximum=1500.0 if measured else None,
        median=90.0 if measured else None,
        percentile_00_5=-50.0 if measured else None,
        percentile_99_5=300.0 if measured else None,
    )


def case(name: str, shape: Shape, spacing_mm: Spacing, label_voxels: tuple[int, ...] = (1000,)) -> CaseFingerprint:
    return CaseFingerprint(
        name=name,
        dimensions=3,
        shape=shape,
        shape_after_crop=shape,
        spacing_mm=spacing_mm,
        label_voxels=label_voxels,
        label_components=tuple(int(voxels > 0) for voxels in label_voxels),
    )


def picture(name: str, shape: tuple[int, int], label_voxels: tuple[int, ...] = (1000,)) -> CaseFingerprint:
    return CaseFingerprint(
        name=name,
        dimensions=2,
        shape=(1, *shape),
        shape_after_crop=(1, *shape),
        spacing_mm=(1.0, 1.0, 1.0),
        label_voxels=label_voxels,
        label_components=(1,) * len(label_voxels),
    )


def fingerprint(  # noqa: PLR0917 (a builder for tests)
    shape: Shape = (36, 50, 35),
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
    cases: int = 200,
    foreground_voxels: int = 3300,
    labels: int = 1,
    channels: tuple[ChannelFingerprint, ...] = (channel(),),
) -> Fingerprint:
    each = (foreground_voxels // labels,) * labels
    return Fingerprint(
        dataset="test",
        channels=channels,
        labels=tuple(Label(name=f"label_{index + 1}", values=(index + 1,)) for index in range(labels)),
        overlapping=False,
        cases=tuple(case(f"case_{index:04d}", shape, spacing_mm, each) for index in range(cases)),
        median_relative_size_after_crop=1.0,
        n_training=cases,
    )
