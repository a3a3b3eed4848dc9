"""One contract for every network: what goes in, what comes out, what learns."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from autoseg.learning.network import build_network, divisor, output_count
from planners.plan import Architecture, Configuration
from tests.builders import configuration, stages


@pytest.fixture(params=["plain-unet", "residual-unet", "attention-unet"])
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=[2, 3])
def planned(request: pytest.FixtureRequest, architecture: Architecture) -> Configuration:
    return replace(configuration(request.param), architecture=architecture)


class TestEveryNetwork:
    def test_gives_one_logit_map_per_output_in_evaluation(self, planned: Configuration) -> None:
        network = build_network(planned, 2, 3).eval()
        logits = network(torch.randn(2, 2, *planned.patch))
        assert logits.shape == (2, 3, *planned.patch)

    def test_gives_every_decoder_level_in_training_full_resolution_first(self, planned: Configuration) -> None:
        levels = build_network(planned, 1, 3).train()(torch.randn(2, 1, *planned.patch))
        assert [level.shape[2] for level in levels] == [8, 4]

    def test_takes_any_size_that_its_strides_divide(self, planned: Configuration) -> None:
        step = divisor(planned.stages)
        assert step == (4,) * planned.dimensions
        shape = tuple(s * (3 + axis) for axis, s in enumerate(step))
        assert build_network(planned, 1, 2).eval()(torch.randn(1, 1, *shape)).shape[2:] == shape

    def test_takes_odd_sizes_along_axes_that_are_not_strided(self, planned: Configuration) -> None:
        thick = tuple(
            replace(stage, stride=(1, *stage.stride[1:]), kernel=(1, *stage.kernel[1:])) for stage in planned.stages
        )
        anisotropic = replace(planned, stages=thick)
        assert divisor(thick)[0] == 1
        for odd in (1, 5, 7):
            shape = (odd, *[4 * (odd + axis) for axis in range(1, planned.dimensions)])
            network = build_network(anisotropic, 1, 2)
            assert network.eval()(torch.randn(1, 1, *shape)).shape == (1, 2, *shape)
            levels = network.train()(torch.randn(2, 1, *shape))
            assert [level.shape[2] for level in levels] == [odd, odd]

    def test_a_gradient_reaches_every_weight(self, planned: Configuration) -> None:
        network = build_network(planned, 1, 2).train()
        image = torch.randn(2, 1, *planned.patch)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(2):  # residual branches begin silent: what is before their last norm learns from the second step
            optimizer.zero_grad()
            sum((level**2).mean() for level in network(image)).backward()
            optimizer.step()
        silent = [
            name for name, p in network.named_parameters() if p.grad is None or not bool(torch.isfinite(p.grad).all())
        ]
        assert not silent
        untouched = [name for name, p in network.named_parameters() if p.ndim > 1 and not bool(p.grad.any())]
        assert not untouched

    def test_weights_survive_a_file(self, planned: Configuration, tmp_path: Path) -> None:
        first, second = (build_network(planned, 1, 2).eval() for _ in range(2))
        save_file(first.state_dict(), tmp_path / "weights.safetensors")
        second.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        image = torch.randn(1, 1, *planned.patch)
        assert torch.equal(first(image), second(image))

    def test_saved_weights_give_the_same_logits(self, planned: Configuration) -> None:
        first, second = (build_network(planned, 1, 2).eval() for _ in range(2))
        image = torch.randn(1, 1, *planned.patch)
        assert not torch.equal(first(image), second(image))
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(image), second(image))

    def test_bfloat16_stays_near_float32(self, planned: Configuration) -> None:
        network = build_network(planned, 1, 2).eval()
        image = torch.randn(1, 1, *planned.patch)
        with torch.autocast("cpu", torch.bfloat16):
            reduced = network(image)
        exact = network(image)
        assert (reduced.float() - exact).abs().max() < 0.1 * exact.abs().max() + 0.05

    def test_it_learns_in_bfloat16(self, planned: Configuration) -> None:
        network = build_network(planned, 1, 2).train()
        with torch.autocast("cpu", torch.bfloat16):
            levels = network(torch.randn(2, 1, *planned.patch))
        sum((level.float() ** 2).mean() for level in levels).backward()
        assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())
        assert all(p.dtype == torch.float32 for p in network.parameters())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_every_compiled_network_gives_the_same_logits_and_gradients() -> None:
    # In a process of its own: what checks shapes in tests cannot be compiled.
    root, script = Path(__file__).parents[2], Path(__file__).with_name("compiled_networks.py")
    done = subprocess.run(
        ["env", f"PYTHONPATH={root}", sys.executable, script], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("agree") == 6


def test_parameters_are_as_many_as_nnunet_has() -> None:
    # The plain U-Net of nnU-Net for 128^3, one channel, three classes: 31.2 million (facts of nnU-Net 2.8.1), of which
    # the heads of deep supervision are part.
    features = (32, 64, 128, 256, 320, 320)
    planned = replace(
        configuration(3),
        stages=tuple(replace(s, features=f) for s, f in zip(stages(3, 6), features, strict=True)),
        deep_supervision_weights=(0.5, 0.25, 0.125, 0.0625, 0.0625),
    )
    count = sum(p.numel() for p in build_network(planned, 1, 3).parameters())
    assert round(count / 1e6, 1) == 31.2


def test_a_single_stage_is_a_network_too() -> None:
    planned = configuration(2, count=1)
    assert build_network(planned, 1, 2).train()(torch.randn(1, 1, 5, 7)).shape == (1, 2, 5, 7)


def test_softmax_counts_background_and_sigmoid_does_not() -> None:
    assert output_count(3, "labels") == 4
    assert output_count(3, "regions") == 3
