"""Reading search spaces: by name, from a YAML file, or from a mapping. A mistake is named with its file and line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from importlib.resources import files
from pathlib import Path
from reprlib import repr as shown  # in one line, however long the value is
from typing import Any, TypeVar

from scarlet_models.documents import MAX_YAML, Keys, parse_yaml_and_lines, read_text
from scarlet_models.errors import UserError

from .blocks import ACTIVATIONS, GATES, KERNELS, MAX_EXPAND, Choice, Head, SqueezeExcite, Stage, Stem
from .structure import IDENTITY_AT, Structure

# Generous, and such that costs fit int64 and sizes fit a float.
MAX_LAYERS, MAX_CHOICES = 100, 100
MAX_CHANNELS = 8_192
MAX_INPUT_SIZE, MAX_CLASSES = 4_096, 1_000_000

_SPACES = files("scarlet_models.space") / "spaces"

S = TypeVar("S", bound=Structure)
Reader = Callable[[Any, Keys], Any]  # (value, its keys) -> what a space holds


def names() -> list[str]:
    """Names of the spaces that come with the package."""
    return sorted(entry.name[:-5] for entry in _SPACES.iterdir() if entry.name.endswith(".yaml"))


def read_space(source: str | Path | Mapping[str, Any], kind: type[S]) -> S:
    """A space of class `kind` by name, from a YAML file, or from a mapping of the same content."""
    if isinstance(source, Mapping):
        return _checked(dict(source), "space", {}, kind)
    where = str(source)
    try:
        shipped = where in names()
        text = (_SPACES / f"{where}.yaml").read_text(encoding="utf-8") if shipped else read_text(where, MAX_YAML)
    except UserError as error:
        reason = str(error).removeprefix(f"{where}: ")
        hint = f"give one of {', '.join(names())}, a YAML file or a network of timm"
        raise UserError(f"no search space {where!r} ({reason}): {hint}") from None
    where = f"{where}.yaml" if shipped else where
    data, lines = parse_yaml_and_lines(text, where)
    if not isinstance(data, dict):
        raise UserError(f"{where}:1: a search space is a mapping with the keys {', '.join(_SPACE)}")
    return _checked(data, where, lines, kind)


class _Bad(Exception):
    """The keys of a bad entry, and what is wrong; `_checked` turns it into a UserError that names the line."""


def _checked(data: dict[str, Any], where: str, lines: dict[Keys, int], kind: type[S]) -> S:
    try:
        if (at := data.pop("identity_at_reduction", None)) is not None:  # what spaces of earlier studies say
            data["identity_at"] = {"absent": "same_shape", "project": "everywhere"}.get(str(at), at)
        space = kind(**_indexed(_fields(data, (), _SPACE, ["choices", *_defaults(kind)])))
        _check_layers(space)
        return space
    except _Bad as bad:
        keys, message = bad.args
        line = next((lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in lines), 1)
        position = f"{where}:{line}" if lines else where
        raise UserError(f"{position}: {'.'.join(map(str, keys)) or 'space'}: {message}") from None


def _indexed(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a space: its choices are those of all stages, and each stage holds the indices of its own."""
    common = given.get("choices", ())
    own = [stage.choices for stage in given["stages"]]
    if not common and None in own:
        raise _Bad(("choices",), f"missing, and stage {own.index(None)} has none of its own")
    choices = tuple(dict.fromkeys([*common, *(choice for each in own for choice in each or ())]))
    if len(choices) > MAX_CHOICES:
        raise _Bad(("stages",), f"{len(choices)} different choices in all are more than {MAX_CHOICES}")
    stages = given["stages"]
    if any(own):
        indices = [tuple(sorted(map(choices.index, common if each is None else each))) for each in own]
        stages = tuple(replace(stage, choices=each) for stage, each in zip(stages, indices, strict=True))
    ends = {end: replace(given[end], act=given[end].act or given["act"]) for end in ("stem", "head")}
    return given | ends | {"stages": stages, "choices": choices}


def _check_layers(space: Structure) -> None:
    """Refuse entries that are good by themselves, but not together."""
    if space.head.act != space.stem.act:
        raise _Bad(("head", "act"), f"must be the stem's ({space.stem.act}): timm has one activation for both")
    if space.head.pool_first and space.stem.stride == 1:
        raise _Bad(("head", "pool_first"), "timm's network with this head has a stem of stride 2")
    if not (space.head.norm or space.head.pool_first):
        raise _Bad(("head", "norm"), "may be false only with pool_first: true")
    if (depth := sum(stage.depth for stage in space.stages)) > MAX_LAYERS:
        raise _Bad(("stages",), f"{depth} layers in all are more than {MAX_LAYERS}")
    if not space.stem.separable and all(x.keeps_shape and space.identity in x.choices for x in space.layers):
        raise _Bad(("stages",), "every layer may be an identity and then no block is left: let one change the shape")
    for layer in space.layers:
        if not any(space.has_block(layer, index) for index in layer.choices):
            raise _Bad(("choices",), f"layer {layer.index} has no choice but identity that can stand there")
        for index in layer.choices:
            choice = space.choices[index]
            if choice.se and not choice.se_channels(layer.in_channels, space.se.divisor):
                share = choice.short.get("se", f"{choice.se:g} / {choice.expand:g}")
                inside = f"{share} of layer {layer.index}'s {choice.inner_channels(layer.in_channels)} channels"
                raise _Bad(("choices", index, "se"), f"{inside} rounds to none")


def _fields(entry: Any, keys: Keys, readers: Mapping[str, Reader], optional: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a mapping, each by its reader. An optional one that is absent or null is left to its default."""
    if not isinstance(entry, Mapping):
        raise _Bad(keys, f"{shown(entry)} is not a mapping with the keys {', '.join(readers)}")
    for key in entry:
        if key not in readers:
            raise _Bad((*keys, shown(key).strip("'")), f"unknown key; known are {', '.join(readers)}")
    for key in readers:
        if key not in entry and key not in optional:
            raise _Bad(keys, f"key {key!r} is missing")
    given = {key: read for key, read in readers.items() if not (key in optional and entry.get(key) is None)}
    return {key: read(entry[key], (*keys, key)) for key, read in given.items()}


def _list_of(read: Reader, most: int) -> Reader:
    def read_list(entries: Any, keys: Keys) -> tuple[Any, ...]:
        if not isinstance(entries, list | tuple) or not entries:
            raise _Bad(keys, "must be a list of at least one entry")
        if len(entries) > most:
            raise _Bad(keys, f"{len(entries)} entries are more than {most}")
        return tuple(read(entry, (*keys, index)) for index, entry in enumerate(entries))

    return read_list


def _must_be(what: str, good: Callable[[Any], bool]) -> Reader:
    """Reads a value as it is, if it is good."""

    def read(value: Any, keys: Keys) -> Any:
        if not good(value):
            raise _Bad(keys, f"{shown(value)} is not {what}")
        return value

    return read


def _one_of(*allowed: str | int) -> Reader:
    known = f"one of {', '.join(map(str, allowed))}"
    return _must_be(known, lambda value: type(value) in (str, int) and value in allowed)


_flag = _must_be("true or false", lambda value: isinstance(value, bool))
_name = _must_be(
    "a name of 1 to 100 printable characters",
    lambda value: isinstance(value, str) and value.isprintable() and 0 < len(value) <= 100,
)
_share = _must_be("a ratio between 0 and 1", lambda value: type(value) in (int, float) and 0 <= value <= 1)
_whole = _must_be("a positive whole number", lambda value: type(value) is int and value > 0)


def _positive(most: int, good: Callable[[int], bool] = bool, wrong: str = "") -> Reader:
    """Reads a positive whole number that is good; `wrong` says what others are."""

    def read(value: Any, keys: Keys) -> int:
        if _whole(value, keys) > most:
            raise _Bad(keys, f"{shown(value)} is more than {most}")
        if not good(value):
            raise _Bad(keys, wrong.format(value))
        return int(value)

    return read


_channels = _positive(MAX_CHANNELS, lambda n: n % 8 == 0, "{} is not a multiple of 8, to which timm rounds channels")
_expand = _positive(MAX_EXPAND, lambda n: n > 1, "must be 2 or more; without an expansion it is the block string ds_k3")


def _choice(entry: Any, keys: Keys) -> Choice:
    if isinstance(entry, Mapping):
        readers = {"kernel": _one_of(*KERNELS), "expand": _expand, "se": _share}
        return Choice.inverted_residual(**_fields(entry, keys, readers, optional=("se",)))
    try:
        return Choice.parse(entry if isinstance(entry, str) else shown(entry))
    except ValueError as error:
        raise _Bad(keys, str(error)) from None


def _choices(entries: Any, keys: Keys) -> tuple[Choice, ...]:
    choices: tuple[Choice, ...] = _list_of(_choice, MAX_CHOICES)(entries, keys)
    for index, choice in enumerate(choices):
        if choice in choices[:index]:
            raise _Bad((*keys, index), f"the same choice stands at {choices.index(choice)}")
    return choices


def _defaults(kind: type) -> list[str]:
    return [field.name for field in fields(kind) if field.default is not MISSING]


def _part(kind: type, **readers: Reader) -> Reader:
    return lambda entry, keys: kind(**_fields(entry, keys, readers, _defaults(kind)))


_act, _stride = _one_of(*ACTIVATIONS), _one_of(1, 2)
_stem = _part(Stem, channels=_channels, stride=_stride, act=_act, separable=_channels)
_stage = _part(Stage, channels=_channels, depth=_positive(MAX_LAYERS), stride=_stride, choices=_choices)
_head = _part(Head, channels=_channels, act=_act, pool_first=_flag, norm=_flag)
_gate = _part(SqueezeExcite, gate=_one_of(*GATES), act=_act, divisor=_one_of(1, 8))
_SPACE: dict[str, Reader] = {
    "name": _name,
    "stem": _stem,
    "stages": _list_of(_stage, MAX_LAYERS),
    "choices": _choices,
    "act": _act,
    "head": _head,
    "se": _gate,
    "norm_eps": _share,
    "pad": _one_of("", "same"),
    "identity_at": _one_of(*IDENTITY_AT),
    "input_size": _positive(MAX_INPUT_SIZE),
    "num_classes": _positive(MAX_CLASSES),
}
