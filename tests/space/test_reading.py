"""Spaces of the user's own: what they may hold, and how a mistake is named."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from scarlet_models import UserError
from scarlet_models.space.space import SearchSpace

GOOD = {
    "name": "own",
    "stem": {"channels": 16, "stride": 2, "act": "relu6"},
    "stages": [{"channels": 16, "depth": 2, "stride": 1}, {"channels": 24, "depth": 1, "stride": 2}],
    "choices": [{"kernel": 3, "expand": 3}, "identity"],
    "act": "relu",
    "head": {"channels": 64, "act": "relu6"},
}


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    space = SearchSpace.load(path)
    assert space == SearchSpace.load(GOOD)
    assert [layer.choices for layer in space.layers] == [(0, 1), (0, 1), (0,)]
    assert (space.input_size, space.num_classes) == (224, 1000)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("kernel: 5", "kernel: 4", 7, "choices.1.kernel: 4 is not one of 3, 5, 7"),
        ("kernel: 5", "kernel: 3.0", 7, "choices.1.kernel: 3.0 is not one of"),
        ("kernel: 5", "kernels: 5", 7, "choices.1.kernels: unknown key; known are kernel, expand, se"),
        ("kernel: 5, ", "", 7, "choices.1: key 'kernel' is missing"),
        ("expand: 6", "expand: 1", 7, "choices.1.expand: must be 2 or more"),
        ("expand: 6", "expand: 3, se: 2", 7, "choices.1.se: 2 is not a ratio"),
        ("expand: 6", "expand: 3, se: 0.001", 7, "choices.1.se: 0.001 of layer 0's 48 channels rounds to none"),
        ("kernel: 5, expand: 6", "kernel: 3, expand: 3", 7, "choices.1: the same choice stands at 0"),
        ("channels: 24", "channels: 20", 4, "stages.1.channels: 20 is not a multiple of 8"),
        ("depth: 1", "depth: -1", 4, "stages.1.depth: -1 is not a positive whole number"),
        ("depth: 1", "depth: true", 4, "stages.1.depth: True is not"),
        ("stride: 1}", "stride: 3}", 3, "stages.0.stride: 3 is not one of 1, 2"),
        ("\nact: relu\n", "\nact: gelu\n", 9, "act: 'gelu' is not one of relu"),
        ("\nact: relu\n", "\nact: [relu]\n", 9, "act: ['relu'] is not one of"),
        ("\nact: relu\n", "\nact: relu\nact: relu\n", 10, "act: stands at line 9 already"),
        ("\nact: relu\n", "\n", 1, "key 'act' is missing"),
        ("64, act: relu6", "64, act: relu", 10, "head.act: must be the stem's (relu6)"),
        ("name: own", "name: 7", 1, "name: 7 is not a name"),
        (
            "name: own",
            "name: own\nidentity_at: gone",
            2,
            "identity_at: 'gone' is not one of same_shape, stride1, everywhere",
        ),
        ("name: own", "name: own\ninput_size: 0", 2, "input_size: 0 is not a positive"),
        ("name: own", "name: [own", 2, "not valid YAML"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    text = (
        "name: own\n"
        "stages:\n"
        "  - {channels: 16, depth: 2, stride: 1}\n"
        "  - {channels: 24, depth: 1, stride: 2}\n"
        "choices:\n"
        "  - {kernel: 3, expand: 3}\n"
        "  - {kernel: 5, expand: 6}\n"
        "  - identity\n"
        "act: relu\n"
        "head: {channels: 64, act: relu6}\n"
        "stem: {channels: 16, stride: 2, act: relu6}\n"
    )
    path = tmp_path / "own.yaml"
    path.write_text(text)
    SearchSpace.load(path)
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        SearchSpace.load(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": []}, "space: stages: must be a list"),
        ({"choices": ["identity"]}, "no choice but identity"),
        ({"stages": [{"channels": 16, "depth": 2, "stride": 1}]}, "then no block is left"),
        ({"stem": "big"}, "stem: 'big' is not a mapping"),
    ],
)
def test_a_mistake_in_a_mapping(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SearchSpace.load(GOOD | change)


def test_files_that_are_no_spaces(tmp_path: Path) -> None:
    listed = "mbconv, mini, mobilenetv4, nas_bench_macro, scarlet, scarlet_cifar, scarlet_no_se"
    with pytest.raises(UserError, match=f"no search space 'nowhere'.*{listed}, a YAML file"):
        SearchSpace.load("nowhere")
    for other in (tmp_path, 5, None):
        with pytest.raises(UserError, match="no search space"):
            SearchSpace.load(other)  # type: ignore[arg-type]  # wrong types are the point
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match=r"list.yaml:1: a search space is a mapping"):
        SearchSpace.load(tmp_path / "list.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(UserError, match=r"empty.yaml:1: a search space is a mapping"):
        SearchSpace.load(tmp_path / "empty.yaml")
    (tmp_path / "image.yaml").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        SearchSpace.load(tmp_path / "image.yaml")


# Limits: no file makes the reader wait, or a network that no machine holds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": [{"channels": 16, "depth": 10_000_000, "stride": 2}]}, "stages.0.depth: 10000000 is more than 100"),
        ({"stages": [{"channels": 16, "depth": 60, "stride": 2}] * 2}, "stages: 120 layers in all are more than 100"),
        ({"stages": [{"channels": 16, "depth": 1, "stride": 2}] * 101}, "stages: 101 entries are more than 100"),
        ({"stages": [{"channels": 80_000, "depth": 1, "stride": 2}]}, "channels: 80000 is more than 8192"),
        ({"choices": [{"kernel": 3, "expand": 1000}]}, "choices.0.expand: 1000 is more than 16"),
        ({"choices": ["identity"] * 101}, "choices: 101 entries are more than 100"),
        ({"input_size": 10**9}, "input_size: 1000000000 is more than 4096"),
        ({"num_classes": 10**9}, "num_classes: 1000000000 is more than 1000000"),
        ({"name": "a" * 101}, "not a name of 1 to 100 printable characters"),
        ({"name": "two\nlines"}, "not a name of 1 to 100 printable characters"),
        ({"act": "x" * 10_000}, r"act: 'xxxxx.*\.\.\..* is not one of"),
    ],
    ids=str,
)
def test_what_is_out_of_bounds_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        SearchSpace.load(GOOD | change)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_the_largest_space_is_still_counted() -> None:
    stages = [{"channels": 8192, "depth": 100, "stride": 1}]
    choices = [{"kernel": k, "expand": e, "se": se / 7} for k in (3, 5, 7) for e in range(2, 17) for se in (1, 2)]
    largest = {"stages": stages, "choices": choices, "input_size": 4096, "num_classes": 1_000_000}
    stem, head = {"channels": 8192, "stride": 1, "act": "relu"}, {"channels": 8192, "act": "relu"}
    space = SearchSpace.load(GOOD | largest | {"stem": stem, "head": head})
    assert 0 < space.sample(0).cost().macs <= space.cost_table().largest.macs < 2**63
    assert "2.656e+195 genotypes" in repr(space)


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    names = "abcdefghi"
    tens = "\n".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in pairwise(names))
    path.write_text(f"a: &a [x, x, x, x, x, x, x, x, x]\n{tens}")
    assert path.stat().st_size < 400
    with pytest.raises(UserError, match=r"bomb.yaml:\d: more than 100,000 entries with the aliases written out"):
        SearchSpace.load(path)


def test_aliases_save_typing_in_a_space(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        yaml.safe_dump(GOOD | {"head": {"channels": 16, "act": "relu6"}})
        .replace("act: relu6", "act: &a relu6", 1)
        .replace("act: relu6", "act: *a")
    )
    assert "*a" in path.read_text()
    assert SearchSpace.load(path).stem.act == "relu6"


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("#" * 300_000)
    with pytest.raises(UserError, match=r"no search space .*larger than the 262,144 bytes"):
        SearchSpace.load(path)
