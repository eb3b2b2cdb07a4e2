"""The supernet: its choices, its paths, and what a module of torch must be able to do."""

from __future__ import annotations

import copy
import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from timm.models._efficientnet_blocks import ConvBnAct, InvertedResidual
from torch import nn

from scarlet_models import UserError
from scarlet_models.search.supernet.stabilizer import INITS, Stabilizer
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace

PATH = "1,3,2,3,0"  # of `mini`: identity in layers 1 and 3


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(4, 3, 32, 32)


def identities(net: Supernet) -> list[nn.Module]:
    identity = net.space.identity
    assert identity is not None
    return [net.choice(layer.index, identity) for layer in net.space.layers if layer.keeps_shape]


@cache
def structure(name: str) -> Supernet:
    """A supernet without weights."""
    with torch.device("meta"):
        return Supernet(name)


@pytest.mark.parametrize("name", SearchSpace.names())
def test_every_choice_is_the_block_that_the_cost_table_counts(name: str) -> None:
    net = structure(name)
    space = net.space
    table = space.cost_table()
    for layer in space.layers:
        assert list(net.layers[layer.index]) == [str(index) for index in layer.choices]
        for index in layer.choices:
            module = net.choice(layer.index, index)
            if index == space.identity:
                assert type(module) is (Stabilizer if layer.keeps_shape else ConvBnAct)
            else:
                kind = {"ir": InvertedResidual, "cn": ConvBnAct}.get(space.choices[index].kind)
                assert kind is None or type(module) is kind
                assert module.has_skip == (layer.keeps_shape and kind is not ConvBnAct)
            if type(module) is not Stabilizer:
                assert sum(p.numel() for p in module.parameters()) == table.params[layer.index, index]
    rest = [*net.stem.parameters(), *net.head.parameters()]
    assert sum(p.numel() for p in rest) == table.base.params


def test_size_of_the_scarlet_supernet_is_the_documented_one() -> None:
    net = structure("scarlet")
    assert sum(p.numel() for p in net.parameters()) == 45_268_380
    assert sum(p.numel() for module in identities(net) for p in module.parameters()) == 163_264
    assert "45,268,380 parameters, 163,264 of them" in (Supernet.__doc__ or "")


def test_choices_share_nothing() -> None:
    parameters = list(Supernet("mini").parameters())
    assert len({p.data_ptr() for p in parameters}) == len(parameters)


def test_a_stabilizer_is_a_pointwise_linear_map() -> None:
    stabilizer = Stabilizer(8).double()
    assert [name for name, _ in stabilizer.named_parameters()] == ["weight"]
    x, y = torch.randn(2, 3, 8, 5, 5, dtype=torch.double)
    by_hand = torch.einsum("oi,nihw->nohw", stabilizer.weight.flatten(1), x)
    torch.testing.assert_close(stabilizer(x), by_hand, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(stabilizer(2 * x - y), 2 * stabilizer(x) - stabilizer(y), rtol=1e-12, atol=1e-12)


def test_a_path_is_the_chain_of_its_choices(images: torch.Tensor) -> None:
    net = Supernet("mini").eval()
    features = net.stem(images)
    logits = net.forward_path(features, PATH)
    for layer, index in enumerate(map(int, PATH.split(","))):
        features = net.choice(layer, index)(features)
    assert torch.equal(logits, net.head(features))
    assert torch.equal(logits, net(images, PATH))
    assert logits.shape == (4, 10)
    assert not torch.equal(logits, net(images, "1,3,2,0,0"))


def test_a_shared_stem_pass_is_not_changed_by_paths(images: torch.Tensor) -> None:
    for space in ("mini", "nas_bench_macro"):
        net = Supernet(space)
        rng = np.random.default_rng(0)
        features = net.stem(images)
        before = features.clone()
        for _ in range(6):
            net.forward_path(features, net.space.sample(rng))
        assert torch.equal(features, before)


def test_genotypes_in_every_form(images: torch.Tensor) -> None:
    net = Supernet("mini").eval()
    genotype = Genotype.parse(PATH, "mini")
    for form in (genotype, list(genotype), tuple(genotype), np.array(list(genotype)), str(genotype)):
        assert torch.equal(net(images, form), net(images, PATH))


@pytest.mark.parametrize("genotype", ["1,3,2,3", "3,3,2,3,0", "1,3,2,3,4", "1,3,2,3,-1", "a", [1, 3, 2, 3.0, 0]])
def test_paths_outside_the_space_are_refused(genotype: Any, images: torch.Tensor) -> None:
    net = Supernet("mini")
    with pytest.raises(UserError):
        net(images, genotype)
    with pytest.raises(UserError):
        net.extract(genotype)


def test_no_identity_where_the_shape_changes() -> None:
    net = Supernet("mini")
    with pytest.raises(KeyError):
        net.choice(0, 3)
    project = Supernet("nas_bench_macro").choice(0, 0)
    assert isinstance(project, ConvBnAct)
    assert project.conv.kernel_size == (1, 1)
    assert project.conv.stride == (2, 2)
    assert torch.equal(project.bn1.act(torch.tensor(-1.0)), torch.tensor(-1.0))


def test_classes_and_channels(images: torch.Tensor) -> None:
    assert Supernet("mini").num_classes == 10
    net = Supernet("mini", num_classes=7, in_chans=1)
    assert net(images[:, :1], PATH).shape == (4, 7)
    assert net.extract(PATH)(images[:, :1]).shape == (4, 7)


@pytest.mark.parametrize(
    ("stabilizer", "kinds"),
    [
        ("linear", [Stabilizer]),
        ("skip", [nn.Identity]),
        ("bn", [nn.Sequential, Stabilizer, nn.BatchNorm2d]),
        ("relu", [nn.Sequential, Stabilizer, nn.ReLU]),
    ],
)
def test_variants(stabilizer: str, kinds: list[type[nn.Module]], images: torch.Tensor) -> None:
    net = Supernet("mini", stabilizer=stabilizer)
    for module in identities(net):
        assert [type(part) for part in module.modules()] == kinds
    net(images, PATH).sum().backward()


def test_variants_with_the_same_seed_differ_in_the_identities_only() -> None:
    states = []
    for stabilizer in ("linear", "skip", "bn", "relu"):
        torch.manual_seed(1)
        states.append(Supernet("mini", stabilizer=stabilizer).state_dict())
    for state in states:
        for key, tensor in states[1].items():
            assert torch.equal(state[key], tensor), key


def test_identity_initialisation_is_the_plain_skip(images: torch.Tensor) -> None:
    torch.manual_seed(1)
    stabilized = Supernet("mini", init="identity").eval()
    torch.manual_seed(1)
    skipping = Supernet("mini", stabilizer="skip").eval()
    torch.testing.assert_close(stabilized(images, PATH), skipping(images, PATH))


def test_initialisations() -> None:
    eye, channels = torch.eye(64), 64
    torch.manual_seed(2)
    weights = {init: Stabilizer(channels, init).weight.detach().flatten(1) for init in INITS}
    torch.manual_seed(2)
    assert torch.equal(weights["torch"], nn.Conv2d(channels, channels, 1, bias=False).weight.flatten(1))
    assert torch.equal(weights["identity"], eye)
    assert torch.equal(Stabilizer(channels).weight.flatten(1), eye), "the default"
    torch.testing.assert_close(weights["orthogonal"] @ weights["orthogonal"].T, eye, atol=1e-5, rtol=0)
    noise = torch.linalg.matrix_norm(weights["identity_noise"] - eye, 2)
    assert 0.1 < noise < 0.3


@pytest.mark.parametrize(
    "options", [{"stabilizer": "conv"}, {"init": "zeros"}, {"stabilizer": "skip", "init": "zeros"}]
)
def test_unknown_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"conv.*linear, skip, bn, relu|zeros.*torch, identity, orthogonal"):
        Supernet("mini", **options)


def test_only_the_path_gets_gradients(images: torch.Tensor) -> None:
    net = Supernet("mini")
    net(images, PATH).sum().backward()
    used = {f"layers.{layer}.{index}." for layer, index in enumerate(PATH.split(","))}
    for name, parameter in net.named_parameters():
        on_path = not name.startswith("layers.") or any(name.startswith(prefix) for prefix in used)
        assert (parameter.grad is not None) == on_path, name


def test_copies_states_types_and_formats(images: torch.Tensor) -> None:
    net = Supernet("mini").eval()
    logits = net(images, PATH)
    assert torch.equal(copy.deepcopy(net)(images, PATH), logits)

    other = Supernet("mini").eval()
    assert not torch.equal(other(images, PATH), logits)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(images, PATH), logits)

    with torch.device("meta"):
        empty = Supernet("mini", init="orthogonal").eval()
    assert all(tensor.is_meta for tensor in itertools.chain(empty.parameters(), empty.buffers()))
    empty.load_state_dict(net.state_dict(), assign=True)
    assert torch.equal(empty(images, PATH), logits)

    assert copy.deepcopy(net).double()(images.double(), PATH).dtype == torch.double
    channels_last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    output = channels_last(images.to(memory_format=torch.channels_last), PATH)
    torch.testing.assert_close(output, logits, rtol=1e-4, atol=1e-5)


def test_a_space_of_the_users_own(images: torch.Tensor) -> None:
    space = SearchSpace.load("mini").to_dict() | {"name": "mine", "choices": ["identity", {"expand": 2, "kernel": 3}]}
    net = Supernet(space)
    assert net.space.name == "mine"
    assert list(net.layers[0]) == ["1"]
    assert list(net.layers[1]) == ["0", "1"]
    assert net(images, "1,0,1,0,0").shape == (4, 10)


@pytest.mark.parametrize("init", ["identity", "orthogonal"])
def test_blocks_of_one_seed_start_alike_whatever_stands_for_an_identity(init: str) -> None:
    nets = []
    for options in ({"stabilizer": "skip"}, {"init": init}):
        torch.manual_seed(0)
        nets.append(Supernet("nas_bench_macro", num_classes=10, **options).state_dict())
    plain, stabilized = nets
    assert plain.keys() < stabilized.keys()
    assert all(torch.equal(value, stabilized[key]) for key, value in plain.items())
