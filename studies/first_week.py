"""Runs the console blocks of docs/reliability.md anew, and writes what they print below each line that starts with "$".

    python studies/first_week.py          # all blocks: about ten minutes of one core
    python studies/first_week.py --keep DIR

The commands run in an empty folder that first gets what `prepare` makes. Of each one the last lines are kept, without
the time of day, and its exit status if that is not 0.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import TextWrapper

import yaml
from crashes import write_boxes, write_images
from PIL import Image
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reliability.md"
LINES, WIDTH = 3, 88  # of a command's output that are kept, and their columns
wrapped = TextWrapper(WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False).wrap
TRAIN = {
    "data_dir": "photos",
    "model": "test_efficientnet",
    "image_size": 16,
    "epochs": 2,
    "batch_size": 6,
    "holdout": 0.25,
    "warmup_epochs": 0,
    "color_jitter": 0,
    "workers": 0,
    "threads": 1,
}
SUPERNET = {name: value for name, value in TRAIN.items() if name not in ("model", "color_jitter", "warmup_epochs")}


def prepare(folder: Path) -> None:
    """Images, options, runs, and damaged copies of them that are named by what is wrong."""
    write_images(folder / "photos")
    write_boxes(folder / "boxes")
    shutil.copy(folder / "photos/test/class0/0.png", folder / "cat.png")
    _write_options(folder)
    for command in ("scarlet-models train --config train.yaml --out runs/mine",
                    "scarlet-search train --config supernet.yaml --out runs/supernet",
                    "scarlet-search evolve runs/supernet --config evolve.yaml --out runs/evolve"):  # fmt: skip
        status, said = shell(command, folder)
        assert status == 0, said
    _spoil_images(folder)
    _spoil_weights(folder)
    _spoil_runs(folder)
    _write_spaces(folder)


def shell(command: str, folder: Path) -> tuple[int, str]:
    """Exit status and output of a command of the shell, in the folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "SCARLET_HOME": str(folder / "home")}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout.decode(errors="replace")


def answer(command: str, folder: Path) -> str:
    """A command's last lines as the page shows them."""
    status, said = shell(command, folder)
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in re.split("[\r\n]+", said) if line.strip()]
    lines = [line.replace(f"{folder}/", "").replace(str(ROOT), "/home/me/scarlet-models") for line in lines]
    shown = [part for line in lines[-LINES:] for part in wrapped(line)]
    return "\n".join([*shown, *([f"(exit status {status})"] if status else [])])


def answer_all(page: str, folder: Path) -> str:
    """The page with all answers anew."""

    def block(match: re.Match[str]) -> str:
        commands = re.findall(r"^\$ ((?:.*\\\n)*.*)", match[1], flags=re.MULTILINE)
        answers = [f"$ {command}\n{answer(command, folder)}".rstrip() for command in commands]
        return "```console\n" + "\n".join(answers) + "\n```"

    return re.sub(r"```console\n(.*?)\n```", block, page, flags=re.DOTALL)


def _write_options(folder: Path) -> None:
    (folder / "train.yaml").write_text(yaml.safe_dump(TRAIN))
    (folder / "long.yaml").write_text(yaml.safe_dump({**TRAIN, "epochs": 2000}))
    (folder / "supernet.yaml").write_text(yaml.safe_dump({**SUPERNET, "space": "mini"}))
    search = {"data_dir": "photos", "workers": 0, "threads": 1, "population": 4, "generations": 2}
    (folder / "evolve.yaml").write_text(yaml.safe_dump({**search, "batch_size": 4, "calibration_images": 4}))
    stage = {"epochs": 1, "image_size": 16, "batch_size": 6, "warmup_epochs": 0}
    evolve = {"population": 4, "generations": 2, "batch_size": 4, "calibration_images": 4}
    whole = {name: SUPERNET[name] for name in ("data_dir", "holdout", "workers", "threads")}
    whole |= {"space": "mini", "train": stage, "evolve": evolve, "retrain": stage}
    (folder / "search.yaml").write_text(yaml.safe_dump(whole))
    boxes = json.loads((folder / "boxes/boxes.json").read_text())
    del boxes["splits"]
    (folder / "boxes/no_splits.json").write_text(json.dumps(boxes))
    detector = {"out_channels": 8, "extra_levels": 0, "anchor_scale": 2.0}
    detect = {"images": "boxes/images", "annotations": "boxes/no_splits.json", "pretrained": False, "epochs": 1}
    detect |= {"image_size": [32, 48], "detector_args": detector, "batch_size": 2, "workers": 0, "threads": 1}
    (folder / "detect.yaml").write_text(yaml.safe_dump(detect))


def _spoil_images(folder: Path) -> None:
    (folder / "imagenette").mkdir()  # named as a recipe
    (folder / "read_only").mkdir(mode=0o555)
    (folder / "special").mkdir()
    shutil.copytree(folder / "photos/train", folder / "special/train")
    os.mkfifo(folder / "special/train/class0/pipe.png")
    (folder / "special/train/class0/loop").symlink_to("..")
    (folder / "tars").mkdir()
    shutil.make_archive(str(folder / "tars/first"), "tar", folder / "photos/train")
    shutil.make_archive(str(folder / "boxes"), "tar", folder / "boxes")
    for name in ("webp", "broken", "eps", "bomb", "odd_name", "changed", "one_less"):
        shutil.copytree(folder / "photos", folder / name)
    shutil.copytree(folder / "photos/train", folder / "copied/train")
    shutil.copytree(folder / "photos/train", folder / "copied/test")
    shutil.copytree(folder / "photos/train/class0", folder / "flat/train")
    for path in (folder / "webp").glob("*/*/[0-3].png"):
        Image.open(path).save(path.with_suffix(".webp"))
        path.unlink()
    (folder / "webp/train/class0/notes.txt").write_text("not an image")
    for number in (2, 5):
        (folder / f"broken/train/class0/{number}.png").write_bytes(b"\x89PNG damaged")
    (folder / "eps/train/class0/1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\nshowpage\n")
    Image.new("1", (20_000, 20_000)).save(folder / "bomb/train/class0/1.png")
    odd = folder / "odd_name/train/class0/1.png"
    odd.rename(odd.with_name(os.fsdecode(b"\xff.png")))
    (folder / "one_less/train/class0/3.png").unlink()
    for path in (folder / "changed/train").glob("*/*.png"):
        Image.open(path).rotate(90).save(path)


def _spoil_weights(folder: Path) -> None:
    whole = folder / "runs/mine/exported/mine"
    for name in ("pickled", "without_classifier", "other_classes", "not_finite"):
        shutil.copytree(whole, folder / name)
    (folder / "pickled/model.safetensors").rename(folder / "pickled/pytorch_model.bin")
    weights = load_file(whole / "model.safetensors")
    without = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier.")}
    save_file(without, folder / "without_classifier/model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, folder / "not_finite/model.safetensors")
    config = json.loads((whole / "config.json").read_text())
    config["pretrained_strict"] = False
    (folder / "without_classifier/config.json").write_text(json.dumps(config))
    config["model_args"] = {"num_classes": 7}
    (folder / "other_classes/config.json").write_text(json.dumps(config))


def _spoil_runs(folder: Path) -> None:
    for name, file, content in (
        ("config_gone", "config.yaml", None),
        ("config_a_list", "config.yaml", "[]\n"),
        ("env_a_list", "env.json", "[]\n"),
        ("bad_row", "metrics.csv", "epoch,step\nx,y\n"),
        ("unfinished", ".metrics.csv.4711.tmp", "half of a"),
    ):
        shutil.copytree(folder / "runs/mine", folder / "runs" / name)
        path = folder / "runs" / name / file
        path.write_text(content) if content else path.unlink()
    shutil.copytree(folder / "runs/evolve", folder / "runs/altered")
    scores = folder / "runs/altered/evaluations.jsonl"
    scores.write_text(re.sub(r'"top1": *[0-9.]+', '"top1": 99999', scores.read_text(), count=1))
    known = [line.split('"')[3] for line in (folder / "runs/evolve/evaluations.jsonl").read_text().splitlines()[:3]]
    rows = [f'"{name}",{50 + i}\n' for i, name in enumerate(known)]
    (folder / "known.csv").write_text("".join(["genotype,accuracy\n", *rows]))
    (folder / "unquoted.csv").write_text("".join(["genotype,accuracy\n", *rows]).replace('"', ""))


def _write_spaces(folder: Path) -> None:
    status, said = shell("scarlet-search space mini --out space.yaml", folder)
    assert status == 0, said
    space = yaml.safe_load((folder / "space.yaml").read_text())
    space["stages"][0]["depth"] = 10_000_000
    (folder / "deep.yaml").write_text(yaml.safe_dump(space))
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 9))
    (folder / "aliases.yaml").write_text("l0: &l0 [a, a, a, a, a, a, a, a, a]\n" + levels)


def main() -> None:
    """Write the page anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="an absent folder to work in, which stays")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as temporary:
        folder = (keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        PAGE.write_text(answer_all(PAGE.read_text(), folder))


if __name__ == "__main__":
    main()
