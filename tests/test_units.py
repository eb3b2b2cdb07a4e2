"""Numbers as people write them."""

import pytest

from scarlet_models.errors import UserError
from scarlet_models.units import parse_count


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("300M", 300_000_000),
        ("1.5g", 1_500_000_000),
        ("6,707,720", 6_707_720),
        ("2e6", 2_000_000),
        (7, 7),
        (".5k", 500),
    ],
)
def test_counts_are_read(text: str | int, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize("text", ["", "many", "-3", "0.5", "3MM", "1.2.3M", "nan"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a count"):
        parse_count(text)
