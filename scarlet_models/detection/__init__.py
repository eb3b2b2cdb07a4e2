"""SCARLET networks as backbones of torchvision's detectors. Importing it imports torch."""

from .backbone import ScarletFPN
from .models import fasterrcnn_scarlet, retinanet_scarlet, ssdlite_scarlet

__all__ = ["ScarletFPN", "fasterrcnn_scarlet", "retinanet_scarlet", "ssdlite_scarlet"]
