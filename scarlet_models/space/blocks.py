"""The parts of a search space: the choices of a layer, and what stands before, between and behind the layers."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVATIONS = {"relu": "re", "relu6": "r6", "hard_swish": "hs", "silu": "sw"}  # name in timm.layers -> in block strings
KERNELS = (3, 5, 7)


@dataclass(frozen=True)
class Choice:
    """What a searchable layer can be: an inverted residual, or the identity (`kernel` and `expand` are then 1)."""

    kernel: int = 1
    expand: int = 1
    se: float = 0.0  # reduced channels of squeeze-and-excitation, as a share of the expanded channels; 0 is none
    identity: bool = False

    def __str__(self) -> str:
        if self.identity:
            return "identity"
        return f"e{self.expand} k{self.kernel}" + (" se" if self.se else "")

    @property
    def se_of_input(self) -> float:
        """Reduced channels of squeeze-and-excitation as a share of the block's input channels, as in block strings."""
        return float(f"{self.se * self.expand:g}")

    def se_channels(self, in_channels: int) -> int:
        """Reduced channels of squeeze-and-excitation in a block of `in_channels`, as timm rounds them."""
        return round(in_channels * self.expand * (self.se_of_input / self.expand))


IDENTITY = Choice(identity=True)


@dataclass(frozen=True)
class Stem:
    """First 3x3 convolution, and the separable convolution behind it (`separable` output channels, or None)."""

    channels: int
    stride: int
    act: str
    separable: int | None = None


@dataclass(frozen=True)
class Stage:
    """`depth` searchable layers of `channels`; the first has `stride`, the others 1."""

    channels: int
    depth: int
    stride: int


@dataclass(frozen=True)
class Head:
    """1x1 convolution before the global mean."""

    channels: int
    act: str


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
