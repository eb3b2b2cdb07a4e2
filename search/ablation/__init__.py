"""Supernets with and without stabilizers over seeds, measured in cells."""
