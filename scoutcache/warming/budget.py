"""What a filling may spend: so many calls, or so much money by the prices that are known.

- A price is that of the line (``cost``), else the mean of what the log says this key cost, else of its prefix, else
  ``[costs] default_call_usd``.  A budget of money refuses a key without any price: nobody knows whether it is in it.
- Money is counted before the call: the budget is never passed, and what is left may be less than any price.  A
  generator has computed by then: its first value beyond the budget is not stored, and it is asked for no more.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Final

from scoutcache.errors import ConfigError
from scoutcache.keys import prefix_of
from scoutcache.oplog.records import Line

__all__ = ["Budget", "Prices", "parse_budget"]

_MONEY: Final = re.compile(r"\$\s*([0-9.]+)|([0-9.]+)\s*(?:\$|usd)", re.IGNORECASE)


class Prices:
    """What a call for a key costs in USD, from *operations* of the log and a *default*."""

    def __init__(self, operations: Iterable[Line] = (), default: float | None = None) -> None:
        self._default = default
        self._sums: dict[str, list[float]] = {}
        for line in operations:
            if line.cost is not None and line.op in {"set", "compute"} and line.outcome not in {"hit", "stale"}:
                for name in (line.key, prefix_of(line.key) + ":*"):
                    entry = self._sums.setdefault(name, [0.0, 0.0])
                    entry[0] += line.cost
                    entry[1] += 1

    def of(self, key: str) -> float | None:
        """The price of one call for *key*, None where nothing is known."""
        found = self._sums.get(key) or self._sums.get(prefix_of(key) + ":*")
        return self._default if found is None else found[0] / found[1]


def parse_budget(text: str) -> tuple[int | None, float | None]:
    """The calls or the USD that ``100``, ``$5``, ``2.50usd`` mean.  Raises `ConfigError`."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text), None
    found = _MONEY.fullmatch(text)
    usd = _number(found[1] or found[2]) if found is not None else None
    if usd is None:
        raise ConfigError(f"budget: expected a number of calls (100) or an amount of money ($5), not {text!r:.80}")
    return None, usd


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class Budget:
    """Gives out calls until it is spent; safe to share between threads.  None: no limit of that kind."""

    def __init__(
        self, calls: int | None = None, usd: float | None = None, price: Callable[[str], float | None] | None = None
    ) -> None:
        self._calls, self._usd = calls, usd
        self._price = price or (lambda _: None)
        self._lock = threading.Lock()
        self.calls = 0
        """Calls given out."""
        self.spent_usd: float | None = None
        """What they cost, as far as prices are known."""

    def take(self, key: str, cost: float | None = None) -> bool:
        """Whether one more call, for *key*, is within the budget; it counts as made then.

        *cost* is its price where the caller knows it.  Raises `ConfigError` where money is limited and no price known.
        """
        price = self._price(key) if cost is None else cost
        if price is None and self._usd is not None:
            raise ConfigError(f"a budget in dollars needs a price for {key!r:.200}, and none is known",
                              hint="set costs.default_call_usd, or give the budget in calls")  # fmt: skip
        with self._lock:
            spent = self.spent_usd or 0.0
            # A cent's millionth of grace: 0.1 * 10 is a little more than 1.
            over = self._usd is not None and spent + (price or 0.0) > self._usd + 1e-8
            if over or (self._calls is not None and self.calls >= self._calls):
                return False
            self.calls += 1
            if price is not None:
                self.spent_usd = spent + price
            return True
