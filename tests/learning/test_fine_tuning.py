"""Weights of another model in a new network: what must stay equal stays equal, what is new is told."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from autoseg.core.errors import AutosegError
from autoseg.learning.encoder_files import read_encoder
from autoseg.learning.fine_tuning import Given, begin_with
from autoseg.learning.model_files import plan_inputs, plan_outputs
from autoseg.learning.network import build_network
from planners.fingerprint import Label
from planners.plan import Plan
from tests.builders import configuration

NAME = "3d_fullres"


def planned(labels=("liver", "spleen"), channels=("CT",), target="labels", **changes):
    return Plan(
        dataset="source",
        recipe="auto",
        channels=channels,
        labels=tuple(Label(name=n, values=(i,), role="foreground") for i, n in enumerate(labels, start=1)),
        target=target,
        transpose=(0, 1, 2),
        configurations=(replace(configuration(), **changes),),
        decisions=(),
    )


def drawn(plan, seed):
    torch.manual_seed(seed)
    name = plan.configurations[0].name
    network = build_network(plan.configurations[0], plan_inputs(plan, name), plan_outputs(plan))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def begun(source, plan):
    """Return the source's network, the network that begins with it, and what was said of that."""
    given, fresh = drawn(source, 1), drawn(plan, 2)
    name = plan.configurations[0].name
    weights = Given(source="theirs", sha256="0" * 64, weights=given.state_dict(), plan=source)
    beginning = begin_with(weights, fresh, plan, name)
    made = drawn(plan, 3)
    made.load_state_dict(beginning.weights)
    return given, made, beginning.started


IMAGE = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["plain-unet", "residual-unet", "attention-unet"])
def test_the_same_labels_and_channels_give_the_same_outputs(architecture):
    plan = planned(architecture=architecture)
    given, made, started = begun(plan, plan)
    assert torch.equal(given(IMAGE), made(IMAGE))
    assert started.taken == ("encoder", "decoder", "head of liver", "head of spleen")
    assert started.adapted == started.fresh == started.ignored == ()


@torch.no_grad()
def test_heads_follow_their_labels_by_name_at_every_level():
    given, made, started = begun(planned(), planned(("tumour", "spleen", "liver")))
    old, new = given(IMAGE), made(IMAGE)
    torch.testing.assert_close(new[:, [0, 3, 2]], old)
    assert not torch.allclose(new[:, 1], old[:, 1], atol=1e-2)
    for one, other in zip(made.train()(IMAGE), given.train()(IMAGE), strict=True):
        torch.testing.assert_close(one[:, 3], other[:, 1])
    assert started.fresh == ("head of tumour (the model has no such label)",)
    _, _, fewer = begun(planned(), planned(("liver",)))
    assert fewer.ignored == ("head of spleen (no label here)",)
    assert str(fewer) == (
        "began with theirs (taken: encoder, decoder, head of liver; left out: head of spleen (no label here))"
    )


@torch.no_grad()
def test_a_head_for_structures_that_overlap_is_none_for_those_that_do_not():
    _, made, started = begun(planned(), planned(target="regions"))
    assert made(IMAGE).shape[1] == 2
    why = "structures overlap here and exclude each other in the model"
    assert started.fresh == (f"head of liver ({why})", f"head of spleen ({why})")
    assert started.ignored == started.fresh
    given, kept, _ = begun(planned(target="regions"), planned(("spleen", "liver"), target="regions"))
    torch.testing.assert_close(kept(IMAGE), given(IMAGE).flip(1))


@torch.no_grad()
def test_a_network_without_deep_supervision_takes_the_head_of_the_full_resolution():
    given, made, _ = begun(planned(), planned(deep_supervision_weights=None))
    assert torch.equal(given(IMAGE), made(IMAGE))


@torch.no_grad()
def test_channels_take_the_stem_by_name_and_new_ones_its_mean():
    pair = torch.randn(2, 2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    given, made, started = begun(planned(channels=("T1", "T2")), planned(channels=("T2", "T1")))
    torch.testing.assert_close(made(pair.flip(1)), given(pair))
    assert started.adapted == ("stem (2 channels of 2, by name)",)
    given, made, started = begun(planned(), planned(channels=("CT", "PET")))
    stems = [network.encoder[0][0][0].weight for network in (given, made)]
    assert torch.equal(stems[1][:, :1], stems[0])
    assert torch.equal(stems[1][:, 1:], stems[0])
    assert started.adapted == ("stem (2 channels of 1, 1 begin with their mean)",)


@torch.no_grad()
@pytest.mark.parametrize(("there", "here"), [(("a",), ("b", "c", "d")), (("a", "b"), ("c",))])
def test_one_picture_in_every_channel_gives_what_it_gave_in_the_model(there, here):
    given, made, _ = begun(planned(channels=there), planned(channels=here))
    old, new = (given(IMAGE.expand(-1, len(there), -1, -1, -1)), made(IMAGE.expand(-1, len(here), -1, -1, -1)))
    torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_cascades_channels_follow_their_labels_too():
    cascade = {"name": "3d_cascade_fullres", "previous": "3d_lowres"}
    given, made, _ = begun(planned(**cascade), planned(("spleen", "liver"), **cascade))
    seen = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(made(seen[:, [0, 2, 1]])[:, [0, 2, 1]], given(seen))


def test_another_network_is_refused_with_the_layer_that_differs():
    wider = (*configuration().stages[:2], replace(configuration().stages[2], features=20))
    with pytest.raises(AutosegError, match=r"2\.0\.0\.weight has the shape 20x8x3x3x3 where the plan has 16x8"):
        begun(planned(stages=wider), planned())
    with pytest.raises(AutosegError, match=r"it has no layer stem\.0\.weight"):
        begun(planned(), planned(architecture="residual-unet"))


class TestEncoderFiles:
    def encoder(self, architecture="plain-unet"):
        network = drawn(planned(architecture=architecture), 1)
        return {n: t for n, t in network.state_dict().items() if n.startswith(("stem.", "encoder."))}

    @torch.no_grad()
    @pytest.mark.parametrize("form", ["safetensors", "torch", "wrapped", "bare encoder"])
    def test_an_encoder_is_taken_and_the_rest_is_drawn(self, tmp_path, form):
        tensors = self.encoder()
        path = tmp_path / ("encoder.safetensors" if form == "safetensors" else "encoder.pt")
        if form == "safetensors":
            save_file({**tensors, "projector.weight": torch.zeros(1)}, path)
        elif form == "torch":
            torch.save({**tensors, "epoch": 3}, path)
        elif form == "wrapped":
            torch.save({"state_dict": {f"module.model.{n}": t for n, t in tensors.items()}}, path)
        else:
            torch.save({"encoder": {n.removeprefix("encoder."): t for n, t in tensors.items()}}, path)
        found = read_encoder(path)
        assert found.keys() == tensors.keys()
        plan = planned(channels=("b", "c"))
        fresh = drawn(plan, 2)
        beginning = begin_with(Given(source="e", sha256="0" * 64, weights=found, plan=None), fresh, plan, NAME)
        made = drawn(plan, 3)
        made.load_state_dict(beginning.weights)
        assert torch.equal(made.encoder[2][1][0].weight, tensors["encoder.2.1.0.weight"])
        assert torch.equal(made.decoder[0].up.weight, fresh.decoder[0].up.weight)
        torch.testing.assert_close(
            made.encoder[0][0][0].weight, tensors["encoder.0.0.0.weight"].expand(-1, 2, -1, -1, -1) / 2
        )
        assert beginning.started.taken == ("encoder",)
        assert beginning.started.adapted == ("stem (2 channels of 1, 2 begin with their mean)",)

    def test_names_of_nnunets_networks_are_ours_under_another_name(self, tmp_path):
        theirs = {"encoder.stages.0.0.convs.0.conv.weight": torch.ones(4, 1, 3, 3, 3)}
        torch.save({"network_weights": theirs}, tmp_path / "e.pth")
        assert read_encoder(tmp_path / "e.pth").keys() == {"encoder.0.0.0.weight"}

    def test_what_is_no_encoder_is_refused_and_nothing_in_it_runs(self, tmp_path):
        torch.save({"decoder.0.weight": torch.zeros(1)}, tmp_path / "d.pt")
        with pytest.raises(AutosegError, match="no encoder of a U-Net in it"):
            read_encoder(tmp_path / "d.pt")
        torch.save({"encoder.0": pytest.raises}, tmp_path / "code.pt")
        with pytest.raises(AutosegError, match="not weights alone"):
            read_encoder(tmp_path / "code.pt")
        torch.save([1], tmp_path / "list.pt")
        with pytest.raises(AutosegError, match="it holds a list"):
            read_encoder(tmp_path / "list.pt")

    def test_other_stages_are_refused(self):
        found = self.encoder()
        found["encoder.2.0.0.weight"] = torch.zeros(20, 8, 3, 3, 3)
        plan = planned()
        with pytest.raises(AutosegError, match="20x8x3x3x3 where the plan has 16x8x3x3x3"):
            begin_with(Given(source="e", sha256="0" * 64, weights=found, plan=None), drawn(plan, 2), plan, NAME)
