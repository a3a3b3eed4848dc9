"""nnU-Net's side of the comparison of training speeds, run in its own environment.

python -m benchmarks.training_speed.theirs NUMBER CONFIGURATION

Its own trainer, data loaders and augmentation take steps for as long as each line on standard input says, in seconds;
each answer is a line of JSON. As its command line does on a CPU, torch gets every core.
"""

import json
import os
import sys
import time
from typing import Any

import torch

OURS = sys.stdout


def make_trainer(number: int, configuration: str) -> Any:
    """Return nnU-Net's trainer for fold 0 of a preprocessed dataset, with its data loaders running."""
    from nnunetv2.run.run_training import get_trainer_from_args

    trainer = get_trainer_from_args(str(number), configuration, 0, device=torch.device("cpu"))
    trainer.initialize()
    trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
    trainer.network.train()
    trainer.set_deep_supervision_enabled(enabled=True)
    return trainer


def main() -> int:
    """Serve until standard input ends."""
    torch.set_num_threads(os.cpu_count() or 1)
    sys.stdout = sys.stderr  # what it prints is no answer
    trainer = make_trainer(int(sys.argv[1]), sys.argv[2])
    parameters = sum(parameter.numel() for parameter in trainer.network.parameters())
    OURS.write(json.dumps({"parameters": parameters, "batch": trainer.batch_size}) + "\n")
    OURS.flush()
    for line in sys.stdin:
        wanted_s, steps, data_s, started = float(line), 0, 0.0, time.perf_counter()
        while time.perf_counter() - started < wanted_s:
            asked = time.perf_counter()
            batch = next(trainer.dataloader_train)
            data_s += time.perf_counter() - asked
            trainer.train_step(batch)
            steps += 1
        answer = {"steps": steps, "seconds": time.perf_counter() - started, "data_s": data_s}
        OURS.write(json.dumps(answer) + "\n")
        OURS.flush()
    return 0


if __name__ == "__main__":
    status = main()
    os._exit(status)  # its loaders' threads wait for batches that nobody takes
