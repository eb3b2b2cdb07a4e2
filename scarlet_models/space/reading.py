"""Reading search spaces: by name, from a YAML file, or from a mapping. A mistake is named with its file and line."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from scarlet_models.documents import MAX_YAML, Keys, parse_yaml_and_lines, read_text
from scarlet_models.errors import UserError

from .blocks import ACTIVATIONS, IDENTITY, KERNELS, Choice, Head, Stage, Stem
from .structure import Structure

# Generous, and such that costs fit int64 and sizes fit a float.
MAX_LAYERS, MAX_CHOICES = 100, 100
MAX_CHANNELS, MAX_EXPAND = 8_192, 16
MAX_INPUT_SIZE, MAX_CLASSES = 4_096, 1_000_000

_SPACES = files("scarlet_models.space") / "spaces"
_KEYS = ("name", "stem", "stages", "choices", "act", "head", "identity_at_reduction", "input_size", "num_classes")

S = TypeVar("S", bound=Structure)


def names() -> list[str]:
    """Names of the spaces that come with the package."""
    return sorted(entry.name[:-5] for entry in _SPACES.iterdir() if entry.name.endswith(".yaml"))


def read_space(source: str | Path | Mapping[str, Any], kind: type[S]) -> S:
    """A space by name, from a YAML file, or from a mapping of the same content.

    Args:
        source: Name, path or mapping.
        kind: The class to make.

    Raises:
        UserError: No such space, or a bad entry; the message names file and line.
    """
    if isinstance(source, Mapping):
        return _checked(dict(source), "space", {}, kind)
    if str(source) in names():
        return _parse((_SPACES / f"{source}.yaml").read_text(encoding="utf-8"), f"{source}.yaml", kind)
    try:
        text = read_text(str(source), MAX_YAML)
    except UserError as error:
        known = ", ".join(names())
        reason = str(error).removeprefix(f"{source}: ")
        raise UserError(f"no search space {str(source)!r} ({reason}): give one of {known}, or a YAML file") from None
    return _parse(text, str(source), kind)


class _Bad(Exception):
    """A bad entry; `_checked` turns it into a UserError that names the line."""

    def __init__(self, keys: Keys, message: str) -> None:
        super().__init__(message)
        self.keys = keys


def _parse(text: str, where: str, kind: type[S]) -> S:
    data, lines = parse_yaml_and_lines(text, where)
    if not isinstance(data, dict):
        raise UserError(f"{where}:1: a search space is a mapping with the keys {', '.join(_KEYS)}")
    return _checked(data, where, lines, kind)


def _checked(data: dict[str, Any], where: str, lines: dict[Keys, int], kind: type[S]) -> S:
    try:
        space = _space(data, kind)
        _check_layers(space)
        return space
    except _Bad as bad:
        line = next((lines[bad.keys[:n]] for n in range(len(bad.keys), 0, -1) if bad.keys[:n] in lines), 1)
        place = f"{where}:{line}" if lines else where
        raise UserError(f"{place}: {'.'.join(map(str, bad.keys)) or 'space'}: {bad}") from None


def _space(data: dict[str, Any], kind: type[S]) -> S:
    _check_keys(data, _KEYS, _KEYS[:6], ())
    at_reduction = data.get("identity_at_reduction", "absent")
    if at_reduction not in ("absent", "project"):
        raise _Bad(("identity_at_reduction",), f"{_shown(at_reduction)} is neither 'absent' nor 'project'")
    return kind(
        name=_name(data["name"]),
        stem=_stem(data["stem"]),
        stages=tuple(_stage(entry, i) for i, entry in enumerate(_entries(data, "stages", MAX_LAYERS))),
        choices=tuple(_choice(entry, i) for i, entry in enumerate(_entries(data, "choices", MAX_CHOICES))),
        act=_act(data["act"], ("act",)),
        head=_head(data["head"]),
        identity_at_reduction=at_reduction,
        input_size=_positive(data.get("input_size", 224), ("input_size",), MAX_INPUT_SIZE),
        num_classes=_positive(data.get("num_classes", 1000), ("num_classes",), MAX_CLASSES),
    )


def _check_layers(space: Structure) -> None:
    """What entries must not be together."""
    for index, choice in enumerate(space.choices):
        if choice in space.choices[:index]:
            raise _Bad(("choices", index), f"the same choice stands at {space.choices.index(choice)}")
    if space.head.act != space.stem.act:
        raise _Bad(("head", "act"), f"must be the stem's ({space.stem.act}): timm has one activation for both")
    if (depth := sum(stage.depth for stage in space.stages)) > MAX_LAYERS:
        raise _Bad(("stages",), f"{depth} layers in all are more than {MAX_LAYERS}")
    if space.identity is not None and not space.stem.separable and all(layer.keeps_shape for layer in space.layers):
        raise _Bad(("stages",), "every layer may be an identity and then no block is left: let one change the shape")
    for layer in space.layers:
        if not layer.choices:
            reason = "a layer that changes the shape has no choice but identity, which cannot stand there"
            raise _Bad(("choices",), reason)
        for index in layer.choices:
            choice = space.choices[index]
            if choice.se and not choice.se_channels(layer.in_channels):
                share = f"{choice.se} of layer {layer.index}'s {layer.in_channels * choice.expand} channels"
                raise _Bad(("choices", index, "se"), f"{share} rounds to none")


def _stem(entry: Any) -> Stem:
    _check_keys(entry, ("channels", "stride", "act", "separable"), ("channels", "stride", "act"), ("stem",))
    separable = entry.get("separable")
    return Stem(
        _channels(entry["channels"], ("stem", "channels")),
        _one_of(entry["stride"], (1, 2), ("stem", "stride")),
        _act(entry["act"], ("stem", "act")),
        None if separable is None else _channels(separable, ("stem", "separable")),
    )


def _head(entry: Any) -> Head:
    _check_keys(entry, ("channels", "act"), ("channels", "act"), ("head",))
    return Head(_channels(entry["channels"], ("head", "channels")), _act(entry["act"], ("head", "act")))


def _stage(entry: Any, index: int) -> Stage:
    keys = ("stages", index)
    _check_keys(entry, ("channels", "depth", "stride"), ("channels", "depth", "stride"), keys)
    return Stage(
        _channels(entry["channels"], (*keys, "channels")),
        _positive(entry["depth"], (*keys, "depth"), MAX_LAYERS),
        _one_of(entry["stride"], (1, 2), (*keys, "stride")),
    )


def _choice(entry: Any, index: int) -> Choice:
    keys = ("choices", index)
    if entry == "identity":
        return IDENTITY
    _check_keys(entry, ("kernel", "expand", "se"), ("kernel", "expand"), keys)
    se = entry.get("se", 0.0)
    if isinstance(se, bool) or not isinstance(se, int | float) or not 0 <= se <= 1:
        raise _Bad((*keys, "se"), f"{_shown(se)} is not a ratio between 0 and 1")
    kernel = _one_of(entry["kernel"], KERNELS, (*keys, "kernel"))
    expand = _positive(entry["expand"], (*keys, "expand"), MAX_EXPAND)
    if expand == 1:
        raise _Bad((*keys, "expand"), "must be 2 or more: an inverted residual without an expansion is another block")
    return Choice(kernel, expand, float(se))


def _check_keys(entry: Any, known: Sequence[str], needed: Sequence[str], keys: Keys) -> None:
    if not isinstance(entry, Mapping):
        raise _Bad(keys, f"{_shown(entry)} is not a mapping with the keys {', '.join(known)}")
    for key in entry:
        if key not in known:
            raise _Bad((*keys, _shown(key).strip("'")), f"unknown key; known are {', '.join(known)}")
    for key in needed:
        if key not in entry:
            raise _Bad(keys, f"key {key!r} is missing")


def _entries(data: Mapping[str, Any], key: str, most: int) -> Sequence[Any]:
    entries = data[key]
    if not isinstance(entries, list | tuple) or not entries:
        raise _Bad((key,), "must be a list of at least one entry")
    if len(entries) > most:
        raise _Bad((key,), f"{len(entries)} entries are more than {most}")
    return entries


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 100:
        raise _Bad(("name",), f"{_shown(value)} is not a name of 1 to 100 printable characters")
    return value


def _positive(value: Any, keys: Keys, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _Bad(keys, f"{_shown(value)} is not a positive whole number")
    if value > most:
        raise _Bad(keys, f"{_shown(value)} is more than {most}")
    return value


def _channels(value: Any, keys: Keys) -> int:
    if _positive(value, keys, MAX_CHANNELS) % 8:
        raise _Bad(keys, f"{value} is not a multiple of 8, to which timm rounds channels")
    return int(value)


def _one_of(value: Any, allowed: Sequence[int], keys: Keys) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise _Bad(keys, f"{_shown(value)} is not one of {', '.join(map(str, allowed))}")
    return value


def _act(value: Any, keys: Keys) -> str:
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise _Bad(keys, f"{_shown(value)} is not one of {', '.join(ACTIVATIONS)}")
    return value


def _shown(value: Any) -> str:
    """A bad value as a message shows it: in one line, however long it is."""
    return reprlib.repr(value)
