"""Extraction: a standalone timm model gives the logits and the feature taps of its path, stabilizers folded."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from scarlet_models import SearchSpace, UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.search import Supernet
from scarlet_models.search.supernet.folding import _change_output, fold_stabilizers
from scarlet_models.search.supernet.stabilizer import Stabilizer
from scarlet_models.training.depthwise import accelerate_depthwise

IDENTITY = 2  # in the spaces below
CHAIN: dict[str, Any] = {
    "name": "chain",
    "input_size": 16,
    "num_classes": 5,
    "stem": {"channels": 16, "stride": 2, "act": "relu", "separable": 8},
    "stages": [{"channels": 16, "depth": 6, "stride": 2}, {"channels": 24, "depth": 2, "stride": 2}],
    "act": "hard_swish",
    "choices": [{"expand": 2, "kernel": 3}, {"expand": 3, "kernel": 5, "se": 0.25}, "identity"],
    "head": {"channels": 32, "act": "relu"},
}
# The first layers keep the stem's shape: they stand behind a ReLU, or behind a separable convolution with a shortcut.
NO_START = CHAIN | {
    "stem": {"channels": 16, "stride": 2, "act": "relu"},
    "stages": [{"channels": 16, "depth": 4, "stride": 1}, {"channels": 24, "depth": 2, "stride": 2}],
}
SHORTCUT_START = NO_START | {"stem": {"channels": 16, "stride": 2, "act": "relu", "separable": 16}}


def randomise(net: Supernet) -> Supernet:
    """Batch norms as after training, so that eval mode means something."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


def supernet(space: Any, **options: Any) -> Supernet:
    return randomise(Supernet(space, **{"init": "torch", **options}).double())


def random_images(size: int, dtype: torch.dtype = torch.double) -> Tensor:
    return torch.randn(3, 3, size, size, dtype=dtype)


@torch.no_grad()
def error(result: Tensor, known_accuracies: Tensor) -> float:
    """Relative error; in double precision relative to the deviation over images, so that its mean hides nothing."""
    scale = known_accuracies - known_accuracies.mean(0) if known_accuracies.dtype == torch.double else known_accuracies
    return float((result - known_accuracies).norm() / scale.norm())


@torch.no_grad()
def path_taps(net: Supernet, images: Tensor, genotype: str) -> list[Tensor]:
    """The path's features in front of each layer that strides, and behind the last."""
    features, taps = net.stem(images), []
    for layer, index in zip(net.space.layers, map(int, genotype.split(",")), strict=True):
        if layer.stride > 1:
            taps.append(features)
        features = net.choice(layer.index, index)(features)
    return [*taps, features]


@torch.no_grad()
def compare(net: Supernet, genotype: str, model: nn.Module, images: Tensor) -> tuple[float, list[float]]:
    """Relative errors of logits and feature taps."""
    taps = model.forward_intermediates(images, intermediates_only=True)
    known_accuracies = path_taps(net, images, genotype)
    assert len(taps) == len(known_accuracies)
    return error(model(images), net(images, genotype)), [
        error(*pair) for pair in zip(taps, known_accuracies, strict=True)
    ]


def set_weight(net: Supernet, layer: int, matrix: Tensor) -> None:
    net.choice(layer, net.space.identity).weight.data = matrix.to(torch.double)[:, :, None, None]


def without_stabilizers(net: Supernet, genotype: str) -> nn.Module:
    """The extracted model of a path whose stabilizers are simply left out."""
    model = net.extract(genotype, fold=False)
    for module in model.modules():
        if isinstance(module, Stabilizer):
            nn.init.dirac_(module.weight)
    return model


def conditioned(channels: int, smallest: float) -> Tensor:
    """A random matrix with singular values from 1 down to `smallest`."""
    left, right = (torch.linalg.qr(torch.randn(channels, channels, dtype=torch.double))[0] for _ in range(2))
    return left @ torch.diag(torch.linspace(1, smallest, channels, dtype=torch.double)) @ right


@pytest.fixture(scope="module")
def scarlet() -> Supernet:
    torch.manual_seed(0)
    return randomise(Supernet("scarlet", num_classes=10, init="torch"))


# Without a stabilizer


def test_scarlet_a_is_extracted_bit_for_bit(scarlet: Supernet) -> None:
    images = random_images(64, torch.float)
    model = scarlet.extract(GENOTYPES["scarlet_a"])
    assert type(model) is EfficientNet
    assert torch.equal(model(images), scarlet(images, GENOTYPES["scarlet_a"]))


@pytest.mark.parametrize("genotype", ["0,0,0,0,0,0,0,0", "1,2,0,2,1,0,1,2", "2,1,1,1,1,2,2,2"])
def test_projecting_identities_stay_in_the_network(genotype: str) -> None:
    net = randomise(Supernet("nas_bench_macro", init="torch"))
    images = random_images(16, torch.float)
    keeps_shape = [layer.keeps_shape for layer in net.space.layers]
    folds = any(keeps and index == "0" for keeps, index in zip(keeps_shape, genotype.split(","), strict=True))
    model = net.extract(genotype)
    logits = net(images, genotype)
    assert error(model(images), logits) < 1e-5
    assert torch.equal(model(images), logits) != folds


def test_plain_skips_are_extracted_bit_for_bit() -> None:
    net = supernet(CHAIN, stabilizer="skip")
    images = random_images(16)
    for fold in (True, False):
        assert torch.equal(net.extract("0,2,1,2,2,1,0,2", fold)(images), net(images, "0,2,1,2,2,1,0,2"))


def test_extraction_is_a_copy_that_draws_no_random_number() -> None:
    net = supernet(CHAIN)
    before = copy.deepcopy(net.state_dict())
    random_state = torch.get_rng_state()
    model = net.extract("0,2,1,2,2,1,0,2")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not model.training
    assert model.classifier.weight.dtype == torch.double
    for parameter in model.parameters():
        parameter.data.zero_()
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert net.train().extract("0,2,1,2,2,1,0,2").training


def test_extracted_modules_are_timms_own_even_from_an_accelerated_supernet() -> None:
    net = accelerate_depthwise(Supernet("mini", init="torch")).eval()
    model = net.extract("0,3,1,3,0")
    assert {type(m) for m in model.modules() if isinstance(m, nn.Conv2d)} == {nn.Conv2d}
    images = random_images(32, torch.float)
    torch.testing.assert_close(torch.jit.script(model)(images), net(images, "0,3,1,3,0"))


# The claim of the paper


@pytest.mark.parametrize("name", ["scarlet_b", "scarlet_c"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float, 1e-5), (torch.double, 1e-10)])
def test_released_genotypes_with_identities(scarlet: Supernet, name: str, dtype: torch.dtype, tolerance: float) -> None:
    net = scarlet if dtype == torch.float else copy.deepcopy(scarlet).double()
    model = net.extract(GENOTYPES[name])
    assert not any(isinstance(module, Stabilizer) for module in model.modules())
    images = random_images(32, dtype)
    logits, taps = compare(net, GENOTYPES[name], model, images)
    assert len(taps) == 5
    assert max(logits, *taps) < tolerance
    assert error(without_stabilizers(net, GENOTYPES[name])(images), net(images, GENOTYPES[name])) > 0.03


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
        with pytest.raises(UserError, match=r"^layer 0: .*no block without a shortcut stands in front"):
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
    known_accuracies = net(images, genotype)
    naive = without_stabilizers(net, genotype)
    wrong = error(naive(images), known_accuracies)
    _change_output(naive.blocks[1][2], net.choice(3, IDENTITY).weight.detach().flatten(1))
    assert error(naive(images), known_accuracies) > 0.1 * wrong > 1e-3
    assert error(net.extract(genotype)(images), known_accuracies) < 1e-10


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


# Any path of any space


def random_space(rng: np.random.Generator) -> dict[str, Any]:
    def channels() -> int:
        return int(rng.choice([8, 16, 24]))

    stem = {"channels": channels(), "stride": int(rng.integers(1, 3)), "act": "relu6"}
    if rng.random() < 0.7:
        stem["separable"] = channels()
    stages = [
        {"channels": channels(), "depth": int(rng.integers(1, 5)), "stride": int(rng.integers(1, 3))}
        for _ in range(rng.integers(1, 4))
    ]
    choices = ["identity", {"expand": 2, "kernel": 3}, {"expand": 3, "kernel": 5, "se": 0.25}]
    rng.shuffle(choices)
    return {
        "name": "random",
        "input_size": 16,
        "num_classes": 6,
        "stem": stem,
        "stages": [stages[0] | {"stride": 2}, *stages[1:]],
        "act": str(rng.choice(["relu", "hard_swish", "silu"])),
        "choices": choices,
        "identity_at_reduction": str(rng.choice(["absent", "project"])),
        "head": {"channels": channels(), "act": "relu6"},
    }


@pytest.mark.parametrize("seed", range(12))
def test_random_paths_of_random_spaces(seed: int) -> None:
    """The first layer strides, so a block without a shortcut stands in front of every identity: none is refused."""
    rng = np.random.default_rng(seed)
    net = supernet(random_space(rng), init="orthogonal")
    images = random_images(16)
    for _ in range(4):
        genotype = str(net.space.sample(rng))
        logits, taps = compare(net, genotype, net.extract(genotype), images)
        assert max(logits, *taps) < 1e-10, (net.space, genotype)


@pytest.mark.parametrize("init", ["torch", "identity_noise"])
def test_random_paths_of_mini_in_single_precision(init: str) -> None:
    rng = np.random.default_rng(0)
    net = randomise(Supernet("mini", init=init))
    images = random_images(32, torch.float)
    for _ in range(12):
        genotype = str(net.space.sample(rng))
        logits, _ = compare(net, genotype, net.extract(genotype), images)
        assert logits < 1e-5, genotype


# The extracted model is a timm model like any other


def test_extracted_models_save_and_load_as_timm_models(tmp_path: Path) -> None:
    net = randomise(Supernet(CHAIN, init="torch"))
    genotype, images = "0,2,1,2,2,1,0,2", random_images(16, torch.float)
    model = net.extract(genotype)
    file = str(tmp_path / "model.safetensors")
    save_file(model.state_dict(), file)
    options = {"genotype": genotype, "space": CHAIN}
    loaded = timm.create_model("scarlet_net", checkpoint_path=file, num_classes=5, **options).eval()
    assert torch.equal(loaded(images), model(images))
    assert model.pretrained_cfg["architecture"] == "scarlet_net"
    assert model.pretrained_cfg["input_size"] == (3, 16, 16)

    extractor = timm.create_model("scarlet_net", features_only=True, **options).eval()
    missing, _ = extractor.load_state_dict(load_file(file), strict=False)
    assert not missing
    for features, known_accuracies in zip(extractor(images), path_taps(net, images, genotype), strict=True):
        assert error(features, known_accuracies) < 1e-5


def test_an_extracted_model_trains() -> None:
    model = supernet(CHAIN).extract("0,2,1,2,2,1,0,2").train()
    model(random_images(16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_folded_batch_norms_stay_near_the_statistics_they_see() -> None:
    """Mean exact, variance an estimate: a network trained on from there does not start from a jump."""
    net = supernet(CHAIN, init="orthogonal")
    genotype, images = "0,2,0,0,0,0,0,0", torch.randn(64, 3, 16, 16, dtype=torch.double)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net(images, genotype)
    net.eval()
    model = net.extract(genotype)
    seen: list[Tensor] = []
    model.blocks[1][0].conv_pwl.register_forward_hook(lambda module, args, output: seen.append(output))
    model(images)
    bn = model.blocks[1][0].bn3
    torch.testing.assert_close(bn.running_mean, seen[0].mean((0, 2, 3)), rtol=0.1, atol=0.1)
    ratio = bn.running_var / seen[0].var((0, 2, 3))
    assert ratio.min() > 0.2
    assert ratio.max() < 5


def test_spaces_that_come_with_the_package_never_refuse_a_good_stabilizer() -> None:
    """In each of them every stage starts with a block without a shortcut."""
    for name in SearchSpace.names():
        space = SearchSpace.load(name)
        assert all(
            not layer.keeps_shape for layer in space.layers if space.layers[layer.index - 1].stage != layer.stage
        )
