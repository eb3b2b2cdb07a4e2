"""The parts of a search space: the choices of a layer, and what stands before, between and behind the layers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Name in timm.layers -> in block strings
ACTIVATIONS = {"relu": "re", "relu6": "r6", "hard_swish": "hs", "silu": "sw", "mish": "mi"}
GATES = ("sigmoid", "hard_sigmoid")
KERNELS = (3, 5, 7)  # of the mapping form
MAX_EXPAND, MAX_KERNEL = 16, 31

# Kind of block -> arguments that must be given, and that may be
KINDS = {
    "ir": (("k", "e"), ("se",)),  # inverted residual
    "er": (("k", "e"), ("se",)),  # fused inverted residual
    "uir": (("k", "e"), ("a", "p", "se")),  # universal inverted bottleneck; kernel 0 leaves a depthwise convolution out
    "ds": (("k",), ("se",)),  # depthwise separable
    "dsa": (("k",), ("se",)),  # likewise, with a second activation
    "cn": (("k",), ()),  # convolution
}
_NO_SKIP = ("cn", "dsa")  # have no shortcut unless asked for
_WHOLE, _REAL = re.compile("[0-9]{1,4}"), re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?")
_NUMBERS = {"k": _WHOLE, "a": _WHOLE, "p": _WHOLE, "e": _REAL, "se": _REAL}
_FIELDS = {"k": "kernel", "e": "expand", "se": "se", "a": "start", "p": "end"}


class Convolution(NamedTuple):
    """A convolution without bias and the batch norm behind it."""

    in_channels: int
    channels: int
    kernel: int = 1
    strided: bool = False
    depthwise: bool = False


@dataclass(frozen=True)
class Choice:
    """What a layer can be: a block of timm's EfficientNet family without stride and channels, or identity."""

    kind: str = "identity"  # or one of `KINDS`
    kernel: int = 1  # of the convolution that strides; 0 in an `uir` without one in the middle
    expand: float = 1  # inner channels as a multiple of the input's
    se: float = 0.0  # reduced channels of squeeze-and-excitation as a multiple of the input's; 0 is none
    start: int = 0  # kernel of the depthwise convolution before the expansion of an `uir`; 0 is none
    end: int = 0  # likewise after its projection
    act: str = ""  # by its name in timm.layers; empty for the space's
    skip: bool = True  # whether the block has a shortcut where it keeps the shape
    short: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)  # the mapping it was written as

    @staticmethod
    def parse(text: str) -> "Choice":
        """A choice such as "ir_k5_e3_se0.25", timm's block string without stride and channels; else a ValueError."""
        kind, *words = text.split("_")
        if text == "identity":
            return IDENTITY
        if kind not in KINDS:
            raise ValueError(f"timm has no block {kind!r} that a layer can be; known are {', '.join(KINDS)}, identity")
        needed, optional = KINDS[kind]
        values: dict[str, Any] = {"skip": kind not in _NO_SKIP}
        for word in words:
            letter = word.rstrip("0123456789.")
            number = word.removeprefix(letter)
            name, acts = _FIELDS.get(letter), [name for name, code in ACTIVATIONS.items() if word == f"n{code}"]
            if word == ("skip" if kind == "cn" else "noskip") and kind != "dsa":
                values["skip"] = kind == "cn"
            elif acts:
                values["act"] = acts[0]
            elif letter in needed + optional and name not in values and _NUMBERS[letter].fullmatch(number):
                values[str(name)] = float(number) if letter in ("e", "se") else int(number)
            else:
                known = ", ".join([*needed, *optional, *(f"n{code}" for code in ACTIVATIONS.values())])
                raise ValueError(f"{word!r} in {text!r}: not what timm knows of {kind}, once each: {known}")
        if missing := [letter for letter in needed if _FIELDS[letter] not in values]:
            raise ValueError(f"{text!r} lacks {missing[0]} and its number: {kind} needs {' and '.join(needed)}")
        choice = Choice(kind, **values)
        kernels = [choice.kernel or int(kind == "uir"), choice.start or 1, choice.end or 1]
        if any(not kernel % 2 or kernel > MAX_KERNEL for kernel in kernels):
            raise ValueError(f"{text!r}: a kernel is odd and at most {MAX_KERNEL}")
        if not 0 < choice.expand <= MAX_EXPAND or choice.se > choice.expand:
            raise ValueError(f"{text!r}: e is above 0 and at most {MAX_EXPAND}, and se at most e")
        return choice

    @staticmethod
    def inverted_residual(expand: int, kernel: int, se: float = 0.0) -> "Choice":
        """The mapping form, in which `se` is a share of the expanded channels."""
        short = {"expand": expand, "kernel": kernel} | ({"se": se} if se else {})
        return Choice("ir", kernel, expand, float(f"{se * expand:g}"), short=short)

    def __str__(self) -> str:
        return f"e{self.expand} k{self.kernel}" + (" se" if self.se else "") if self.short else self.block

    @property
    def identity(self) -> bool:
        return self.kind == "identity"

    @property
    def block(self) -> str:
        """timm's block string without repeats, stride and channels."""
        return self.string("", "") if not self.identity else self.kind

    @property
    def plain(self) -> Any:
        """What a space's YAML says."""
        return dict(self.short) or self.block

    def string(self, stride: str, channels: str) -> str:
        """timm's block string; the arguments are its parts such as "s2" and "c40"."""
        parts = [
            f"{self.kind}_r1" if channels else self.kind,
            f"a{self.start}" if self.start else "",
            f"k{self.kernel}",
            f"p{self.end}" if self.end else "",
            stride,
            f"e{self.expand:g}" if "e" in KINDS[self.kind][0] else "",
            channels,
            f"se{self.se:g}" if self.se else "",
            f"n{ACTIVATIONS[self.act]}" if self.act else "",
            {(True, True): "skip", (False, False): "noskip"}.get((self.skip, self.kind in _NO_SKIP), ""),
        ]
        return "_".join(filter(None, parts))

    @property
    def strides(self) -> bool:
        """Whether the block can have a stride: timm's universal one cannot without a depthwise convolution."""
        return bool(self.kernel or self.start or self.end)

    def inner_channels(self, in_channels: int) -> int:
        """Channels between expansion and projection, in a block of `in_channels`."""
        return divisible(in_channels * self.expand)

    def se_channels(self, in_channels: int, divisor: int = 1) -> int:
        """Reduced channels of squeeze-and-excitation in a block of `in_channels`, as timm rounds them."""
        reduced = self.inner_channels(in_channels) * (self.se / self.expand)
        return round(reduced) if divisor == 1 else divisible(reduced, divisor)

    def convolutions(self, in_channels: int, channels: int) -> list[Convolution]:
        """The convolutions of a block, squeeze-and-excitation left out."""
        inside = self.inner_channels(in_channels)
        if self.kind in ("identity", "cn"):
            return [Convolution(in_channels, channels, self.kernel, strided=True)]
        if self.kind == "er":
            return [Convolution(in_channels, inside, self.kernel, strided=True), Convolution(inside, channels)]
        start, middle, end = self.start, self.kernel, self.end
        steps = (
            Convolution(in_channels, in_channels, start, strided=not middle, depthwise=True),
            Convolution(in_channels, inside, int(self.kind in ("ir", "uir"))),
            Convolution(inside, inside, middle, strided=True, depthwise=True),
            Convolution(inside, channels),
            Convolution(channels, channels, end, strided=not (start or middle), depthwise=True),
        )
        return [step for step in steps if step.kernel]


IDENTITY = Choice()


def divisible(value: float, divisor: int = 8) -> int:
    """The nearest multiple of the divisor, at least one and not below nine tenths of the value: timm's rounding."""
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest


@dataclass(frozen=True)
class Stem:
    """First 3x3 convolution, and the separable convolution behind it (`separable` output channels, or None)."""

    channels: int
    stride: int
    act: str = ""
    separable: int | None = None


@dataclass(frozen=True)
class SqueezeExcite:
    """Activations of squeeze-and-excitation, and what its reduced channels are a multiple of."""

    gate: str = "hard_sigmoid"
    act: str = "relu"
    divisor: int = 1


@dataclass(frozen=True)
class Stage:
    """`depth` searchable layers of `channels`; the first has `stride`, the others 1."""

    channels: int
    depth: int
    stride: int
    choices: tuple[int, ...] | None = None  # indices of those that the layers may have; None for all of the space's


@dataclass(frozen=True)
class Head:
    """1x1 convolution before the global mean, or behind it (`pool_first`), where a bias may stand for the norm."""

    channels: int
    act: str = ""
    pool_first: bool = False
    norm: bool = True


@dataclass(frozen=True)
class Layer:
    """A searchable layer: where it stands, its shape, and the choice indices allowed in it."""

    index: int
    stage: int
    in_channels: int
    out_channels: int
    stride: int
    choices: tuple[int, ...]

    @property
    def keeps_shape(self) -> bool:
        """Whether output and input have one shape, so that an identity needs no block."""
        return self.stride == 1 and self.in_channels == self.out_channels
