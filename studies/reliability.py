"""Trials behind docs/reliability.md: runs that are killed, starved of disk, damaged, doubled, signalled.

    python studies/reliability.py run crash --share 0.1   # a tenth of the trials that are not done yet
    python studies/reliability.py run                     # all kinds, all trials
    python studies/reliability.py table                   # writes the table into docs/reliability.md

Each trial is a row of docs/results/reliability/KIND.csv, written when it ends. What succeeded is not
done again, so the script can be interrupted and run longer. Seeds are fixed: a trial of a number is the same each time.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import study
import torch
from crashes import Fault, Outcome, commands, count_operations, debris, digest, jump_clock, run, start

from scarlet_models.training.checkpoint import list_checkpoints

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "docs/results/reliability", ROOT / "docs/reliability.md"
GOOD = "ok"
HUNG = 20  # seconds to answer a damaged file in
SPARE = 3  # file operations that a run may do without: the thread of the TensorBoard events joins its writes

WHAT = {
    "crash": "SIGKILL before a file operation, then `--resume`: same result, nothing left over",
    "full": "the disk is full from a file operation on: one line; then `--resume`: same result",
    "readonly": "the disk is read-only from a file operation on: one line; then `--resume`: same result",
    "damage": "a file of the run is damaged or deleted, then `--resume`, `report`: success or one line in 20 s",
    "checkpoint": "the newest checkpoint is damaged: same result; both are: one line",
    "two": "two processes start in one folder at once: one runs, one is refused; same result",
    "clock": "the wall clock jumps by up to a day at each look: same result",
    "signal": "SIGINT or SIGTERM at a random moment: 130 or 143, the line that resumes; then `--resume`: same result",
    "ranks": "of two ranks one is killed or stopped, or torchrun is killed: all end, with one line",
    "fuzz": "generated genotypes, spaces, COCO files, configs, manifests, scores, tables: data or one line",
}
DAMAGES: dict[str, bytes | None] = {
    "deleted": None,
    "empty": b"",
    "half": b"half",
    "binary": bytes(range(256)),
    "number": b"5\n",
    "list": b"[]\n",
    "mapping": b"{}\n",
    "infinite": b'{"top1": 1e999, "step": NaN}\n',
    "deep": b"[" * 5000,
    "row": b"step,top1\nx,y\n",
}


class Trials:
    """The commands, their uninterrupted results, and the trials of each kind.

    Args:
        root: Folder for data and runs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands = commands(root)
        self._whole: dict[str, tuple[str, int]] = {}

    def whole(self, name: str) -> tuple[str, int]:
        """Digest and number of file operations of a command that nothing interrupts. Its folder is whole_NAME/run."""
        if name not in self._whole:
            out = self.root / f"whole_{name}/run"
            shutil.rmtree(out, ignore_errors=True)
            operations = count_operations(self.line(name, out), out)
            self._whole[name] = digest(out), operations
        return self._whole[name]

    def line(self, name: str, out: Path, *more: str) -> list[str]:
        """A command's line with its folder."""
        return [*self.commands[name], "--out", str(out), *more]

    def names(self, kind: str) -> Iterator[str]:
        """The trials of a kind, by name: command, and which."""
        for name in self.commands:
            if kind in ("crash", "full", "readonly"):
                yield from (f"{name} {point}" for point in range(1, self.whole(name)[1] + 1))
            elif kind == "damage":
                self.whole(name)
                files = sorted(path.relative_to(self.root / f"whole_{name}/run") for path in self._files(name))
                yield from (f"{name} {file} {damage}" for file in files for damage in DAMAGES)
            elif kind == "checkpoint" and name != "evolve":
                yield from (f"{name} {which} {damage}" for which in ("newest", "both") for damage in DAMAGES)
            elif kind in ("two", "clock"):
                yield from (f"{name} {number}" for number in range(10 if kind == "two" else 3))
            elif kind == "signal":
                yield from (f"{name} {sent} {number}" for sent in ("SIGINT", "SIGTERM") for number in range(15))
        if kind == "ranks":
            yield from (f"{what} {number}" for what in ("killed", "stopped", "torchrun") for number in range(3))
        if kind == "fuzz":
            yield from FUZZED

    def _files(self, name: str) -> list[Path]:
        whole = self.root / f"whole_{name}/run"
        kinds = ("*.yaml", "*.json", "*.jsonl", "*.csv", "*.safetensors", "checkpoints/*", "exported/*/*")
        return [path for kind in kinds for path in whole.glob(kind) if path.suffix != ".pt"]

    def carry_out(self, kind: str, trial: str, examples: int) -> str:
        """Carry out a trial. Return `GOOD`, or what went wrong."""
        if kind == "fuzz":
            return fuzz(trial, examples)
        if kind == "ranks":
            return self.ranks(trial)
        name, *rest = trial.split()
        out = self.root / "trial/run"
        shutil.rmtree(out, ignore_errors=True)
        method = self.fault if kind in ("crash", "full", "readonly") else getattr(self, kind)
        return str(method(name, out, kind, *rest))

    def fault(self, name: str, out: Path, kind: str, point: str) -> str:
        """A run that is killed, or whose disk fails; then its resuming."""
        fault = Fault("kill" if kind == "crash" else kind, int(point), out)
        ended = run(self.line(name, out), fault)
        done = ended.status == 0 and (kind == "full" or int(point) > self.whole(name)[1] - SPARE)
        expected = ended.status == -signal.SIGKILL if kind == "crash" else ended.is_one_line
        if not (done or expected):
            return describe(ended)
        return self.resume(name, out)

    def resume(self, name: str, out: Path) -> str:
        """Resume a run, and compare what it leaves."""
        resumed = run(self.line(name, out, "--resume"))
        if resumed.status:
            return f"resuming: {describe(resumed)}"
        if left := debris(out):
            return f"left over: {left[0].relative_to(out)}"
        return GOOD if digest(out) == self.whole(name)[0] else "another result"

    def damage(self, name: str, out: Path, kind: str, file: str, damage: str) -> str:
        """A finished run with one damaged file, resumed and reported."""
        self.whole(name)
        for line in (self.line(name, out, "--resume"), ["scarlet-search", "report", str(out)]):
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(self.root / f"whole_{name}/run", out)
            spoil(out / file, damage)
            ended = run(line)
            if not (ended.is_one_line or (ended.status == 0 and "Traceback" not in ended.error)):
                return f"{line[1]}: {describe(ended)}"
            if ended.cpu > HUNG:
                return f"{line[1]}: {ended.cpu:.0f} s of the CPU"
        return GOOD

    def checkpoint(self, name: str, out: Path, kind: str, which: str, damage: str) -> str:
        """A finished run without its last checkpoint, or both."""
        self.whole(name)
        shutil.copytree(self.root / f"whole_{name}/run", out)
        for path in list_checkpoints(out / "checkpoints")[: 1 if which == "newest" else 2]:
            spoil(path, damage)
        if which == "newest" or damage == "deleted":
            return self.resume(name, out)
        ended = run(self.line(name, out, "--resume"))
        return GOOD if ended.is_one_line and "is damaged" in ended.error else describe(ended)

    def two(self, name: str, out: Path, kind: str, number: str) -> str:
        """Two processes at once."""
        both = [start(self.line(name, out, "--resume")) for _ in range(2)]
        ends = sorted((process.wait() for process in both), key=lambda ended: ended.status)
        if [ended.status for ended in ends] == [0, 2] and "is in use by process" in ends[1].error:
            return GOOD if digest(out) == self.whole(name)[0] else "another result"
        return " / ".join(map(describe, ends))

    def clock(self, name: str, out: Path, kind: str, number: str) -> str:
        """A run whose clock jumps."""
        ended = run(self.line(name, out), before=jump_clock)
        if ended.status:
            return describe(ended)
        return GOOD if digest(out) == self.whole(name)[0] else "another result"

    def signal(self, name: str, out: Path, kind: str, sent: str, number: str) -> str:
        """A run that gets a signal at a moment drawn from the time that a run takes."""
        self.whole(name)
        draw = random.Random(f"{name} {sent} {number}")
        usual = run(self.line(name, out)).seconds
        shutil.rmtree(out)
        wanted = getattr(signal, sent)
        process = start(self.line(name, out))
        time.sleep(draw.uniform(0.05, 0.95) * usual)
        process.send(wanted)
        ended = process.wait()
        if ended.status == 0 and digest(out) == self.whole(name)[0]:
            return GOOD  # it was done before
        early = ended.status == -signal.SIGTERM and not out.exists()  # nothing was there to be kept
        if ended.status != 128 + wanted and not early:
            return describe(ended)
        if "Traceback" in ended.error or ((out / "config.yaml").exists() and "--resume" not in ended.error):
            return describe(ended)
        return self.resume(name, out)

    def ranks(self, trial: str) -> str:
        """A training of two ranks whose other rank, or launcher, goes."""
        what, _ = trial.split()
        out = self.root / "ranks"
        shutil.rmtree(out, ignore_errors=True)
        program = str(Path(sys.executable).with_name("scarlet-models"))
        line = [program, *self.line("train", out, "--epochs", "2000")[1:]]
        torchrun = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "--no-python",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "SCARLET_RANK_TIMEOUT": "10"}
        with tempfile.TemporaryFile("w+") as error:
            process = subprocess.Popen([*torchrun, *line], stderr=error, env=environment, start_new_session=True)
            try:
                deadline = time.monotonic() + 120
                while not list_checkpoints(out / "checkpoints"):
                    if process.poll() is not None or time.monotonic() > deadline:
                        return "no checkpoint"
                    time.sleep(0.1)
                ranks = _ranks(process.pid)
                victim = process.pid if what == "torchrun" else ranks[1]
                os.kill(victim, signal.SIGSTOP if what == "stopped" else signal.SIGKILL)
                deadline = time.monotonic() + 100
                while any(map(_is_alive, ranks)):
                    if time.monotonic() > deadline:
                        return "a rank goes on"
                    time.sleep(0.1)
                process.wait(60)
                error.seek(0)
                said = error.read()
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        told = {"torchrun": "torchrun is gone", "stopped": "did not answer"}.get(what, "")
        ours = re.search(r'File "\S*/scarlet_models/.*', said)  # torchrun's own traceback is not ours
        return GOOD if told in said and not ours else f"says {(ours or [said])[0][-300:]!r}"


FUZZED = ("genotypes", "spaces", "coco", "configs", "manifests", "evaluations", "tables", "documents")


def fuzz(what: str, examples: int) -> str:
    """One of the generated tests, with many examples."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/reliability/test_fuzz.py", "-k", what]
    environment = {**os.environ, "SCARLET_FUZZ": str(examples)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return f"{GOOD} {examples}" if done.returncode == 0 else done.stdout[-300:]


def spoil(path: Path, damage: str) -> None:
    """Damage a file."""
    content = DAMAGES[damage]
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == b"half" else content)


def describe(ended: Outcome) -> str:
    """An outcome in one line."""
    return f"status {ended.status}, says {' '.join(ended.error.split())[-300:]!r}"


def _ranks(launcher: int) -> list[int]:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return sorted(map(int, children))


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def read(kind: str) -> dict[str, dict[str, str]]:
    """The last row of each trial of a kind that is done."""
    return {row["trial"]: row for row in study.read(RESULTS / f"{kind}.csv")}


def is_done(row: dict[str, str], examples: int) -> bool:
    """Whether a trial succeeded; one of generated tests with at least that many examples."""
    good, _, tried = row.get("result", "").partition(" ")
    return good == GOOD and int(tried or examples) >= examples


def carry_out(kinds: list[str], share: float, examples: int, root: Path) -> None:
    """Carry out the trials that are not done, in an order drawn once."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    trials = Trials(root)
    for kind in kinds:
        names = list(trials.names(kind))
        random.Random(0).shuffle(names)
        done = read(kind)
        asked = names[: round(share * len(names) + 0.5)]
        left = [name for name in asked if not is_done(done.get(name, {}), examples)]
        for name in left:
            started = time.monotonic()
            result = trials.carry_out(kind, name, examples)
            row = {"trial": name, "result": result, "seconds": str(round(time.monotonic() - started, 1))}
            path = RESULTS / f"{kind}.csv"
            study.write(path, [*study.read(path), row | {"machine": machine()}])
            if not result.startswith(GOOD):
                print(f"{kind} {name}: {result}", flush=True)
        print(f"{kind}: {len(left)} trials", flush=True)


def table() -> str:
    """The table of the page."""
    lines, machines = ["| trial | count | as it should be |", "|---|---|---|"], Counter[str]()
    for kind, text in WHAT.items():
        rows = list(read(kind).values())
        good = sum(row["result"].startswith(GOOD) for row in rows)
        examples = [int(tried) for row in rows if (tried := row["result"].partition(" ")[2]).isdecimal()]
        count = f"{len(rows)}, at least {min(examples):,} examples each" if examples else str(len(rows))
        lines.append(f"| {text} | {count} | {good} of {len(rows)} |")
        machines.update(row.get("machine") or "not recorded" for row in rows)
    where = "; ".join(f"{name} ({count} trials)" for name, count in machines.most_common())
    return "\n".join([*lines, f"\nMachine: {where}. One thread a process."])


def machine() -> str:
    """Processor and torch of this machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def main() -> None:
    """Run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "table"))
    parser.add_argument("kinds", nargs="*", choices=[[], *WHAT], metavar="KIND", help=", ".join(WHAT))
    parser.add_argument("--share", type=float, default=1.0, help="share of the trials of each kind (default: 1)")
    parser.add_argument("--examples", type=int, default=1000, help="examples of each generated test (default: 1000)")
    arguments = parser.parse_args()
    if arguments.action == "run":
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as root:
            carry_out(arguments.kinds or list(WHAT), arguments.share, arguments.examples, Path(root))
    head, mark, rest = PAGE.read_text().partition("<!-- table -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    PAGE.write_text(head + mark + table() + "\n" + end + tail)


if __name__ == "__main__":
    main()
