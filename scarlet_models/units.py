"""Reading numbers as people write them: 300M, 1.5G, 6,707,720."""

from __future__ import annotations

import re
from decimal import Decimal

from scarlet_models.errors import UserError

_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
_COUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(e\+?\d+)?\s*([kmgbt]?)", re.IGNORECASE)


def parse_count(text: str | int | float) -> int:
    """A whole number from text such as 300M, 1.5G, 2e6 or 6,707,720 (powers of ten; B is 10^9 as G is)."""
    match = _COUNT.fullmatch(str(text).strip().replace(",", "").replace("_", ""))
    if match:
        number, exponent, suffix = match.groups()
        value = Decimal(number + (exponent or "")) * _FACTORS[suffix.lower()]
        if value == int(value):
            return int(value)
    raise UserError(f"{text!r} is not a count, such as 300M, 1.5G or 6707720")
