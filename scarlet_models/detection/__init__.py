"""SCARLET networks as backbones of torchvision's detectors. Importing it imports torch."""

from scarlet_models.detection.backbone import ScarletFPN
from scarlet_models.detection.models import fasterrcnn_scarlet, retinanet_scarlet, ssdlite_scarlet

__all__ = ["ScarletFPN", "fasterrcnn_scarlet", "retinanet_scarlet", "ssdlite_scarlet"]
