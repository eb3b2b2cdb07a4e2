"""A latency table of another device: its programs as a folder to take there, and the times that come back as a CSV."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_models.errors import UserError, first_line
from scarlet_models.export.options import SUFFIXES, program_format
from scarlet_models.files import write_bytes, write_json, write_text
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.progress import Progress

from .additivity import compare, stratified
from .bench import Bench, make_table
from .options import LatencyOptions
from .program_times import as_program, parts, samples_of
from .table import LatencyTable

MANIFEST, SCRIPT = "manifest.json", "measure.sh"
_NETWORK = "network-"
_COLUMNS = ["program", "milliseconds"]
_COMMANDS = {
    "executorch": "executor_runner --model_path=FILE --num_executions=100 --cpu_threads=THREADS --print_output=none",
    "onnxruntime": "onnxruntime_perf_test -I -m times -r 100 -x THREADS FILE",
}
# What the tools print, and which word of the line is the milliseconds.
_PATTERNS = {
    "executorch": "/executed successfully/ { for (i = 2; i <= NF; i++) if ($i ~ /^ms/) print $(i - 1) / 100 }",
    "onnxruntime": "/Average inference time cost/ { print $(NF - 1) }",
}


def emit(options: LatencyOptions) -> Path:
    """Write every program of the options' space, networks to compare with, manifest, script and instructions.

    Returns:
        The folder.

    Raises:
        UserError: A package is missing, or the folder cannot be written.
    """
    bench = Bench(SearchSpace.load(options.space), options)
    folder, suffix = Path(options.emit), SUFFIXES[program_format(options.runtime, options.dtype)]
    networks = stratified(bench.space, options.validate, options.seed) if options.validate else []
    todo = list(parts(bench.net(), bench.images))
    for network in networks:
        todo.append((_NETWORK + "-".join(map(str, network.choices)), bench.model(network), bench.images))
    with Progress(len(todo), 0, "programs") as progress:
        for name, module, images in todo:
            write_bytes(folder / (name + suffix), as_program(module, images, options).data)
            progress.advance("")
    command = _COMMANDS[options.runtime].replace("THREADS", str(options.threads or 1))
    if options.runtime == "onnxruntime" and options.batch_size > 1:
        command = command.replace(" -x", f" -f batch:{options.batch_size} -x")
    facts = {"space": bench.space.to_dict(), "programs": [name for name, *_ in todo], "facts": bench.facts()}
    write_json(folder / MANIFEST, facts)
    texts = resources.files(__package__)
    for name in (SCRIPT, "README.md"):
        text = (texts / f"elsewhere_{name}").read_text(encoding="utf-8")
        for key, value in (("COMMAND", command), ("PATTERN", _PATTERNS[options.runtime]), ("SUFFIX", suffix)):
            text = text.replace(f"@{key}@", value)
        write_text(folder / name, text.replace("@COUNT@", str(len(todo))).replace("@NETWORKS@", str(len(networks))))
    return folder


def read_table(path: Path) -> LatencyTable:
    """The table of times measured elsewhere; rows of one program give their median.

    Args:
        path: A CSV of programs and milliseconds, in the folder that `emit` wrote.

    Raises:
        UserError: The CSV or the folder's manifest cannot be read, or times are missing.
    """
    times: dict[str, list[float]] = defaultdict(list)
    try:
        manifest = json.loads((path.parent / MANIFEST).read_text(encoding="utf-8"))
        space, facts, names = SearchSpace.load(manifest["space"]), manifest["facts"], manifest["programs"]
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames != _COLUMNS:
                raise UserError(f"{path}: its columns are not {', '.join(_COLUMNS)}")
            for row in rows:
                times[row["program"]].append(_positive(row["milliseconds"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{path}: {reason}; give the CSV in the folder that latency --emit wrote") from error
    needed = [name for name in names if not name.startswith(_NETWORK)]
    if missing := [name for name in needed if name not in times]:
        raise UserError(f"{path} lacks the times of {len(missing)} programs, such as {missing[0]}: measure them too")
    facts = {**facts, "device": "elsewhere", "processor": path.name, "instructions": None, "load_before": None}
    table = make_table(space, facts["image_size"], samples_of(space, facts["image_size"], times), facts)
    return _validated(table, {name: np.median(times[name]) for name in times if name.startswith(_NETWORK)}, times)


def _validated(table: LatencyTable, measured: dict[str, Any], times: dict[str, list[float]]) -> LatencyTable:
    if len(measured) < 3:  # no rank correlation
        return table
    networks = [Genotype.parse(name.removeprefix(_NETWORK).replace("-", ","), table.space) for name in measured]
    validation = compare(table, networks, np.array(list(measured.values())), min(len(times[name]) for name in measured))
    return LatencyTable(table.space, table.base, table.blocks, table.facts, validation)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(f"{text} is no time in milliseconds")
    return value
