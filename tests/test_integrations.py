"""SCARLET networks as backbones in others' packages, which must train; and data that timm reads by others' packages.

The packages are those of the extra `integrations`; where one is absent its tests skip.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models.efficientnet import EfficientNetFeatures
from torch import Tensor, nn

import scarlet_models.models  # noqa: F401  # registers the networks with timm
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.options import DataOptions

CHANNELS = {1: 16, 2: 32, 3: 40, 4: 96, 5: 320}  # of SCARLET-A's maps at 1/2 to 1/32


def _trains(backbone: nn.Module, loss: Tensor) -> bool:
    """Whether the loss gives every weight of a backbone a finite gradient, and at least the stem one that is not 0."""
    loss.backward()
    gradients = [parameter.grad for parameter in backbone.parameters()]
    return all(g is not None and bool(g.isfinite().all()) for g in gradients) and bool(gradients[0].abs().sum() > 0)


def test_transformers_timm_backbone_gives_the_maps() -> None:
    transformers = pytest.importorskip("transformers")  # of the extra integrations
    config = transformers.TimmBackboneConfig(backbone="scarlet_a", out_indices=[2, 3, 4])
    backbone = transformers.TimmBackbone(config)
    maps = backbone(torch.rand(1, 3, 64, 96)).feature_maps
    assert backbone.channels == [CHANNELS[3], CHANNELS[4], CHANNELS[5]]
    assert [tuple(m.shape) for m in maps] == [(1, 40, 8, 12), (1, 96, 4, 6), (1, 320, 2, 3)]
    assert _trains(backbone, sum(m.square().mean() for m in maps))


def test_transformers_timm_backbone_takes_the_shipped_weights() -> None:
    transformers = pytest.importorskip("transformers")  # of the extra integrations
    backbone = transformers.TimmBackbone.from_pretrained("scarlet_a.tiny_in", out_indices=[2, 3, 4]).eval()
    net = timm.create_model("scarlet_a.tiny_in", pretrained=True, features_only=True, out_indices=[2, 3, 4]).eval()
    for mine, theirs in zip(net.parameters(), backbone.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    backbone._backbone.load_state_dict(net.state_dict())  # transformers 5.24 resets batch norms' running statistics
    image = torch.rand(1, 3, 64, 96)
    for mine, theirs in zip(net(image), backbone(image).feature_maps, strict=True):
        assert torch.equal(mine, theirs)


def test_transformers_detr_trains_over_a_scarlet_backbone() -> None:
    transformers = pytest.importorskip("transformers")  # of the extra integrations
    pytest.importorskip("scipy")  # DETR matches boxes with it
    layers = {f"{part}_{what}": 1 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    config = transformers.DetrConfig(
        backbone_config=transformers.TimmBackboneConfig(
            backbone="scarlet_a",
            out_indices=[4],
        ),
        num_queries=5,
        d_model=32,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_labels=3,
        **layers,
    )
    model = transformers.DetrForObjectDetection(config).train()
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.3]])  # centre, width and height over the image's
    labels = [
        {"class_labels": torch.tensor([1]), "boxes": boxes},
        {"class_labels": torch.zeros(0, dtype=torch.int64), "boxes": torch.zeros(0, 4)},
    ]
    done = model(torch.rand(2, 3, 64, 96), labels=labels)
    assert done.pred_boxes.shape == (2, 5, 4) and done.logits.shape == (2, 5, 4), "three classes and none"
    (backbone,) = (module for module in model.modules() if isinstance(module, EfficientNetFeatures))
    assert backbone.feature_info.channels() == [CHANNELS[5]]
    assert _trains(backbone, done.loss)


@pytest.mark.parametrize("kind", ["Unet", "FPN"])
def test_segmentation_models_train_over_a_scarlet_encoder(kind: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")  # of the extra integrations
    model: Any = getattr(smp, kind)("tu-scarlet_a", encoder_weights=None, classes=3)
    masks = model(torch.rand(2, 3, 64, 96))
    assert masks.shape == (2, 3, 64, 96)
    assert list(model.encoder.out_channels) == [3, *CHANNELS.values()]
    assert _trains(model.encoder, masks.square().mean())


def test_effdet_trains_over_a_scarlet_backbone() -> None:
    effdet = pytest.importorskip("effdet")  # of the extra integrations
    config = effdet.get_efficientdet_config("tf_efficientdet_d0")
    config.update({"backbone_name": "scarlet_a", "backbone_args": {}, "num_classes": 3, "image_size": [128, 128]})
    config.update({"fpn_channels": 16, "fpn_cell_repeats": 1, "box_class_repeats": 1})
    model = effdet.EfficientDet(config, pretrained_backbone=False)
    assert model.config.fpn_channels == 16
    bench = effdet.DetBenchTrain(model, config)
    boxes = torch.tensor([[[10.0, 20.0, 60.0, 70.0]], [[5.0, 5.0, 90.0, 50.0]]])  # y1, x1, y2, x2
    losses = bench(torch.rand(2, 3, 128, 128), {"bbox": boxes, "cls": torch.tensor([[2.0], [1.0]])})
    assert _trains(model.backbone, losses["loss"])


def _png(seed: int) -> tuple[bytes, bytes]:
    """An image's file, and its pixels."""
    image, file = (
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)),
        io.BytesIO(),
    )
    image.save(file, "PNG")
    return file.getvalue(), image.tobytes()


def test_a_data_set_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    pytest.importorskip("datasets")  # of the extra integrations
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 6), ("test", 2)):
        for label in ("ant", "bee"):
            Path("images", split, label).mkdir(parents=True)
            for i in range(count):
                Path("images", split, label, f"{i}.png").write_bytes(_png(i)[0])
    images = LabelledImages(DataOptions(dataset="hfds/./images", data_dir=str(tmp_path / "cache")), "train")
    assert (images.classes, images.labels.tolist()) == (["ant", "bee"], [0] * 6 + [1] * 6)
    assert images.ids[5:7] == ["ant/5.png", "bee/0.png"]
    assert images[7][0].tobytes() == _png(1)[1]


def test_a_web_dataset(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")  # of the extra integrations
    with tarfile.open(tmp_path / "train-0000.tar", "w") as tar:
        for i in range(12):
            for name, content in ((f"{i:04d}.png", _png(i)[0]), (f"{i:04d}.cls", str(i % 3).encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    shards = {"name": "train", "num_samples": 12, "filenames": ["train-0000.tar"], "shard_lengths": [12]}
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"train": shards}}))
    images = LabelledImages(DataOptions(dataset="wds/images", data_dir=str(tmp_path)), "train")
    assert images.labels.tolist() == [0, 1, 2] * 4
    assert images[7][0].tobytes() == _png(7)[1]
