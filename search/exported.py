"""Folders with a trained network: the names that the search gives to scarlet_models.saving."""

from scarlet_models.saving import load as load_exported
from scarlet_models.saving import save as save_exported

__all__ = ["load_exported", "save_exported"]
