"""A latency table of another device: its programs as a folder to take there, and the times that come back as a CSV."""

import csv
import json
from collections import defaultdict
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np

from scarlet_models.errors import UserError, first_line
from scarlet_models.export.options import SUFFIXES, program_format
from scarlet_models.files import write_bytes, write_json, write_text
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.progress import Progress

from .bench import Bench, compare, stratified
from .block_times import as_program, parts, samples_of
from .options import LatencyOptions
from .table import LatencyTable

MANIFEST = "manifest.json"
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
    """Write programs of the options' space, networks to compare with, manifest, script and instructions to a folder."""
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
    programs = [name for name, *_ in todo]
    write_json(folder / MANIFEST, {"space": bench.space.to_dict(), "programs": programs, "facts": bench.facts()})
    values = {"COMMAND": command, "PATTERN": _PATTERNS[options.runtime], "SUFFIX": suffix}
    values |= {"COUNT": str(len(todo)), "NETWORKS": str(len(networks))}
    for name in ("measure.sh", "README.md"):
        text = (resources.files(__package__) / f"elsewhere_{name}").read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        write_text(folder / name, text)
    return folder


def read_table(path: Path) -> LatencyTable:
    """The table of times measured elsewhere; rows of one program give their median.

    `path` is a CSV of programs and milliseconds in the folder that `emit` wrote. A UserError says what is missing.
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
                milliseconds = float(row["milliseconds"])
                if not 0 < milliseconds < float("inf"):
                    raise ValueError(f"{milliseconds} is no time in milliseconds")
                times[row["program"]].append(milliseconds)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{path}: {reason}; give the CSV in the folder that latency --emit wrote") from error
    if missing := [name for name in names if name not in times and not name.startswith(_NETWORK)]:
        raise UserError(f"{path} lacks the times of {len(missing)} programs, such as {missing[0]}: measure them too")
    facts = {**facts, "device": "elsewhere", "processor": path.name, "instructions": None, "load_before": None}
    table = samples_of(space, facts["image_size"], times).table(space, facts)
    networks = {name: times[name] for name in times if name.startswith(_NETWORK)}
    if len(networks) < 3:  # no rank correlation
        return table
    genotypes = [Genotype.parse(name.removeprefix(_NETWORK).replace("-", ","), space) for name in networks]
    measured = np.array([np.median(of_one) for of_one in networks.values()])
    return replace(table, validation=compare(table, genotypes, measured, min(map(len, networks.values()))))
