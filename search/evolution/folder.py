"""The folder of a search: what each generation writes, and what the next search in the folder may keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from scarlet_models.files import lock, remove, write_json, write_text
from scarlet_models.options import names_with
from scarlet_models.training.environment import FREE_ENVIRONMENT
from scarlet_models.training.run_folder import Events, MetricsTable, plain, refuse_changes


class SearchFolder:
    """config.yaml, env.json, generations/, metrics.csv, TensorBoard events and search.json of a search.

    A search is a pure function of its options and of what it measures, so it resumes by running again over
    evaluations.jsonl. Opening the folder therefore removes all other files of an earlier search. Resuming differs in
    one thing: it refuses other options.

    Args:
        path: The folder.
        options: Options of the search.
        environment: The machine and versions, from `run_folder.describe_environment`.
        resume: Refuse options or an environment other than those in the folder; the number of generations may change.
        allow_drift: Accept them even so.

    Raises:
        UserError: Something changed, or the folder cannot be written.
    """

    def __init__(self, path: Path, options: Any, environment: dict[str, Any], resume: bool, allow_drift: bool) -> None:
        self.path, config = path, plain(asdict(options) | dict.fromkeys(names_with(options, "once"), False))
        lock(path)
        if resume and ((path / "config.yaml").exists() or (path / "evaluations.jsonl").exists()):
            refuse_changes(path / "config.yaml", config, names_with(options, "free"), allow_drift)
            refuse_changes(path / "env.json", environment, FREE_ENVIRONMENT, allow_drift)
        for name in ("search.json", "metrics.csv", "front.png", "hypervolume.png"):
            remove(path / name)
        for file in [*(path / "generations").glob("*.json"), *(path / "events").glob("events.*")]:
            remove(file)
        write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        self.write_json("env.json", environment)
        self.metrics = MetricsTable(path / "metrics.csv", 0)
        self.events = Events(path / "events")

    def record(self, generation: int, content: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Write a generation's file, and its row in metrics.csv and TensorBoard; None is an empty cell."""
        self.write_json(f"generations/{generation:04d}.json", content)
        self.metrics.append({key: "" if value is None else value for key, value in row.items()})
        for key, value in row.items():
            if value is not None and key != "generation":
                self.events.add_scalar(key, value, generation)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        write_json(self.path / name, content, indent=1)

    def close(self) -> None:
        """Close the TensorBoard events."""
        self.events.close()
