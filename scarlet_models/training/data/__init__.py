"""Data sets of images: what is read and from where, checked and fingerprinted before training, decoded once."""

from .labelled import Decoded, LabelledImages, check_test_split

__all__ = ["Decoded", "LabelledImages", "check_test_split"]
