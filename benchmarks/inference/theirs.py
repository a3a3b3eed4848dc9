"""nnU-Net's side, run in its own environment: python -m benchmarks.inference.theirs TASK (a JSON file).

It calls nnunetv2's own functions and imports nothing of ours but the stopwatch. What a task holds is what the function
of its kind reads from it.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.inference.peak import taken

Task = dict[str, Any]


def train(task: Task) -> dict[str, Any]:
    """Train nnU-Net's network for the plans in a model folder on a few crops, and save it as nnU-Net does.

    Brief training is enough for logits like real ones: sure inside structures, unsure at their borders. Random weights
    would make near ties everywhere, and no two programs agree on those.
    """
    from torch.nn.functional import cross_entropy

    folder, patch = Path(task["model"]), task["patch"]
    network = _network(folder)
    cases = [dict(np.load(path)) for path in task["cases"]]
    torch.manual_seed(0)
    draw = random.Random(0)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=task["steps"])
    loss = torch.zeros(())
    for _ in range(task["steps"]):
        case = draw.choice(cases)
        image, label = case["image"], case["label"]
        start = _around_a_structure(label, patch, draw)
        box = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        pads = [(0, max(0, p - n)) for n, p in zip(label.shape, patch, strict=True)]
        x = torch.from_numpy(np.pad(image[(slice(None), *box)], [(0, 0), *pads]))[None]
        y = torch.from_numpy(np.pad(label[box], pads).astype(np.int64))[None]
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(network(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        if torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0).isfinite():  # bfloat16 overflows now and then
            optimizer.step()
        schedule.step()
    (folder / "fold_0").mkdir(exist_ok=True)
    checkpoint = {
        "network_weights": network.state_dict(),
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return {"loss": float(loss.detach())}


def _around_a_structure(label: Any, patch: list[int], draw: random.Random) -> list[int]:
    """Return the lower corner of a patch around some labelled voxel: patches of air alone have nothing to normalise."""
    while True:
        centre = [draw.randrange(n) for n in label.shape]
        if label[tuple(centre)]:
            return [max(0, min(c - p // 2, n - p)) for c, p, n in zip(centre, patch, label.shape, strict=True)]


def logits(task: Task) -> dict[str, Any]:
    """Turn logits, float16 as nnU-Net's own prediction gives them, into labels at native resolution."""
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

    plans, labels = _plans(Path(task["model"]))
    configuration = plans.get_configuration("3d_fullres")
    given = np.load(task["input"])
    shape = task["shape"]
    properties = {
        "spacing": task["spacing_mm"],
        "shape_before_cropping": shape,
        "shape_after_cropping_and_before_resampling": shape,
        "bbox_used_for_cropping": [[0, n] for n in shape],
    }
    return _answer(
        task,
        lambda: convert_predicted_logits_to_segmentation_with_correct_shape(
            given, plans, configuration, labels, properties, num_threads_torch=torch.get_num_threads()
        ),
    )


def resample(task: Task) -> dict[str, Any]:
    """Resample an image or a label map (1, z, y, x), float32 as nnU-Net's readers give both."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    given = np.load(task["input"])[None].astype(np.float32)
    is_seg = task["order"] == 1
    spacing = [1.0, 1.0, 1.0]
    found = _answer(
        task,
        lambda: resample_data_or_seg_to_shape(
            given, task["shape"], spacing, spacing, is_seg=is_seg, order=task["order"], order_z=0, force_separate_z=None
        )[0],
    )
    if is_seg:
        np.save(task["output"], np.load(task["output"]).astype(np.uint8))
    return found


def predict(task: Task) -> dict[str, Any]:
    """Predict a folder of images in this process alone, which its command line does with `-npp 0 -nps 0`."""
    if task["float32_sums"]:
        torch.half = torch.float16 = torch.float32  # the types that it adds weighted logits in, by name
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(task["model"], (0,))
    Path(task["output"]).mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential(task["input"], task["output"])
    return {}


def _answer(task: Task, function: Any) -> dict[str, Any]:
    found = taken(function)
    np.save(task["output"], np.asarray(found.result))
    return {"seconds": found.seconds, "peak_bytes": found.peak_bytes}


def _plans(folder: Path) -> tuple[Any, Any]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(str(folder / "plans.json"))
    return plans, plans.get_label_manager(json.loads((folder / "dataset.json").read_text(encoding="utf-8")))


def _network(folder: Path) -> torch.nn.Module:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plans, labels = _plans(folder)
    torch.manual_seed(0)
    network: torch.nn.Module = nnUNetTrainer.build_network_architecture(
        plans, plans.get_configuration("3d_fullres"), 1, labels.num_segmentation_heads, enable_deep_supervision=False
    )
    return network


KINDS = {"train": train, "logits": logits, "resample": resample, "predict": predict}


def main() -> int:
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = KINDS[task["kind"]](task)
    Path(task["report"]).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
