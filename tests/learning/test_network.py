"""One contract for every network: what goes in, what comes out, what learns."""

import copy
from dataclasses import replace

import pytest
import torch

from autoseg.learning.checkpoint import optimizer_tensors, restore_optimizer
from autoseg.learning.network import build_network, divisor, output_count
from autoseg.learning.norm import InstanceNorm2d, InstanceNorm3d, is_channels_last, to_fast_layout
from autoseg.learning.optimizers import OPTIMIZERS
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

    def test_a_gradient_reaches_every_weight(self, planned: Configuration) -> None:
        network = build_network(planned, 1, 2).train()
        levels = network(torch.randn(2, 1, *planned.patch))
        sum((level**2).sum() for level in levels).backward()
        silent = [n for n, p in network.named_parameters() if p.grad is None]
        assert not silent

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

    def test_channels_last_gives_the_same_logits_and_gradients(self, planned: Configuration) -> None:
        plain = build_network(planned, 1, 2).train()
        laid_out = copy.deepcopy(plain)
        to_fast_layout(laid_out, torch.device("cpu"))
        image, results = torch.randn(3, 1, *planned.patch), []
        for network in (plain, laid_out):
            levels = network(image)
            sum((level**2).sum() for level in levels).backward()
            results.append((levels, [parameter.grad for parameter in network.parameters()]))
        assert is_channels_last(laid_out.encoder[0](laid_out.stem(image)))
        assert not is_channels_last(plain.encoder[0](plain.stem(image)))
        for a, b in zip(*(levels for levels, _ in results), strict=True):
            assert torch.allclose(a, b, atol=1e-4)
        largest = max(gradient.abs().max().item() for gradient in results[0][1])
        for a, b in zip(*(gradients for _, gradients in results), strict=True):
            assert (a - b).abs().max() < 1e-4 * largest


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (2, 3, 4, 5, 6), (1, 3, 2, 2, 2)])
def test_instance_norm_channels_last_is_torchs(shape: tuple[int, ...]) -> None:
    norm = (InstanceNorm2d if len(shape) == 4 else InstanceNorm3d)(shape[1], affine=True)
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    torch.nn.init.uniform_(norm.bias, -1, 1)
    x = 3 + 2 * torch.randn(shape)
    layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    found = []
    for given in (x.clone(), x.contiguous(memory_format=layout)):
        given.requires_grad_()
        output = norm(given)
        gradient = torch.linspace(-1, 1, x.numel()).view(shape)
        found.append((output, *torch.autograd.grad(output, (given, norm.weight, norm.bias), gradient)))
    assert found[1][0].is_contiguous(memory_format=layout)
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_optimisers_step_and_resume_alike_in_both_layouts(optimizer: str) -> None:
    planned = configuration(3)
    schedule = replace(planned.schedule, optimizer=optimizer, momentum=0.9)
    plain = build_network(planned, 1, 2)
    laid_out = copy.deepcopy(plain)
    to_fast_layout(laid_out, torch.device("cpu"))
    for network in (plain, laid_out):
        stepped = OPTIMIZERS[optimizer](network, schedule)
        for number in range(3):
            if number == 2:  # as a resumed training does
                saved = {name: value.contiguous() for name, value in optimizer_tensors(stepped).items()}
                stepped = OPTIMIZERS[optimizer](network, schedule)
                restore_optimizer(stepped, saved)
            for index, parameter in enumerate(network.parameters()):
                values = torch.linspace(-1, 1, parameter.numel()) * (number + index + 1)
                parameter.grad = torch.empty_like(parameter).copy_(values.view(parameter.shape))
            stepped.step()
    for a, b in zip(plain.parameters(), laid_out.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


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
