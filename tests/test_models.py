"""The networks: the published facts, and what timm promises of every model."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models import group_parameters
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.feature_extraction import create_feature_extractor

import scarlet_models
from scarlet_models import UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.weights.shipped import ACCURACIES, CLASSES, TAG

MINI = "2,3,1,0,3"
MACRO = "0,1,2,0,1,2,0,0"
OURS = {f"{name}.{TAG}": len(CLASSES) for name in ACCURACIES}
MODELS: dict[str, dict[str, Any]] = {
    "scarlet_a": {},
    "scarlet_b": {},
    "scarlet_c": {},
    "scarlet_a2": {},
    "scarlet_a4": {},
    "scarlet_net": {"genotype": GENOTYPES["scarlet_c"]},
}
SMALL = {
    "mini": {"genotype": MINI, "space": "mini"},
    "nas_bench_macro": {"genotype": MACRO, "space": "nas_bench_macro"},
}


def create(name: str, **kwargs: Any) -> nn.Module:
    if name in SMALL:
        return timm.create_model("scarlet_net", **SMALL[name], **kwargs).eval()
    return timm.create_model(name, **MODELS[name], **kwargs).eval()


def count_macs(model: nn.Module, size: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2


every = pytest.mark.parametrize("name", [*MODELS, *SMALL])
CLASSIFIERS = [name for name in (*MODELS, *SMALL) if name != "scarlet_net"]  # which is scarlet_c once more
classifiers = pytest.mark.parametrize("name", CLASSIFIERS)


@pytest.mark.parametrize(
    "name, size, macs, params, taps",
    [
        ("scarlet_a", 224, 365_307_392, 6_707_720, [16, 32, 40, 96, 320]),
        ("scarlet_b", 224, 326_853_440, 6_531_556, [16, 32, 40, 96, 320]),
        ("scarlet_c", 224, 280_082_912, 6_073_684, [16, 32, 40, 96, 320]),
        ("scarlet_a2", 260, 939_296_104, 13_217_520, [16, 32, 48, 104, 352]),
        ("scarlet_a4", 380, 4_212_302_968, 27_863_352, [24, 48, 56, 136, 448]),
    ],
)
def test_published_figures(name: str, size: int, macs: int, params: int, taps: list[int]) -> None:
    model = create(name)
    assert sum(p.numel() for p in model.parameters()) == params
    assert count_macs(model, size) == macs
    assert [tap["num_chs"] for tap in model.feature_info] == taps
    assert [tap["reduction"] for tap in model.feature_info] == [2, 4, 8, 16, 32]
    if name in GENOTYPES:
        assert Genotype.parse(GENOTYPES[name]).cost() == scarlet_models.Cost(macs, params)


def test_published_logits(shared: Any) -> None:
    """The published network's own logits: its tensors, in their order, are ours."""
    layout = json.loads((shared / "fixtures" / "official_layout_A.json").read_text())
    scope: dict[str, Any] = {"__name__": "fixture"}
    exec((shared / "fixtures" / "make_official_checkpoint.py").read_text(), scope)
    model = create("scarlet_a").double()
    published = [scope["tensor"](key, shape) for key, shape in layout["state_dict"].items()]
    model.load_state_dict(dict(zip(model.state_dict(), published, strict=True)))
    images = np.random.default_rng(7).normal(0, 1, (2, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        logits = model(torch.from_numpy(images).double())
    expected = torch.tensor(layout["logits_first_16"], dtype=torch.float64)
    # In float64, of which the JSON's float32 logits are 2.4e-4 off: float32's own error is 1e-3 on some processors.
    assert (logits[:, :16] - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", [*MODELS, *SMALL, *OURS])
def test_default_cfg_describes_the_model(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, pretrained_cfg=None) if name in OURS else create(name)
        features = model.forward_features(torch.zeros(1, *model.pretrained_cfg["input_size"]))
    cfg = model.pretrained_cfg
    assert {cfg["first_conv"] + ".weight", cfg["classifier"] + ".weight"} <= set(model.state_dict())
    assert cfg["num_classes"] == model.num_classes == OURS.get(name, cfg["num_classes"])
    assert cfg["paper_ids"] == "arXiv:1908.06022" and cfg["paper_name"].endswith("Neural Architecture Search")
    assert cfg["license"] == ("unknown" if cfg.get("tag") == "xiaomi_in1k" else "apache-2.0")
    assert bool(cfg.get("origin_url")) is (name not in OURS)  # trained here
    assert features.shape[1:] == (model.num_features, *cfg["pool_size"])


@every
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = create(name, num_classes=7).train()
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 7)
    logits.mean().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


@classifiers
def test_heads(name: str) -> None:
    model = create(name)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = model.forward_features(images)
        pooled = model.forward_head(features, pre_logits=True)
        assert pooled.shape == (2, model.num_features)
        assert torch.equal(model.forward_head(features), model(images))
        model.reset_classifier(3)
        assert model(images).shape == (2, 3)
        model.reset_classifier(0)
        assert torch.equal(model(images), pooled)
        model.reset_classifier(0, "")
        assert torch.equal(model(images), features)
        assert create(name, num_classes=0, global_pool="")(images).shape == features.shape
        assert create(name, num_classes=0)(images).shape == (2, model.num_features)
        assert create(name, in_chans=1)(images[:, :1]).shape == (2, model.pretrained_cfg["num_classes"])


@every
def test_features_only_equals_forward_intermediates(name: str) -> None:
    model = create(name)
    taps = len(model.feature_info)
    images = torch.randn(1, 3, 64, 64)
    extractor = create(name, features_only=True)
    extractor.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        last, intermediates = model.forward_intermediates(images)
        features = extractor(images)
        assert torch.equal(last, model.forward_features(images))
    assert extractor.feature_info.channels() == [f.shape[1] for f in features]
    assert extractor.feature_info.reduction() == [64 // f.shape[2] for f in features]
    for ours, theirs in zip(features, intermediates, strict=True):
        assert torch.equal(ours, theirs)
    for indices in [(0,), (taps - 1, 1), (-1, 0), 2, np.array([1, 2])]:
        some = create(name, features_only=True, out_indices=indices)
        wanted = range(taps - 2, taps) if isinstance(indices, int) else sorted(i % taps for i in indices)
        assert [f.shape for f in some(images)] == [features[i].shape for i in wanted]
        assert some.feature_info.channels() == [features[i].shape[1] for i in wanted]


@pytest.mark.parametrize(
    "options",
    [
        *({"feature_cls": feature_cls} for feature_cls in ("getter", "fx", "hook")),
        {"feature_cls": "list", "feature_cfg": {"flatten_sequential": True, "out_indices": (3, 1)}},
        {"feature_cfg": {"flatten_sequential": True}, "out_indices": (-1, 1)},
    ],
    ids=str,
)
def test_timms_other_feature_classes_give_the_same_features(options: dict[str, Any]) -> None:
    indices = options.get("out_indices") or options.get("feature_cfg", {}).get("out_indices")
    own, other = (
        timm.create_model("scarlet_c.tiny_in", pretrained=True, features_only=True, **kwargs).eval()
        for kwargs in ({"out_indices": indices, "head_conv": False}, options)
    )
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(other(images), own(images))
    assert other.feature_info.channels() == own.feature_info.channels()
    assert other.pretrained_cfg == own.pretrained_cfg


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_output_stride(stride: int) -> None:
    extractor = create("scarlet_b", features_only=True, output_stride=stride)
    assert extractor.feature_info.reduction() == [min(r, stride) for r in (2, 4, 8, 16, 32)]
    with torch.no_grad():
        assert [64 // f.shape[-1] for f in extractor(torch.zeros(1, 3, 64, 64))] == extractor.feature_info.reduction()
    whole = create("scarlet_b", output_stride=stride)
    assert whole.forward_features(torch.zeros(1, 3, 64, 64)).shape[-1] == 64 // stride


@pytest.mark.parametrize(
    "options",
    [{"output_stride": s} for s in (0, 4, 7, 64)]
    + [
        {"features_only": True, "out_indices": i}
        for i in ((5,), (-6,), (0, 9), 0, 6, -1, (), (2, 2), (4, -1), 3.0, "2")
    ],
)
def test_bad_strides_and_indices_are_value_errors(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"output_stride|out_indices"):
        create("scarlet_a", **options)


@classifiers
def test_layer_decay_groups(name: str) -> None:
    model = create(name)
    groups = group_parameters(model, model.group_matcher(coarse=False))
    assert sorted(key for keys in groups.values() for key in keys) == sorted(key for key, _ in model.named_parameters())
    assert groups[0][0].startswith(("conv_stem", "bn1")) and len(groups) > len(model.blocks)


@classifiers
def test_drop_path_and_dropout_only_in_training(name: str) -> None:
    model = create(name, drop_rate=0.5, drop_path_rate=0.5, num_classes=4)
    plain = create(name, num_classes=4)
    plain.load_state_dict(model.state_dict())
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), plain(images))
        model.train()
        assert not torch.equal(model(images), model(images))


@classifiers
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    model = create(name)
    images = torch.randn(2, 3, 64, 64)
    gradients = []
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        model(images).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for first, second in zip(*gradients, strict=True):
        assert torch.allclose(first, second, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "scarlet_a4" else n for n in CLASSIFIERS]
)
def test_torchscript_and_fx(name: str) -> None:
    model = create(name, scriptable=True)
    images = torch.randn(2, 3, 64, 64)
    graph = create_feature_extractor(model, ["classifier"])
    with torch.no_grad():
        expected = model(images)
        assert torch.allclose(torch.jit.script(model)(images), expected, atol=1e-5)
        assert torch.equal(graph(images)["classifier"], expected)
    graph.train()(images)["classifier"].mean().backward()
    assert [key for key, p in graph.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in ("scarlet_a2", "scarlet_a4") else n for n in CLASSIFIERS],
)
def test_export(name: str) -> None:
    model = create(name, exportable=True)
    images = torch.randn(2, 3, 64, 64)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("n")},))
    with torch.no_grad():
        logits = program.module()(images[:1].repeat(3, 1, 1, 1))
        assert torch.allclose(logits[:1], model(images)[:1], atol=1e-4)


@every
def test_meta_device_builds_without_memory(name: str) -> None:
    for model in (_under_meta(name), create(name, device="meta")):
        assert {p.device.type for p in model.parameters()} == {"meta"}
        assert model(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, model.num_classes)


def _under_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return create(name)


def test_batch_norm_arguments_reach_every_batch_norm() -> None:
    model = create("scarlet_c", bn_momentum=0.03, bn_eps=1e-3)
    assert {(m.momentum, m.eps) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {(0.03, 1e-3)}
    assert {m.eps for m in create("scarlet_c").modules() if isinstance(m, nn.BatchNorm2d)} == {1e-5}


def test_orders_of_identity_give_one_network() -> None:
    first, second = "2,1,0,3,1", "2,1,0,1,3"
    assert Genotype.parse(first, "mini").canonical() == Genotype.parse(second, "mini").canonical()
    models = [timm.create_model("scarlet_net", genotype=g, space="mini") for g in (first, second)]
    assert models[0].state_dict().keys() == models[1].state_dict().keys()


def test_genotype_arguments() -> None:
    space = SearchSpace.load("mini")
    keys = [
        timm.create_model("scarlet_net", genotype=genotype, space=given).state_dict().keys()
        for genotype, given in ((MINI, "mini"), ([2, 3, 1, 0, 3], space.to_dict()), (Genotype.parse(MINI, space), None))
    ]
    assert keys[0] == keys[1] == keys[2]
    with pytest.raises(UserError, match="needs genotype"):
        timm.create_model("scarlet_net", space="mini")
    with pytest.raises(UserError, match="19 layers"):
        timm.create_model("scarlet_net", genotype="1,2,3")
    with pytest.raises(UserError, match="layer 0: identity"):
        timm.create_model("scarlet_net", genotype="12" + ",0" * 18)


def test_without_a_genotype_it_is_scarlet_a() -> None:
    """So that timm's sweeps over all registered models can build it."""
    for name in timm.list_models("scarlet*"):
        with torch.device("meta"):
            timm.create_model(name)
    net, scarlet_a = timm.create_model("scarlet_net"), timm.create_model("scarlet_a")
    assert net.genotype == scarlet_a.genotype
    assert [p.shape for p in net.parameters()] == [p.shape for p in scarlet_a.parameters()]


@pytest.mark.parametrize("multiplier", [0, -1, 11, float("inf"), float("nan")])
def test_multipliers_out_of_bounds_are_refused(multiplier: float) -> None:
    for argument in ("channel_multiplier", "depth_multiplier"):
        with pytest.raises(UserError, match=r"multipliers .* the most is 10"):
            timm.create_model("scarlet_a", **{argument: multiplier})


@pytest.mark.parametrize("argument", ["channel_multiplier", "depth_multiplier"])
def test_what_a_folder_could_not_describe_is_not_built(argument: str) -> None:
    with pytest.raises(UserError, match="scarlet_net is not scaled, as no genotype describes the result: scale"):
        timm.create_model("scarlet_net", **{argument: 1.4})


def test_deepcopy_and_pickle_free_state() -> None:
    model = create("mini")
    twin = copy.deepcopy(model)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), twin(images))


def test_registered_with_timm() -> None:
    assert set(MODELS) <= set(timm.list_models("scarlet_*"))
    assert {"scarlet_a.xiaomi_in1k", "scarlet_a.tiny_in"} <= set(timm.list_models("scarlet_a*", include_tags=True))
    assert timm.get_pretrained_cfg("scarlet_a.xiaomi_in1k").origin_url
    assert timm.get_pretrained_cfg("scarlet_a.tiny_in").origin_url is None  # trained here
    data = timm.data.resolve_model_data_config(create("scarlet_a"))
    assert data["input_size"] == (3, 224, 224) and data["crop_pct"] == 0.875


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_training_starts_at_the_loss_of_chance(classes: int) -> None:
    model = create("scarlet_c", num_classes=classes).train()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(torch.randn(8, 3, 64, 64)), torch.arange(8) % classes)
    assert abs(loss.item() - np.log(classes)) < 0.3


@pytest.mark.parametrize("name", GENOTYPES)
def test_without_pretrained_the_published_cfg_leads_whatever_weights_are_here(name: str) -> None:
    model = create(name)
    assert (model.num_classes, model.pretrained_cfg["tag"]) == (1000, "xiaomi_in1k")
    assert model.pretrained_cfg["input_size"] == (3, 224, 224)
