"""Publishing to the Hub and loading from it, against a Hub on loopback; what talks to it runs in another process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.stub_hub import TOKEN, Hub, serve

HUB_VERSION = tuple(int(part) for part in version("huggingface_hub").split(".")[:2])
# huggingface_hub reads HF_ENDPOINT when it is imported. This answers each line of JSON on stdin, a piece of code, with
# one on stdout: what it printed on stdout and stderr, and what it raised.
LOOP = """
import contextlib, io, json, os, sys, warnings
import timm, torch, scarlet_models
from scarlet_models.weights import save as saving
from scarlet_models.weights.install import install
from scarlet_models.cli import main
warnings.simplefilter("ignore")
for line in sys.stdin:
    out, error, raised = io.StringIO(), io.StringIO(), ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            exec(json.loads(line), globals())
        except Exception as problem:
            raised = f"{type(problem).__name__}: {problem}"
    print(json.dumps([out.getvalue(), error.getvalue(), raised]), flush=True)
"""


@dataclass
class Client:
    """A process that knows the Hub, and the folder that it works in."""

    process: subprocess.Popen[str]
    folder: Path

    def run(self, code: str) -> tuple[str, str, str]:
        """What a piece of code prints on stdout and stderr, and the exception that it raises."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        out, error, raised = json.loads(self.process.stdout.readline())
        return out, error, raised

    def evaluate(self, expression: str) -> Any:
        """The value of an expression."""
        out, _, raised = self.run(f"import json; print(json.dumps({expression}))")
        assert not raised
        return json.loads(out.splitlines()[-1])

    def publish(self, *arguments: str) -> str:
        """Run `scarlet-models publish`; what it prints."""
        out, error, raised = self.run(f"assert main({['publish', *arguments]!r}) == 0")
        assert not raised, error
        return out

    def cached(self, repo: str) -> list[Path]:
        """The Hub's cache of large files of a repository, whole or in part."""
        blobs = self.folder / "hf" / "hub" / f"models--{repo.replace('/', '--')}" / "blobs"
        return [path for path in blobs.glob("*") if path.stat().st_size > 10_000]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


@pytest.fixture(scope="module")
def client(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("client")
    env = {**os.environ, **environment(folder, hub.url)}
    arguments: Any = {"env": env, "cwd": folder, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", LOOP], **arguments) as process:
        client = Client(process, folder)
        client.run("net = timm.create_model('scarlet_net', genotype='2,3,1,0,3', space='mini').eval()")
        client.run("names = list('abcdefghij'); saving.save(net, 'net', label_names=names, half=True)")
        client.run("image = torch.randn(1, 3, 32, 32)")
        yield client
        process.stdin.close()


def environment(folder: Path, endpoint: str) -> dict[str, str]:
    return {
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "SCARLET_HOME": str(folder / "store"),
    }


def test_a_saved_folder_goes_up_and_comes_back(hub: Hub, client: Client) -> None:
    assert client.publish("net", "me/net") == f"{hub.url}/me/net\n"
    repo = hub.repos["me/net"]
    assert repo.messages == ["initial commit", "Publish net with scarlet-models"]
    assert not repo.private
    assert repo.files.keys() == {"config.json", "model.safetensors", "README.md"}
    assert repo.files["model.safetensors"] == (client.folder / "net" / "model.safetensors").read_bytes()
    config = json.loads(repo.files["config.json"])
    assert (config["architecture"], config["num_classes"], config["label_names"][0]) == ("scarlet_net", 10, "a")
    assert config["model_args"]["genotype"] == "2,3,1,0,3"
    assert config["model_args"]["space"]["stem"]["channels"] == 16
    _, front, text = repo.files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "timm"
    assert "hf-hub:me/net" in text
    assert "2,3,1,0,3" in text
    client.run("back = timm.create_model('hf-hub:me/net', pretrained=True).eval(); local = saving.load('net')")
    assert client.evaluate("torch.equal(back(image), local(image))")
    facts = client.evaluate("[str(back.genotype), back.pretrained_cfg['label_names'], str(back.classifier.bias.dtype)]")
    assert facts == ["2,3,1,0,3", list("abcdefghij"), "torch.float32"]
    client.run("features = timm.create_model('hf-hub:me/net', pretrained=True, features_only=True).eval()")
    assert client.evaluate("torch.equal(features(image)[-1], back.forward_intermediates(image)[1][-1])")


def test_publishing_again_keeps_the_card_and_an_unchanged_network_makes_no_commit(hub: Hub, client: Client) -> None:
    client.publish("net", "me/again")
    repo = hub.repos["me/again"]
    repo.files["README.md"] = b"---\nlibrary_name: timm\n---\nmine\n"
    client.publish("net", "me/again")
    assert len(repo.commits) == 2
    client.run("saving.save(timm.create_model('scarlet_net', genotype='2,3,1,0,3', space='mini'), 'other/net')")
    client.publish("other/net", "me/again")
    assert len(repo.commits) == 3
    assert repo.files["README.md"].endswith(b"mine\n")
    assert repo.files["model.safetensors"] == (client.folder / "other" / "net" / "model.safetensors").read_bytes()


def test_a_folder_with_a_card_of_its_own_publishes_that(hub: Hub, client: Client) -> None:
    client.run("saving.save(net, 'carded')")
    (client.folder / "carded" / "README.md").write_text("---\nlibrary_name: timm\nlicense: mit\n---\nhand-written\n")
    client.publish("carded", "me/carded", "--private")
    assert hub.repos["me/carded"].files["README.md"].endswith(b"hand-written\n")
    assert hub.repos["me/carded"].private


def test_a_released_tag_goes_up_byte_for_byte(hub: Hub, client: Client) -> None:
    _, _, raised = client.run("""
import safetensors.torch
half = saving.half_precision(timm.create_model("scarlet_c.tiny_in"))
path = install(safetensors.torch.save(half, {"format": "pt"}), "scarlet_c.tiny_in")
""")
    assert not raised
    client.publish("scarlet_c.tiny_in", "me/scarlet_c.tiny_in")
    files = hub.repos["me/scarlet_c.tiny_in"].files
    listed = json.loads((client.folder / "store" / "manifest.json").read_text())["scarlet_c.tiny_in.safetensors"]
    assert hashlib.sha256(files["model.safetensors"]).hexdigest() == listed
    assert json.loads(files["config.json"])["pretrained_cfg"]["label_names"][0] == "n01443537"
    _, front, text = files["README.md"].decode().split("---\n", 2)
    assert (yaml.safe_load(front)["license"], yaml.safe_load(front)["datasets"]) == (
        "apache-2.0",
        ["zh-plus/tiny-imagenet"],
    )
    assert "6,073,684" not in text  # that is with 1000 classes
    client.run("back = timm.create_model('hf-hub:me/scarlet_c.tiny_in', pretrained=True)")
    assert client.evaluate("[back.num_classes, list(back.pretrained_cfg['input_size'])]") == [200, [3, 64, 64]]
    assert client.evaluate("all(torch.equal(t, half[k].to(t.dtype)) for k, t in back.state_dict().items())")


@pytest.mark.skipif(HUB_VERSION < (1, 20), reason="this huggingface_hub gives up where a connection is cut")
def test_an_interrupted_download_goes_on_where_it_was_cut(hub: Hub, client: Client) -> None:
    client.publish("net", "me/cut")
    hub.cuts[:] = [20_000, 100]
    before = len(hub.requests)
    _, _, raised = client.run("back = timm.create_model('hf-hub:me/cut', pretrained=True).eval()")
    assert (raised, hub.cuts) == ("", [])
    assert sum(request.startswith("GET /large/") for request in hub.requests[before:]) == 3
    assert client.evaluate("torch.equal(back(image), saving.load('net')(image))")


def test_a_download_that_never_ends_leaves_nothing_and_can_be_tried_again(hub: Hub, client: Client) -> None:
    client.publish("net", "me/never")
    hub.cuts[:] = [20_000] + 20 * [0]
    _, _, raised = client.run("timm.create_model('hf-hub:me/never', pretrained=True)")
    hub.cuts.clear()
    assert raised.startswith("UserError: cannot download model.safetensors of me/never from the Hugging Face Hub: ")
    assert len(raised.splitlines()) == 1
    assert client.cached("me/never") == []
    assert not client.run("timm.create_model('hf-hub:me/never', pretrained=True)")[2]
    assert len(client.cached("me/never")) == 1


def test_a_download_with_a_wrong_hash_is_refused_and_removed(hub: Hub, client: Client) -> None:
    client.publish("net", "me/altered")
    hub.alter = True
    _, _, raised = client.run("timm.create_model('hf-hub:me/altered', pretrained=True)")
    hub.alter = False
    assert raised.startswith("UserError: model.safetensors of me/altered came damaged")
    assert "wrong sha256" in raised
    assert client.cached("me/altered") == []
    assert not client.run("timm.create_model('hf-hub:me/altered', pretrained=True)")[2]


def test_a_repository_without_safetensors_is_not_loaded(hub: Hub, client: Client) -> None:
    """timm by itself would unpickle the other file, though without running its code."""
    client.publish("net", "me/pickled")
    files = hub.repos["me/pickled"].files
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    for create in (
        "timm.create_model('hf-hub:me/pickled', pretrained=True)",
        "networks.create('hf-hub:me/pickled', pretrained=True)",
    ):
        _, _, raised = client.run(f"from scarlet_models import networks; {create}")
        assert raised.startswith("UserError: cannot download model.safetensors of me/pickled")
    files["model.safetensors"] = files.pop("pytorch_model.bin")
    assert not client.run("timm.create_model('hf-hub:me/pickled', pretrained=True)")[2]


def test_a_cache_that_shares_files_by_other_hashes_is_no_damage(hub: Hub, client: Client) -> None:
    client.publish("net", "me/shared")
    create = "timm.create_model('hf-hub:me/shared', pretrained=True)"
    client.run(create)
    (blob,) = client.cached("me/shared")
    elsewhere = client.folder / "hf" / "hub" / "blobs" / "00" / ("0" * 64)
    elsewhere.parent.mkdir(parents=True)
    blob.rename(elsewhere)
    blob.symlink_to(elsewhere)
    assert not client.run(create)[2]


def test_a_tag_comes_from_the_hub_only_if_it_is_nowhere_here(hub: Hub, client: Client) -> None:
    client.run("""
tensors = timm.create_model("scarlet_b.xiaomi_in1k").state_dict()
saving.save(timm.create_model("scarlet_b.xiaomi_in1k"), "b"), main(["publish", "b", "me/b"])
timm.models._registry._model_pretrained_cfgs["scarlet_b.xiaomi_in1k"].hf_hub_id = "me/b"
""")
    expected = hashlib.sha256(hub.repos["me/b"].files["model.safetensors"]).hexdigest()
    manifest = client.folder / "store" / "manifest.json"
    before = json.loads(manifest.read_text()) if manifest.exists() else {}
    manifest.parent.mkdir(exist_ok=True)
    manifest.write_text(json.dumps(before | {"scarlet_b.xiaomi_in1k.safetensors": "0" * 64}))
    create = "timm.create_model('scarlet_b.xiaomi_in1k', pretrained=True)"
    _, _, raised = client.run(create)
    assert "the Hub's scarlet_b.xiaomi_in1k.safetensors is not the one listed (wrong sha256)" in raised
    assert client.cached("me/b") == []
    manifest.write_text(json.dumps(before | {"scarlet_b.xiaomi_in1k.safetensors": expected}))
    assert client.evaluate(f"torch.equal({create}.conv_stem.weight, saving.load('b').conv_stem.weight)")
    client.run("install(open('b/model.safetensors', 'rb').read(), 'scarlet_b.xiaomi_in1k')")
    client.run("timm.models._registry._model_pretrained_cfgs['scarlet_b.xiaomi_in1k'].hf_hub_id = 'me/b'")
    requests = len(hub.requests)
    assert not client.run(create)[2]
    assert len(hub.requests) == requests


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["absent", "me/x"],
            "absent is neither a folder with config.json and model.safetensors nor one of scarlet_a.xia",
        ),
        (["scarlet_a.xiaomi_in1k", "me/x"], "no weights for scarlet_a.xiaomi_in1k here"),
        (["broken", "me/x"], "broken is not a saved network"),
        (["net", "not//an id"], "cannot publish to not//an id"),
        (["net"], "REPO is missing"),
    ],
)
def test_mistakes_are_one_line_and_push_nothing(
    hub: Hub, client: Client, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    client.run("import shutil; shutil.copytree('net', 'broken', dirs_exist_ok=True)")
    weights = client.folder / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    requests = len(hub.requests)
    out, error, _ = client.run(f"print(main({['publish', *arguments]!r}))")
    assert out == "2\n"
    assert len(error.splitlines()) == 1
    assert message in error
    assert len(hub.requests) == requests


def test_without_a_token_it_says_to_log_in(hub: Hub, client: Client) -> None:
    out, error, _ = client.run("os.environ['HF_TOKEN'] = 'hf_wrong'; print(main(['publish', 'net', 'me/closed']))")
    client.run(f"os.environ['HF_TOKEN'] = {TOKEN!r}")
    assert (out, len(error.splitlines())) == ("2\n", 1)
    assert "log in with `hf auth login`" in error
    assert "me/closed" not in hub.repos


def test_a_hub_that_cannot_be_reached_is_one_line(client: Client) -> None:
    env = {**os.environ, **environment(client.folder, "http://127.0.0.1:9")}  # the discard port: nothing listens there
    command = [sys.executable, "-c", "from scarlet_models.cli import main; raise SystemExit(main())", "publish"]
    result = subprocess.run(
        [*command, "net", "me/net"], env=env, cwd=client.folder, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "cannot publish to me/net" in result.stderr
