"""Latency tables: timing blocks on a device, and whether their sums predict networks."""
