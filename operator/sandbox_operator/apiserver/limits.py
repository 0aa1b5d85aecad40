"""How much one user, and all users of one runner, may ask of this replica at once and a second. Pure: accounts and a clock.

The API server's own priority and fairness bounds what reaches us, but shares by its flow schemas: it knows no runner, and it
forgets a followed log or a WebSocket once it has begun. Three ledgers, each asked before the work it protects:

* **user**, right behind authentication: what a flood costs, even one that RBAC would refuse, is a table look-up;
* **runner**, behind authorization: who has no right to a runner cannot use up the allowance of those who have;
* **share**, one user at one runner: half of the runner's, so that one of its users never leaves nothing for the others.

Short requests and streams (:mod:`lifetime`) are counted apart, so that followed logs keep no sync out. The rate counts both.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from sandbox_operator.errors import SettingsError
from sandbox_protocol.errors import StatusError

Kind = Literal["requests", "streams"]
_KINDS: tuple[Kind, Kind] = ("requests", "streams")
# Seconds after which a place may have become free: a short request takes milliseconds, a stream minutes.
_RETRY: Mapping[Kind, int] = {"requests": 1, "streams": 10}
_IN_WORDS: Mapping[Kind, str] = {"requests": "requests", "streams": "long-running requests (logs, watches, upgrades)"}
# Idle accounts of a ledger, about 0.3 kB each. One that is forgotten starts again with a full bucket.
MAX_IDLE = 4096


@dataclass(frozen=True, slots=True)
class Allowance:
    """Of one key of a ledger, on one replica. ``burst`` requests may come at once, then ``per_second`` of them."""

    requests: int
    streams: int
    per_second: int
    burst: int

    def half(self) -> Allowance:
        return Allowance(*(-(-number // 2) for number in (self.requests, self.streams, self.per_second, self.burst)))


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults: a page that saves each keystroke of a person stays a hundred times below; a followed log holds up to 0.2 MB."""

    user: Allowance = Allowance(requests=128, streams=512, per_second=500, burst=1000)
    runner: Allowance = Allowance(requests=64, streams=128, per_second=1000, burst=2000)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Limits:
        """From ``LIMIT_USER_REQUESTS``, ``LIMIT_RUNNER_PER_SECOND`` and so on. SettingsError names one that is no such number."""
        default = cls()
        return cls(_allowance(environ, "USER", default.user), _allowance(environ, "RUNNER", default.runner))


def _allowance(environ: Mapping[str, str], scope: str, default: Allowance) -> Allowance:
    def number(name: str, otherwise: int) -> int:
        variable = f"LIMIT_{scope}_{name}"
        text = environ.get(variable) or str(otherwise)
        if not (text.isascii() and text.isdigit() and 0 < int(text) <= 1_000_000):
            raise SettingsError(f"{variable} is {text[:80]!r}: want a whole number from 1 to 1000000")
        return int(text)

    return Allowance(
        number("REQUESTS", default.requests),
        number("STREAMS", default.streams),
        number("PER_SECOND", default.per_second),
        number("BURST", default.burst),
    )


class TooManyError(StatusError):
    """429; ``limit`` is one of :data:`NAMES`."""

    def __init__(self, limit: str, message: str, seconds: int) -> None:
        super().__init__(429, message, retry_after=seconds)
        self.limit = limit


@dataclass(slots=True)
class _Account:
    tokens: float
    at: float
    in_flight: Counter[Kind]


class Ledger:
    """One allowance for each of any number of keys. Holds the accounts in use, and the last :data:`MAX_IDLE` idle ones."""

    def __init__(self, scope: str, allowance: Allowance, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._scope = scope
        self._allowance = allowance
        self._clock = clock
        self._busy: dict[Hashable, _Account] = {}
        self._idle: OrderedDict[Hashable, _Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._busy) + len(self._idle)

    @contextmanager
    def entered(self, key: Hashable, who: str, kind: Kind) -> Iterator[None]:
        """Counts one request of ``key`` while the block runs. TooManyError, in words about ``who``, before it otherwise."""
        account = self._busy.get(key) or self._idle.pop(key, None) or _Account(self._allowance.burst, self._clock(), Counter())
        self._busy[key] = account
        try:
            self._take(account, who, kind)
            account.in_flight[kind] += 1
            try:
                yield
            finally:
                account.in_flight[kind] -= 1
        finally:
            if not any(account.in_flight.values()):
                self._idle[key] = self._busy.pop(key)
                while len(self._idle) > MAX_IDLE:
                    self._idle.popitem(last=False)

    def _take(self, account: _Account, who: str, kind: Kind) -> None:
        allowed = getattr(self._allowance, kind)
        if account.in_flight[kind] >= allowed:
            raise TooManyError(
                f"{self._scope}_{kind}",
                f"{who} has {account.in_flight[kind]} {_IN_WORDS[kind]} in flight, {allowed} are allowed; let some end first",
                _RETRY[kind],
            )
        now, allowance = self._clock(), self._allowance
        account.tokens = min(allowance.burst, account.tokens + (now - account.at) * allowance.per_second)
        account.at = now
        if account.tokens < 1:
            raise TooManyError(
                f"{self._scope}_rate",
                f"{who} sent more than {allowance.burst} requests at once, {allowance.per_second} a second are allowed: wait",
                max(1, math.ceil((1 - account.tokens) / allowance.per_second)),
            )
        account.tokens -= 1


class Limiter:
    """The three ledgers in words."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._user = Ledger("user", limits.user, clock=clock)
        self._runner = Ledger("runner", limits.runner, clock=clock)
        self._share = Ledger("share", limits.runner.half(), clock=clock)

    @contextmanager
    def user(self, user: str, kind: Kind) -> Iterator[None]:
        with self._user.entered(user, f'user "{user[:200]}"', kind):
            yield

    @contextmanager
    def runner(self, uid: str, name: str, user: str, kind: Kind) -> Iterator[None]:
        """``uid`` counts, ``name`` is only said: a runner that was made anew under its name owes nothing."""
        with (
            self._share.entered((uid, user), f'user "{user[:200]}" at SandboxRunner "{name}"', kind),
            self._runner.entered(uid, f'SandboxRunner "{name}"', kind),
        ):
            yield


NAMES = tuple(f"{scope}_{what}" for scope in ("user", "runner", "share") for what in (*_KINDS, "rate"))
"""Every limit there is: the label of the metric that counts refusals."""
