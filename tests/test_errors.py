"""What errors advise: how to add an extra, by the way that the package was installed."""

from __future__ import annotations

import json
import pickle
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from scarlet_models import errors


def test_a_clone_is_installed_where_it_lies() -> None:
    assert errors.how_to_add("search") == f'pip install -e ".[search]" in {Path(__file__).parents[1]}'


@pytest.mark.parametrize(
    ("record", "advice"),
    [
        ({"url": "file:///a/clone", "dir_info": {}}, 'pip install "scarlet-models[train] @ file:///a/clone"'),
        (
            {"url": "https://example.org/s.git", "vcs_info": {"vcs": "git", "commit_id": "0"}},
            'pip install "scarlet-models[train] @ git+https://example.org/s.git"',
        ),
        (None, 'pip install "scarlet-models[train]"'),
    ],
)
def test_an_installed_package_comes_from_where_pip_took_it(
    record: dict[str, Any] | None, advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Distribution:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return json.dumps(record) if record else None

    monkeypatch.setattr(errors, "_CLONE", tmp_path)
    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution())
    assert errors.how_to_add("train") == advice


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("one\ntwo", "one"),
        ("", "ValueError"),
        ("in loading:\n\tMissing key(s): a.\n\tMore", "in loading: Missing key(s): a."),
        ("in loading:", "in loading:"),
        ("in loading:\n" + "key " * 100, "in loading: " + "key " * 48 + "[...]"),
    ],
)
def test_the_first_line_of_an_error_says_what_is_wrong(message: str, line: str) -> None:
    assert errors.first_line(ValueError(message)) == line


def test_a_users_mistake_is_one_line_whatever_it_names() -> None:
    assert str(errors.UserError("no split 'a\nb'; it has c\r\n")) == "no split 'a b'; it has c"
    assert str(pickle.loads(pickle.dumps(errors.UserError("a\nb")))) == "a b"
