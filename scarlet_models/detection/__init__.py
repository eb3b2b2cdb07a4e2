"""SCARLET networks as backbones of torchvision's detectors, their training and their evaluation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models import ScarletFPN, fasterrcnn_scarlet, retinanet_scarlet, ssdlite_scarlet

__all__ = ["ScarletFPN", "fasterrcnn_scarlet", "retinanet_scarlet", "ssdlite_scarlet"]


def __getattr__(name: str) -> Any:
    """Imports what needs torch when it is first used, so that options of commands are read without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import models

    return getattr(models, name)
