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

from .options import EvolveOptions


class SearchFolder:
    """config.yaml, env.json, generations/, metrics.csv, TensorBoard events and search.json of a search.

    A search is a pure function of its options and of what it measures, so it resumes by running again over
    evaluations.jsonl. Opening the folder therefore removes all other files of an earlier search. Resuming differs in
    one thing: it refuses options or an environment other than those in the folder, except the number of generations.

    Args:
        options: Options of the search.
        environment: The machine and versions, from `run_folder.describe_environment`.

    Raises:
        UserError: Something changed, or the folder cannot be written.
    """

    def __init__(self, options: EvolveOptions, environment: dict[str, Any]) -> None:
        self.path = path = Path(options.out)
        config = plain(asdict(options) | dict.fromkeys(names_with(options, "once"), False))
        lock(path)
        if options.resume and ((path / "config.yaml").exists() or (path / "evaluations.jsonl").exists()):
            refuse_changes(path / "config.yaml", config, names_with(options, "free"), options.allow_drift)
            refuse_changes(path / "env.json", environment, FREE_ENVIRONMENT, options.allow_drift)
        old = [path / name for name in ("search.json", "metrics.csv", "front.png", "hypervolume.png")]
        for file in [*old, *(path / "generations").glob("*.json"), *(path / "events").glob("events.*")]:
            remove(file)
        write_text(path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        write_json(path / "env.json", environment, indent=1)
        self.metrics = MetricsTable(path / "metrics.csv", 0)
        self.events = Events(path / "events")

    def record(self, generation: int, content: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Write a generation's file, and its row in metrics.csv and TensorBoard; None is an empty cell."""
        write_json(self.path / f"generations/{generation:04d}.json", content, indent=1)
        self.metrics.append({key: "" if value is None else value for key, value in row.items()})
        for key, value in row.items():
            if value is not None and key != "generation":
                self.events.add_scalar(key, value, generation)

    def finish(self, report: Mapping[str, Any]) -> None:
        """Write search.json, and close the TensorBoard events."""
        write_json(self.path / "search.json", report, indent=1)
        self.events.close()
