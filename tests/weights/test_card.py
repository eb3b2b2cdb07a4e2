"""Model cards: facts of the network, and names that stay text."""

from __future__ import annotations

import pytest
import timm
import yaml

from scarlet_models.space.space import SearchSpace
from scarlet_models.weights.publish import card, escaped
from scarlet_models.weights.shipped import ACCURACIES, TAG

NAME = "<script>alert(1)</script> [x](javascript:y) `a` **b** \\ # | &amp;"


def test_a_card_says_what_the_network_is() -> None:
    net = timm.create_model("scarlet_net", genotype="2,3,1,0,3", space="mini")
    _, front, text = card(net, "hf-hub:me/net", {"Top-1": "12%"}, {"input_size": (3, 48, 48)}).split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "timm"
    macs = f"- **MACs:** {net.genotype.cost(48).macs:,}"
    for line in ("# scarlet\\_net", "- **Search space:** mini", "- **Input:** 48 x 48", "- **Top-1:** 12%", macs):
        assert line in text.splitlines()
    assert 'model = timm.create_model("hf-hub:me/net", pretrained=True).eval()' in text


def test_the_card_of_weights_trained_here_states_their_accuracies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACCURACIES, "scarlet_a", [50.5, 75.25])
    _, front, text = card(timm.create_model(f"scarlet_a.{TAG}"), "hf-hub:me/net").split("---\n", 2)
    (entry,) = yaml.safe_load(front)["model-index"]
    (result,) = entry["results"]
    assert (entry["name"], result["dataset"]["name"]) == ("scarlet_a", "Tiny-ImageNet")
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        "accuracy": 0.505,
        "top-5-accuracy": 0.7525,
    }
    assert "not commercial" in text


def test_names_are_escaped() -> None:
    space = SearchSpace.load(SearchSpace.load("mini").to_dict() | {"name": NAME})
    net = timm.create_model("scarlet_net", genotype="2,3,1,0,3", space=space)
    text = card(net, 'local-dir:a"b\n```\n<script>')
    assert r"\<script\>alert\(1\)\</script\> \[x\]\(javascript:y\) \`a\` \*\*b\*\* \\ \# \| \&amp;" in text
    assert text.count("```") == 3 and r'"local-dir:a\"b\n```\n<script>"' in text
    assert text.count("\n```\n") == 1
    assert escaped("two\nlines") == "two lines"
