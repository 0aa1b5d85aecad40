"""Where an app listens, and what to say when that is not where it was expected. Pure over what was seen so far.

An app is judged by what listens. Most read PORT; some dev servers listen on a port of their own, which is then served in its
place. PORT comes first at any time: what answers there is the app.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner_agent.ports import Listener
from runner_agent.probe import Answer, NoHttp, Said

ELSEWHERE_SECONDS = 3.0
"""That something listens on another port and nothing on PORT, before it is served: a dev server may open several, PORT last."""
WRONG_SECONDS = 20.0
"""The same before it is called a mistake, when nothing of it can be served: a debugger's port opens long before the server's."""
SILENT_SECONDS = 120.0
"""From the start of a run without any listener. A large build on a small machine may take as long before its server listens."""
COMPILING_SECONDS = 600.0
"""The same for what compiles before it runs: a first `go run` of a small server took more than 2 min on a busy machine."""
UNANSWERED_SECONDS = 180.0
"""For the first page. One request is waited for all the time."""
STOPPED_SECONDS = 8.0
"""From the loss of the port: reloaders close and open it again within this time."""
NOT_HTTP_SECONDS = 3.0
_SOON_SECONDS = 10.0
"""Until then there is nothing to say but that it starts."""
_MOST_NAMED = 4
_NO_PAGES = frozenset([400, 426])
"""What a debugger and a WebSocket server say to a browser."""


@dataclass(frozen=True, slots=True)
class Where:
    """``host`` is an address of this pod. ``tls``: it answers over TLS only, with a certificate that nobody can verify."""

    host: str
    port: int
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One listener: since how many seconds it is there, and asked, where it was reached, and what it said. ``said`` is None
    while it owes the answer."""

    listener: Listener
    seconds: float
    asked: float = 0.0
    host: str = ""
    said: Said | None = None

    @property
    def port(self) -> int:
        return self.listener.port

    @property
    def where(self) -> Where:
        hosts = self.listener.hosts()
        return Where(self.host or (hosts[0] if hosts else ""), self.port, isinstance(self.said, Answer) and self.said.tls)


@dataclass(frozen=True, slots=True)
class View:
    """Of one run of a process. Times are in seconds.

    ``setting`` names its port for people, such as ``spec.port``. ``lost``: since when it does not answer any more, None when it
    never did. ``synced``: files came while it answered. ``shared``: other processes look for their ports as well, so that not
    every new listener is this one's. ``movable``: it may be served from another port; ``moved``: it is. ``usual``: from which the
    run before was, so that nothing must be waited for. ``compiles``: its command builds a program before it runs it. ``asides``:
    ports that the app itself calls something beside it.
    """

    port: int
    setting: str
    running: float
    seen: Sequence[Seen] = ()
    lost: float | None = None
    synced: bool = False
    shared: bool = False
    movable: bool = True
    moved: bool = False
    usual: int | None = None
    compiles: bool = False
    asides: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """``answers``: it is ready, at ``where``. Otherwise ``where`` is the best guess, if anything listens. ``reason`` is set when
    it will not mend by itself. ``words`` is a sentence without a subject."""

    where: Where | None = None
    answers: bool = False
    reason: str = ""
    words: str = ""


def judge(view: View) -> Finding:
    here = sorted((one for one in view.seen if one.port == view.port), key=lambda one: one.said is None)
    for one in here:
        if isinstance(one.said, Answer):
            return Finding(one.where, answers=True)
    others = [one for one in view.seen if one.port != view.port]
    owing = next((one for one in here if one.said is None), None)
    usable = _usable(others, view)
    if (known := next((one for one in usable if one.port == view.usual), None)) is not None:
        return Finding(known.where, answers=True, words=_moved([known, *usable], view))
    if usable and (view.moved or (owing is None and _settled(others, usable))):
        return Finding(usable[0].where, answers=True, words=_moved(usable, view))
    guess = here[0].where if here else None
    if view.lost is not None and view.lost >= STOPPED_SECONDS:
        return Finding(guess, reason="StoppedAnswering", words=_stopped(here, view))
    if owing is not None:
        return _unanswered(owing, guess)
    if here:
        return _not_http(here, guess, view)
    if view.lost is not None:
        return Finding(words=f"does not answer on port {view.port} any more")
    old = [one for one in others if one.seconds >= ELSEWHERE_SECONDS]
    return _elsewhere(old, view) if old else _silent(view)


def _usable(others: Sequence[Seen], view: View) -> list[Seen]:
    """What can be served in place of PORT, pages before all else: of a front end and its API the front end is meant."""
    answering = [(one, one.said) for one in others if isinstance(one.said, Answer) and one.said.status not in _NO_PAGES]
    wanted = [(one, said) for one, said in answering if view.movable and (said.html or not view.shared)]

    def order(pair: tuple[Seen, Answer]) -> tuple[bool, bool, bool, int]:
        one, said = pair
        return not said.html, said.status >= 400, one.port in view.asides, one.port

    return [one for one, _ in sorted(wanted, key=order)]


def _settled(others: Sequence[Seen], usable: Sequence[Seen]) -> bool:
    """Whether one can be chosen now: none is new, none owes its first answer; or somebody has waited long enough."""
    new = any(one.seconds < ELSEWHERE_SECONDS or (_owes(one) and one.asked < ELSEWHERE_SECONDS) for one in others)
    return not new or max(one.seconds for one in usable) >= _SOON_SECONDS


def _moved(usable: Sequence[Seen], view: View) -> str:
    chosen, *rest = dict.fromkeys(one.port for one in usable)
    words = f"listens on port {chosen}, not on PORT ({view.port}), and is served from there"
    if rest:
        others = ", ".join(map(str, rest[:_MOST_NAMED]))
        words += f". It also answers on {others}: previews of those ports show them"
    return words


def _stopped(here: Sequence[Seen], view: View) -> str:
    how = "takes connections, and nothing behind it answers" if here else "nothing listens there"
    after = " after the last sync" if view.synced else ""
    words = f"stopped answering on port {view.port}{after}: the process runs, {how}"
    return f"{words}. The log says why; it comes back with a sync that mends it"


def _unanswered(owing: Seen, guess: Where | None) -> Finding:
    words = f"takes connections on port {owing.port}, and has not answered GET / yet"
    if owing.asked >= UNANSWERED_SECONDS:
        return Finding(guess, reason="NoAnswer", words=f"{words}, after {UNANSWERED_SECONDS:.0f} s. The log says what it does")
    return Finding(guess, words=words if owing.asked >= _SOON_SECONDS else "")


def _not_http(here: Sequence[Seen], guess: Where | None, view: View) -> Finding:
    why = next((one.said.why for one in here if isinstance(one.said, NoHttp)), "does not answer in HTTP")
    words = f"listens on port {view.port} and {why}"
    return Finding(guess, reason="NotHTTP" if max(one.seconds for one in here) >= NOT_HTTP_SECONDS else "", words=words)


def _elsewhere(others: Sequence[Seen], view: View) -> Finding:
    shown = ", ".join(_address(one) for one in others[:_MOST_NAMED]) + (", …" if len(others) > _MOST_NAMED else "")
    words = f"listens on {shown}, not on PORT ({view.port})"
    if max(one.seconds for one in others) < WRONG_SECONDS or (view.movable and any(_owes(one) for one in others)):
        return Finding(words=words)
    if view.shared or not view.movable:
        why = ""
    elif len(others) == 1 and isinstance(said := others[0].said, NoHttp):
        why = f", and {said.why}"
    else:
        why = ", and nothing there answers with a page"
    remedy = f"let it listen on $PORT, or set {view.setting} to the port that it serves"
    return Finding(reason="WrongPort", words=f"{words}{why}: {remedy}")


def _owes(one: Seen) -> bool:
    return one.said is None and one.asked < UNANSWERED_SECONDS


def _address(one: Seen) -> str:
    return f"[{one.listener.address}]:{one.port}" if ":" in one.listener.address else f"{one.listener.address}:{one.port}"


def _silent(view: View) -> Finding:
    patience = COMPILING_SECONDS if view.compiles else SILENT_SECONDS
    if view.running >= patience:
        return Finding(
            reason="NoListener",
            words=f"runs for more than {patience:.0f} s, but listens on no port: a server of HTTP is expected on $PORT "
            f"({view.port}). The log says what it does; spec.command starts another program",
        )
    return Finding(words="runs, and listens on no port yet" if view.running >= _SOON_SECONDS else "")
