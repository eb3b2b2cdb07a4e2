"""Folding: every position of an identity, and what cannot be folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers.folding import (
    CHAIN,
    IDENTITY,
    NO_START,
    SHORTCUT_START,
    compare,
    conditioned,
    error,
    random_images,
    set_weight,
    supernet,
    without_stabilizers,
)
from torch import nn

from scarlet_models import UserError
from scarlet_models.search.supernet.stabilizer import Stabilizer, _change_output, fold_stabilizers

# Cases, in the chain of six layers (the first strides, the others keep 16 channels) and two of 24


@pytest.mark.parametrize(
    "genotype",
    [
        "0,2,0,1,0,1,0,0",  # directly behind the block without a shortcut
        "0,2,2,2,1,0,0,0",  # neighbours
        "1,0,2,1,0,0,1,0",  # behind one residual block
        "0,1,0,2,2,1,0,0",  # behind two, and before one
        "0,2,1,2,0,2,1,2",  # several with residual blocks between, and in front of the head
        "0,2,2,2,2,2,1,2",  # nothing else in the stage
        "0,1,1,1,1,2,0,0",  # at the stage's end
    ],
)
def test_every_place_of_an_identity(genotype: str) -> None:
    net = supernet(CHAIN, init="orthogonal")
    for layer, condition in ((1, 0.1), (3, 0.01), (5, 0.3)):
        set_weight(net, layer, conditioned(16, condition))
    logits, taps = compare(net, genotype, net.extract(genotype), random_images(16))
    assert max(logits, *taps) < 1e-10


def test_a_stabilizer_matters() -> None:
    net = supernet(CHAIN)
    images = random_images(16)
    dropped = without_stabilizers(net, "0,1,2,1,1,0,0,0")
    assert error(dropped(images), net(images, "0,1,2,1,1,0,0,0")) > 0.01


def test_a_singular_stabilizer_directly_behind_the_start_folds_backward() -> None:
    net = supernet(CHAIN)
    set_weight(net, 1, torch.diag(torch.arange(16) % 2))
    set_weight(net, 2, torch.ones(16, 16) / 16)
    for genotype in ("0,2,0,1,0,1,0,0", "0,2,2,1,0,1,0,0"):
        logits, taps = compare(net, genotype, net.extract(genotype), random_images(16))
        assert max(logits, *taps) < 1e-10


@pytest.mark.parametrize("trailing", [[5], [4, 5]])
def test_a_singular_stabilizer_at_the_end_folds_forward_into_the_expansion(trailing: Sequence[int]) -> None:
    net = supernet(CHAIN)
    genotype = ",".join("2" if layer in (*trailing, 1) else "0" for layer in range(8))
    for layer in trailing:
        set_weight(net, layer, conditioned(16, 0))
    images = random_images(16)
    model = net.extract(genotype)
    logits, taps = compare(net, genotype, model, images)
    assert logits < 1e-10
    assert max(taps[0], taps[2]) < 1e-10
    assert taps[1] > 0.01  # the tap between shows the features in front of the stabilizer
    in_front = net.stem(images)
    for layer, index in list(enumerate(map(int, genotype.split(","))))[: trailing[0]]:
        in_front = net.choice(layer, index)(in_front)
    assert error(model.forward_intermediates(images, intermediates_only=True)[1], in_front) < 1e-10


def test_a_singular_stabilizer_folds_forward_into_a_projecting_identity() -> None:
    net = supernet("nas_bench_macro")
    set_weight(net, 4, conditioned(128, 0))
    genotype = "1,1,1,2,0,0,1,1"
    images = random_images(16)
    assert error(net.extract(genotype)(images), net(images, genotype)) < 1e-10


def test_a_singular_stabilizer_folds_forward_into_the_head() -> None:
    net = supernet("nas_bench_macro")
    set_weight(net, 7, conditioned(256, 0))
    genotype = "1,1,1,2,0,1,2,0"
    logits, taps = compare(net, genotype, net.extract(genotype), random_images(16))
    assert logits < 1e-10
    assert taps[-1] > 0.01


def test_a_singular_stabilizer_between_residual_blocks_is_refused() -> None:
    net = supernet(CHAIN)
    set_weight(net, 3, conditioned(16, 0))
    with pytest.raises(UserError, match=r"^layer 3: its stabilizer cannot be folded: .*\(layer 2\).*fold=False"):
        net.extract("0,1,1,2,1,0,0,0")
    with pytest.raises(UserError, match=r"^layer 3: "):  # one more at the end could go forward, this one not
        net.extract("0,1,1,2,1,2,0,0")
    with pytest.raises(UserError, match=r"^layer 3: "):
        net.extract("0,2,1,2,1,0,0,0")
    net.extract("0,2,1,1,1,2,0,0")  # a path around it


def test_a_stabilizer_that_is_not_finite_is_refused() -> None:
    net = supernet(CHAIN)
    set_weight(net, 3, torch.full((16, 16), torch.nan))
    with pytest.raises(UserError, match=r"^layer 3: "):
        net.extract("0,1,1,2,1,0,0,0")


@pytest.mark.parametrize(("smallest", "refused"), [(1.1e-4, False), (0.9e-4, True)])
def test_the_limit_of_the_condition(smallest: float, refused: bool) -> None:
    net = supernet(CHAIN)
    set_weight(net, 3, conditioned(16, smallest))
    if refused:
        with pytest.raises(UserError, match=r"^layer 3: .*1\.1e\+04, not below 1e\+04"):
            net.extract("0,1,1,2,1,0,0,0")
    else:
        logits, taps = compare(net, "0,1,1,2,1,0,0,0", net.extract("0,1,1,2,1,0,0,0"), random_images(16))
        assert max(logits, *taps) < 1e-10


def test_the_limit_holds_for_the_product_that_is_inverted() -> None:
    net = supernet(CHAIN)
    for layer in (2, 4):
        set_weight(net, layer, conditioned(16, 1e-3))
    with pytest.raises(UserError, match=r"^layer 2: .*\(layer 1\)"):
        net.extract("0,1,2,1,2,1,0,0")
    logits, _ = compare(net, "0,1,2,1,1,1,0,0", net.extract("0,1,2,1,1,1,0,0"), random_images(16))
    assert logits < 1e-10
    # In the last place the second goes forward, and the first is left with its own condition.
    set_weight(net, 5, conditioned(16, 1e-3))
    logits, taps = compare(net, "0,1,2,1,1,2,0,0", net.extract("0,1,2,1,1,2,0,0"), random_images(16))
    assert logits < 1e-10
    assert taps[1] > 0.01


@pytest.mark.parametrize("space", [NO_START, SHORTCUT_START])
def test_no_block_without_a_shortcut_in_front(space: dict[str, Any]) -> None:
    net = supernet(space, init="orthogonal")
    images = random_images(16)
    for genotype in ("2,2,2,2,0,0", "0,1,2,2,0,2", "0,0,0,2,1,0"):
        assert error(net.extract(genotype)(images), net(images, genotype)) < 1e-10
    for genotype in ("2,0,0,0,0,0", "2,2,1,0,0,0", "2,1,0,2,0,0"):
        with pytest.raises(
            UserError,
            match=r"^layer 0: .*(no block without a shortcut stands in front|starts with a depthwise convolution)",
        ):
            net.extract(genotype)


def test_a_whole_stage_of_identities() -> None:
    stages = [(16, 2, 2), (16, 2, 1), (24, 1, 2)]
    space = CHAIN | {"stages": [dict(zip(("channels", "depth", "stride"), stage, strict=True)) for stage in stages]}
    net = supernet(space, init="orthogonal")
    for genotype in ("0,1,2,2,0", "0,2,2,2,0", "1,2,2,0,1"):
        for fold, tolerance in ((True, 1e-10), (False, 0)):
            logits, taps = compare(net, genotype, net.extract(genotype, fold), random_images(16))
            assert max(logits, *taps) <= tolerance


# What cannot work


def test_a_convolution_with_batch_norm_and_relu_cannot_be_folded() -> None:
    net = supernet(CHAIN, init="identity_noise")
    genotype, images = "0,2,1,0,0,1,0,0", random_images(16)
    folded = net.extract(genotype)
    assert error(folded(images), net(images, genotype)) < 1e-10
    linear = net.choice(1, IDENTITY)
    net.layers[1][str(IDENTITY)] = nn.Sequential(linear, nn.BatchNorm2d(16), nn.ReLU()).double().eval()
    assert error(folded(images), net(images, genotype)) > 0.05


def test_folding_into_the_block_in_front_alone_is_wrong_between_residual_blocks() -> None:
    net = supernet(CHAIN, init="identity_noise")
    genotype, images = "0,1,1,2,1,0,0,0", random_images(16)
    expected = net(images, genotype)
    naive = without_stabilizers(net, genotype)
    wrong = error(naive(images), expected)
    _change_output(naive.blocks[1][2], net.choice(3, IDENTITY).weight.detach().flatten(1))
    assert error(naive(images), expected) > 0.1 * wrong > 1e-3
    assert error(net.extract(genotype)(images), expected) < 1e-10


@pytest.mark.parametrize("stabilizer", ["bn", "relu"])
def test_ablation_variants_are_kept_or_refused(stabilizer: str) -> None:
    net = supernet(CHAIN, stabilizer=stabilizer)
    images = random_images(16)
    with pytest.raises(UserError, match=rf"^layer 3: a '{stabilizer}' stabilizer cannot be folded.*fold=False"):
        net.extract("0,1,1,2,1,2,0,0")
    kept = net.extract("0,1,1,2,1,2,0,0", fold=False)
    assert torch.equal(kept(images), net(images, "0,1,1,2,1,2,0,0"))
    assert torch.equal(net.extract("0,1,1,0,1,1,0,0")(images), net(images, "0,1,1,0,1,1,0,0"))


def test_unfolded_models_keep_their_stabilizers() -> None:
    for space, genotype in ((CHAIN, "0,2,2,1,1,2,0,2"), (NO_START, "2,0,2,1,0,2"), (SHORTCUT_START, "2,2,0,2,0,2")):
        net = supernet(space)
        images = random_images(16)
        model = net.extract(genotype, fold=False)
        kept = [module for module in model.modules() if isinstance(module, Stabilizer)]
        assert len(kept) == genotype.count("2")
        logits, taps = compare(net, genotype, model, images)
        assert max(logits, *taps) == 0
        kept[0].weight.data.zero_()
        assert all(net.choice(layer.index, IDENTITY).weight.any() for layer in net.space.layers if layer.keeps_shape)


def test_nothing_is_left_to_fold() -> None:
    net = supernet(CHAIN)
    links = [("stem", net.stem.separable), ("layer 0", net.choice(0, 0)), ("head", net.head.conv_head)]
    assert fold_stabilizers(links) == links


# Blocks of other kinds: what they start with and end in decides


def _space(*choices: str, pool_first: bool = False, before: str = "ir_k3_e2") -> dict[str, Any]:
    """Layer 0 without a shortcut, then three that choose, and a last one that strides."""
    return {
        "name": "kinds",
        "input_size": 16,
        "num_classes": 5,
        "act": "relu",
        "stem": {"channels": 8, "stride": 2},
        "stages": [
            {"channels": 16, "depth": 1, "stride": 1, "choices": [before]},
            {"channels": 16, "depth": 3, "stride": 1},
            {"channels": 24, "depth": 1, "stride": 1, "choices": [choices[0]]},
        ],
        "choices": [*choices, "identity"],
        "head": {"channels": 32, "pool_first": pool_first},
    }


def _path(net: Any, *blocks: str) -> str:
    index = {choice.block: number for number, choice in enumerate(net.space.choices)}
    return ",".join(str(index[block]) for block in blocks)


@pytest.mark.parametrize(
    ("choice", "before"),
    [
        ("er_k3_e2", "ir_k3_e2"),  # dense 3x3 convolutions: padding with zeros stays zeros
        ("er_k5_e3_se0.5", "er_k3_e2"),
        ("uir_k5_e3", "uir_a3_k3_e2"),  # the block in front starts depthwise, yet ends in a dense one
        ("uir_k0_e4", "ir_k3_e2"),
        ("ir_k7_e2.5", "dsa_k3"),  # refused backward: forward into the next block's expansion
        ("cn_k3", "cn_k3"),  # likewise behind an activation
    ],
)
@pytest.mark.parametrize("pool_first", [False, True])
def test_dense_ends_absorb_a_stabilizer(choice: str, before: str, pool_first: bool) -> None:
    net = supernet(_space(choice, before=before, pool_first=pool_first), init="orthogonal")
    images = random_images(16)
    paths = [["identity", "identity", "identity"]]
    if before not in ("dsa_k3", "cn_k3"):
        paths += [["identity", choice, "identity"], [choice, "identity", choice], [choice, choice, "identity"]]
    for middle in paths:
        genotype = _path(net, before, *middle, choice)
        assert error(net.extract(genotype)(images), net(images, genotype)) < 1e-10
        assert error(without_stabilizers(net, genotype)(images), net(images, genotype)) > 1e-3


@pytest.mark.parametrize(
    ("choice", "before", "middle", "message"),
    [
        ("uir_a3_k3_e2", "ir_k3_e2", "choice", r"layer 3: .*shortcut \(layer 2\) that starts with a depthwise"),
        ("ds_k3", "ir_k3_e2", "choice", r"layer 3: .*shortcut \(layer 2\) that starts with a depthwise"),
        ("uir_a3_k3_p3_e2", "ir_k3_e2", "choice", r"layer 3: .*layer 2, which ends in a depthwise"),
        ("ds_k3", "cn_k1", "identity", r"layer 1: .*layer 4 behind it starts with a depthwise convolution, and in fro"),
        ("uir_a5_k0_e2", "uir_k3_p3_e2", "identity", r"layer 1: .*layer 4 behind it starts with a depthwise convol"),
    ],
)
def test_a_depthwise_convolution_or_an_activation_between_is_refused(
    choice: str, before: str, middle: str, message: str
) -> None:
    net = supernet(_space(choice, before=before), init="orthogonal")
    inner = [choice if middle == "choice" else "identity"] * 2
    with pytest.raises(UserError, match=message):
        net.extract(_path(net, before, *inner, "identity", choice))
