"""What the site's build adds: formulas as MathML, the command reference, and links to files outside docs/."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PROGRAMS = {"scarlet-models": "scarlet_models", "scarlet-search": "search"}
_logger = logging.getLogger("mkdocs.hooks")  # a warning fails the strict build
_SUBCOMMANDS = {"detect": ("train", "eval", "predict")}


@event_priority(100)  # before the plugin looks for the copy
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Copy the sources as they lie in an installed package, search/ inside scarlet_models/, for the API reference."""
    package = ROOT / ".cache" / "site" / "scarlet_models"
    shutil.rmtree(package, ignore_errors=True)
    for source, target in ((ROOT / "scarlet_models", package), (ROOT / "search", package / "search")):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of all commands, from their own help."""
    page = ["# Commands", "", "This page is what `--help` of each command prints."]
    for program in PROGRAMS:
        page += ["", f"## {program}", *_fence(_help(program))]
        for command in re.findall(r"^  ([a-z]+) {2,}\S", _help(program).split("recipes for")[0], re.MULTILINE):
            for words in [(command, sub) for sub in _SUBCOMMANDS.get(command, ())] or [(command,)]:
                page += ["", f"### {program} {' '.join(words)}", *_fence(_help(program, *words))]
    files.append(File.generated(config, "reference/commands.md", content="\n".join(page)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, **_: Any) -> str:
    """Point links to what the site leaves out (files outside docs/, results, folders) at the repository."""
    here = (ROOT / "docs" / page.file.src_uri).parent

    def mend(match: re.Match[str]) -> str:
        target = (here / match[1]).resolve()
        parts = target.relative_to(ROOT).parts
        left_out = parts[0] != "docs" or "results" in parts or target.is_dir() or target.suffix in (".yaml", ".txt")
        if left_out and not target.exists():
            _logger.warning("%s links to %s, which does not exist", page.file.src_uri, match[1])
        return f"]({config.repo_url}/blob/main/{'/'.join(parts)}" if left_out else match[0]

    return re.sub(r"\]\((?!https?:|#)([^)#\s]+)", mend, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers show without scripts."""
    inline = r'<span class="arithmatex">\\\((.*?)\\\)</span>'
    html = re.sub(inline, lambda m: convert(_text(m[1])), html, flags=re.DOTALL)
    display = r'<div class="arithmatex">\\\[(.*?)\\\]</div>'
    return re.sub(display, lambda m: convert(_text(m[1]), display="block"), html, flags=re.DOTALL)


def _text(formula: str) -> str:
    return formula.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _help(program: str, *words: str) -> str:
    start = f"import scarlet_cli, sys; sys.exit(scarlet_cli.{program.replace('-', '_')}())"
    command = [sys.executable, "-c", start, *words, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.rstrip()


def _fence(text: str) -> list[str]:
    return ["", "```text", text, "```"]
