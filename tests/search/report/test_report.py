"""report: the page of real small runs, of any subset of them, of unfinished and of damaged ones."""

from __future__ import annotations

import base64
import csv
import hashlib
import html.parser
import io
import json
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.supernets import write_images
from PIL import Image

from scarlet_models import UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.search import cli
from scarlet_models.search.commands import evolve, export, latency, rank, retrain, train
from scarlet_models.search.pipeline.journal import Stage
from scarlet_models.search.pipeline.networks import write_networks
from scarlet_models.search.pipeline.pipeline import Pipeline
from scarlet_models.search.report import page as report
from scarlet_models.search.report import runs as report_runs
from scarlet_models.search.report.context import Context
from scarlet_models.search.report.figures import smooth
from scarlet_models.search.report.page import section_of
from scarlet_models.search.report.runs import find_runs
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.terminal import short

MINI = SearchSpace.load("mini")
HEADINGS = {
    "train": "The supernet",
    "rank": "Ranking",
    "latency": "Latency",
    "evolve": "The search",
    "retrain": "Training",
    "export": "Export",
}


class Page(html.parser.HTMLParser):
    """What is on a page: its text, attributes, images, and the contents of elements by name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []  # element, name, value
        self.contents: dict[str, list[str]] = {}
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join("".join(self.contents["body"]).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.contents.setdefault(tag, []).append("")
        if tag not in ("meta", "img", "source", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # every element is closed where it was opened

    def handle_data(self, data: str) -> None:
        for tag in dict.fromkeys(self.open):
            self.contents[tag][-1] += data

    def values(self, *names: str) -> list[str]:
        return [value for _, name, value in self.attributes if name in names]

    @property
    def images(self) -> list[Image.Image]:
        return [image(uri) for uri in self.values("src", "srcset")]


def image(uri: str) -> Image.Image:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which each command has left a small run."""
    root = tmp_path_factory.mktemp("demo")
    write_images(root / "data")
    write_images(root / "data", split="test")
    data: dict[str, Any] = {"data_dir": str(root / "data"), "workers": 0}
    split: dict[str, Any] = {**data, "holdout": 0.4, "batch_size": 8, "warmup_epochs": 0.0}
    held: dict[str, Any] = {**data, "batch_size": 10, "calibration_images": 20}
    known = {str(g): 60 + sum(g.choices) for g in {g.canonical() for g in MINI}}
    (root / "known.csv").write_text("genotype,accuracy\n" + "".join(f'"{g}",{a}\n' for g, a in sorted(known.items())))
    train.main(train.Options(**split, space="mini", epochs=2, eval_images=9, out=str(root / "train")))
    table = str(root / "latency")
    latency.main(latency.Options(space="mini", rounds=1, validate=3, validation_rounds=1, out=table))
    supernet = str(root / "train")
    rank.main(rank.Options(**held, supernet=supernet, known=str(root / "known.csv"), networks=9, bootstrap=9))
    search = {"supernet": supernet, "population": 6, "generations": 3, "latency_table": table, "max_macs": "1M"}
    evolve.main(evolve.Options(**held, **search, out=str(root / "evolve")))
    genotype = found(root)["front"][0]["genotype"]
    network = {"genotype": genotype, "space": "mini", "image_size": 32, "epochs": 2, "final": True, "name": "net"}
    network["test_split"] = "test"
    retrain.main(retrain.Options(**split, **network, out=str(root / "retrain")))
    export.main(export.Options(network=str(root / "retrain"), out=str(root / "exported" / "net")))
    return root


def found(root: Path) -> dict[str, Any]:
    return json.loads((root / "evolve" / "search.json").read_text())


@pytest.fixture(scope="module")
def page(runs: Path) -> Page:
    assert cli.main(["report", str(runs), "--out", str(runs / "page")]) == 0
    return Page(runs / "page" / "index.html")


def make(folder: Path, out: Path) -> Page:
    report.write_report([folder], out)
    return Page(out / "index.html")


def test_all_kinds_of_runs_have_their_section(page: Page) -> None:
    titles = [title for title in page.contents["h2"] if title in HEADINGS.values()]
    assert titles == list(HEADINGS.values())
    assert {"The networks", "Commands", "Exact options"} <= set(page.contents["h2"])


def test_the_summary_has_the_figures_of_the_runs(runs: Path, page: Page) -> None:
    summary = " ".join(page.contents["header"][0].split())
    final = json.loads((runs / "retrain/final.json").read_text())
    picked = found(runs)["front"][0]
    cost = Genotype.parse(picked["genotype"], MINI).cost(32, 3)
    for text in (
        "mini 5 layers, 468 distinct networks",
        "data 3 classes, 40% of split train held out",
        f"Networks scored {found(runs)['evaluations']} 3 generations",
        f"Top-1, test {final['top1']:.2f}%",
        f"by the search's scores {picked['accuracy']:.2f}%",
        f"MACs {short(cost.macs)} {short(cost.params)} params, 32 px",
        picked["genotype"],
    ):
        assert text in summary, text


def test_the_front_is_a_table(runs: Path, page: Page) -> None:
    records = found(runs)["front"]
    table = next(text for text in page.contents["table"] if "genotype" in text)
    for record in records:
        assert f"{record['accuracy']:.2f}{short(record['macs'])}{short(record['params'])}" in table
        assert f"{record['latency']:.2f} ms{record['genotype']}" in table
    assert table.count("(trained)") == 1
    assert f"{records[0]['genotype']} (trained)" in table


def test_figures_are_images_for_light_and_dark_with_words_and_files(runs: Path, page: Page) -> None:
    names = {path.stem for path in (runs / "page").glob("*.png")}
    curves = {"train_loss", "train_top1", "retrain_loss", "retrain_top1"}
    search = {"evolve_front_macs", "evolve_front_latency", "evolve_hypervolume", "evolve_choices"}
    assert names >= curves | search | {"train_rank_recalibrated", "latency_latency", "network_1"}
    assert len(page.values("src")) == len(page.values("srcset")) == len(names)
    assert [value for _, name, value in page.attributes if name == "media"] == ["(prefers-color-scheme: dark)"] * len(
        page.values("srcset")
    )
    assert all(page.values("alt"))
    corners = [np.asarray(image.convert("L"))[0, 0] for image in page.images]
    assert corners.count(255) == len(names)
    assert max(corner for corner in corners if corner != 255) < 50
    files = {path.read_bytes() for path in (runs / "page").glob("*.png")}
    assert {base64.b64decode(uri.partition(",")[2]) for uri in page.values("src")} == files


def test_the_page_fetches_nothing(page: Page) -> None:
    loads = (
        "src",
        "srcset",
        "href",
        "data",
        "poster",
        "action",
        "formaction",
        "background",
        "cite",
        "ping",
        "manifest",
    )
    assert all(value.startswith("data:") for value in page.values(*loads))
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.contents)
    styles = [*page.contents["style"], *page.values("style")]
    assert not any(re.search(r"url\(|@import|image-set", style) for style in styles)
    (policy,) = [value for value in page.values("content") if "default-src" in value]
    (script,) = page.contents["script"]
    only = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{only}'"
    assert not re.search(r"fetch|XMLHttpRequest|import|https?:|WebSocket|sendBeacon|eval|innerHTML", script)


def test_commands_are_such_as_the_program_takes(runs: Path, page: Page) -> None:
    """Each gives the very options that the run had."""
    lines = [line for line in "\n".join(page.contents["pre"]).splitlines() if line.startswith("scarlet-search")]
    parsed = {}
    for line in lines:
        command, *arguments = shlex.split(line)[1:]
        parsed[command] = cli.PROGRAM.parse(command, cli.PROGRAM.load(command), arguments)
    assert set(parsed) == {"train", "rank", "evolve", "retrain"}
    for command in ("train", "evolve", "retrain"):
        config = yaml.safe_load((runs / command / "config.yaml").read_text())
        assert json.loads(json.dumps(vars(parsed[command]))) == config
    written = json.loads((runs / "train/rank_recalibrated.json").read_text())
    assert all(written[name] == value for name, value in vars(parsed["rank"]).items())


def test_stages_of_a_pipeline_tell_why_and_how_long(runs: Path, tmp_path: Path) -> None:
    options = {"space": "mini", "rounds": 1, "validate": 0}
    Pipeline(tmp_path, cli.PROGRAM).run(Stage("latency", "latency", "each <block> is timed", options, "table.json"))
    commands = make(tmp_path, tmp_path / "report").contents["pre"][0]
    assert re.search(r"# each <block> is timed \(0:00:\d\d\)", commands)
    assert f"scarlet-search latency --config {tmp_path}/latency.yaml" in commands
    (tmp_path / "stages.json").write_text('{"latency": {}}')
    with pytest.raises(UserError, match=r"stages\.json is damaged"):
        make(tmp_path, tmp_path / "report")


def test_an_exported_network_loads_as_the_page_says(page: Page) -> None:
    (code,) = [text for text in page.contents["pre"] if text.startswith("import")]
    lines = code.splitlines()
    exec(lines[0], names := {})
    assert str(eval(lines[1], names).genotype) in page.contents["header"][0]


def test_options_are_there_to_the_letter(runs: Path, page: Page) -> None:
    for name in ("train/config.yaml", "train/env.json", "evolve/config.yaml", "exported/net/config.json"):
        assert (runs / name).read_text() in page.contents["pre"], name
    assert str(runs / "train/config.yaml") in page.contents["summary"]


@pytest.mark.parametrize("kind", ["train", "latency", "evolve", "retrain", "exported/net"])
def test_one_run_alone_makes_a_page(runs: Path, tmp_path: Path, kind: str) -> None:
    page = make(runs / kind, tmp_path)
    named = {"train": {"train", "rank"}, "exported/net": {"export"}, "retrain": {"retrain", "export"}}.get(kind, {kind})
    assert {key for key, title in HEADINGS.items() if title in page.contents["h2"]} == named
    assert ("The networks" in page.contents["h2"]) == (kind not in ("train", "latency"))


def test_runs_that_go_on_have_a_page(runs: Path, tmp_path: Path) -> None:
    """A supernet in training and a search, each with a line that is half written, and a retraining not yet exported."""
    for name, files in dict.fromkeys(("train", "retrain"), ("metrics.csv", "config.yaml", "env.json")).items():
        (tmp_path / name).mkdir()
        for file in files:
            shutil.copy(runs / name / file, tmp_path / name)
    with (tmp_path / "train/metrics.csv").open("a") as file:
        file.write("999,1,0.0")
    shutil.copytree(runs / "evolve", tmp_path / "evolve")
    (tmp_path / "evolve/search.json").unlink()
    (tmp_path / "evolve/generations/0002.json").unlink()
    page = make(tmp_path, tmp_path / "report")
    with (runs / "train/metrics.csv").open() as file:
        steps = len(list(csv.DictReader(file)))
    assert f"In progress, or stopped: {steps} steps so far." in page.text
    assert "In progress, or stopped: generation 2 of 3." in page.text
    assert "2 of 2 epochs on its own" in page.text
    assert "The networks" in page.contents["h2"]
    assert "Top-1, held out" in page.text
    for path in (tmp_path / "evolve/generations").iterdir():
        path.unlink()
    (tmp_path / "evolve/search.json").write_text(json.dumps({**found(runs), "front": []}))
    assert "No generation is done yet." in make(tmp_path / "evolve", tmp_path / "report").text


def test_the_page_goes_into_the_first_folder_and_is_no_run(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "latency", tmp_path / "latency")
    shutil.copytree(runs / "exported", tmp_path / "other")
    for _ in range(2):
        assert cli.main(["report", str(tmp_path / "latency"), str(tmp_path / "other"), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["report"] == str(tmp_path / "latency/report/index.html")
        assert {Path(name) for name in said["figures"]} == set((tmp_path / "latency/report").glob("*.png"))
    assert [run.label for run in find_runs([tmp_path / "latency", tmp_path / "other"])] == ["latency", "other/net"]


def test_the_same_runs_give_the_same_bytes(runs: Path) -> None:
    assert report.build([runs / "latency"]) == report.build([runs / "latency"])


def test_names_are_text_and_not_markup(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "latency", tmp_path / "<b>&amp;")
    page = make(tmp_path / "<b>&amp;", tmp_path / "out")
    assert page.contents["h1"] == ["<b>&amp;"]
    assert "b" not in page.contents


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("evolve/search.json", "{", r"search\.json:1: not valid JSON"),
        ("evolve/search.json", '{"front": 3}', "evolve is no run of evolve that can be read"),
        ("evolve/generations/0001.json", "[]", "evolve is no run of evolve that can be read"),
        ("evolve/config.yaml", "a: [", r"config\.yaml:1: not valid YAML"),
        ("evolve/config.yaml", b"\xff\xfe", r"config\.yaml: not UTF-8 text"),
        ("train/config.yaml", "5\n", r"config\.yaml: holds a number, not a mapping"),
        ("train/config.yaml", "holdout: x\n", "train is no run of train that can be read"),
        ("latency/table.json", "null", "latency is no run of latency that can be read"),
        ("train/rank_recalibrated.json", "{}", "train is no run of rank that can be read"),
        ("train/metrics.csv", "step,loss\n1,2\n", None),
        ("retrain/config.yaml", "model: x\n", "retrain is no run of retrain that can be read"),
        ("retrain/exported/net/config.json", "{}", "retrain is no run of retrain that can be read"),
        ("retrain/final.json", '{"top1": "x"}', "retrain is no run of retrain that can be read"),
        ("retrain/metrics.csv", "", None),
    ],
)
def test_damaged_files_are_named_in_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, content: str | bytes, message: str | None
) -> None:
    """Or do not matter, where columns are missing that a page can do without."""
    name = Path(file).parts[0]
    shutil.copytree(runs / name, tmp_path / name)
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    status = cli.main(["report", str(tmp_path)])
    said = capsys.readouterr().err
    assert status == (2 if message else 0), said
    if message:
        assert re.search(message, said)
        assert said.count("\n") == 1
        assert not (tmp_path / "report").exists()


def test_a_folder_that_may_not_be_entered_is_named() -> None:
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        (Path(root) / "train").mkdir(mode=0)
        user = os.geteuid()
        if user == 0:  # whom no mode stops
            os.seteuid(65534)
        try:
            with pytest.raises(UserError, match=r"cannot look for runs: .*Permission denied: .*train"):
                find_runs([Path(root)])
        finally:
            os.seteuid(user)


def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([], "FOLDERS is missing"),
        ([str(tmp_path / "no")], f"there is no folder {tmp_path}/no"),
        ([str(tmp_path)], f"nothing to report in {tmp_path}"),
    ):
        assert cli.main(["report", *arguments]) == 2
        assert message in capsys.readouterr().err


# Released networks


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of a table in the scarlet space that begins with A."""
    root = tmp_path_factory.mktemp("released")
    space, rng = SearchSpace.load("scarlet"), np.random.default_rng(0)
    known = {str(space.sample(rng).canonical()): rng.uniform(60, 70) for _ in range(20)} | {GENOTYPES["scarlet_a"]: 75}
    (root / "known.csv").write_text("genotype,accuracy\n" + "".join(f'"{g}",{a}\n' for g, a in known.items()))
    table = {"known": str(root / "known.csv"), "space": "scarlet", "seeds": ["A"]}
    search = {"population": 4, "generations": 2, "surrogate": 8, "input_size": 96, "out": str(root / "search")}
    evolve.main(evolve.Options(**table, **search))
    return root / "search"


def test_released_networks_are_marked_at_the_costs_of_the_search(released: Path) -> None:
    (run,) = find_runs([released])
    context = Context([run])
    setting = context.settings[run]
    assert setting and setting.image_size == 96
    section = section_of(run, context)
    assert "A, B and C are the released networks" in section.figures[0].caption
    text = " ".join(section.text.split())
    assert re.search(r"A regressor .* screened 8 networks .* is -?[01]\.\d\d on", text)
    assert [figure.name for figure in section.figures if figure.wide] == ["search_choices"]


def test_nothing_is_marked_or_drawn_where_costs_disagree(released: Path, tmp_path: Path) -> None:
    shutil.copytree(released, tmp_path / "search")
    search = json.loads((released / "search.json").read_text())
    search["front"][0]["macs"] += 1
    (tmp_path / "search/search.json").write_text(json.dumps(search))
    (run,) = find_runs([tmp_path])
    context = Context([run])
    assert context.settings[run] is None
    section = section_of(run, context)
    assert "released" not in section.figures[0].caption
    assert [figure.name for figure in section.figures] == ["search_front_macs", "search_hypervolume"]


def test_the_picked_network_is_marked_wherever_it_was_found(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "evolve", tmp_path / "evolve")
    front = found(runs)["front"]
    others = [{**front[-1], "genotype": "2,2,2,2,2", "accuracy": 99.5}]
    for picked, mark in ((front[1], " (picked)"), (others[0], " (picked; found by random search)")):
        network = {"role": "picked", "stage": "retrain", **picked, "found_by": "random search"}
        write_networks(tmp_path, "accuracy", [network])
        page = make(tmp_path, tmp_path / "page")
        table = next(text for text in page.contents["table"] if ">" not in text and "(picked" in text)
        assert f"{picked['genotype']}{mark}" in table
        assert table.count("(picked") == 1
        assert "The ring is the network that was picked." in page.text
        assert "The picked network" in page.contents["h2"]


def test_error_bars_are_those_of_this_search(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "evolve", tmp_path / "evolve")
    scores = tmp_path / "evolve/evaluations.jsonl"
    scores.write_text(scores.read_text().replace('"images": 24', '"images": 5', 1))  # of an earlier search with fewer
    assert "95% intervals, as 24 held-out images gave the scores" in make(tmp_path, tmp_path / "page").text
    (tmp_path / "evolve/search.json").write_text(json.dumps({**found(runs), "images": 0}))
    assert "95% intervals, as" not in make(tmp_path, tmp_path / "page").text


def test_a_long_search_is_read_once_and_drawn_in_part(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs / "evolve", tmp_path / "evolve")
    for number in range(3, 200):
        shutil.copy(runs / "evolve/generations/0002.json", tmp_path / f"evolve/generations/{number:04d}.json")
    read: list[Path] = []
    monkeypatch.setattr(report_runs, "read_text", lambda path, limit: read.append(path) or path.read_text())
    page, _ = report.build([tmp_path])
    assert "(50 of 200 generations)" in page
    generations = [path for path in read if path.parent.name == "generations"]
    assert len(generations) == len(set(generations)) == 50
    assert read.count(tmp_path / "evolve/search.json") == 1


def test_a_running_mean_is_of_the_last_values() -> None:
    assert smooth(np.array([1.0, 2, 3, 4, 5]), 2).tolist() == [1, 1.5, 2.5, 3.5, 4.5]
    assert smooth(np.array([1.0, 3]), 9).tolist() == [1, 2]
