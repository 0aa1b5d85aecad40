"""``kubectl sandbox``: the SDK as a kubectl plugin. Prints for people; exit code 1 is a refusal or failure, 2 a wrong call;
of ``exec`` it is the command's own.

kubectl finds it by its name, ``kubectl-sandbox``, on PATH.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import re
import sys
import webbrowser
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sandbox_client import status_printing, sync_printing, waiting
from sandbox_client.client import Client
from sandbox_client.errors import ApiError, Conflict, Forbidden, NotFound, SandboxError, Stale, TooLarge, Unavailable
from sandbox_client.impersonation import Impersonation
from sandbox_client.log_printing import Printer
from sandbox_client.printing import one_line, plain, say, say_content, say_shown
from sandbox_client.records import Condition
from sandbox_client.sync_printing import printed_bytes

_NEXT_STEP: dict[type[SandboxError], str] = {
    Forbidden: "`kubectl auth can-i --list` shows what you may do; the shipped ClusterRoles aggregate to view and edit.",
    NotFound: "`kubectl sandbox list` shows the runners of this namespace; -n picks another one.",
    Stale: "somebody else synced in between: look at `kubectl sandbox status`, then sync again.",
    TooLarge: "name what the app does not need in .gitignore or .sandboxignore; `sync --dry-run` lists what travels.",
    Unavailable: "`kubectl sandbox status` and `kubectl describe sbx` say what the runner is waiting for.",
}


_DEFAULT = "default"
"""What ``use`` calls the template's default image; no language may be called so."""


def main(argv: Sequence[str] | None = None) -> int:
    """The plugin's entry point; returns the exit code."""
    arguments = _arguments(list(sys.argv[1:] if argv is None else argv))
    try:
        return asyncio.run(_run(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `kubectl sandbox logs | head`
        sys.stderr.close()
        return 0
    except ApiError as error:
        _complain(error.describe(), type(error))
    except (SandboxError, ValueError, OSError, yaml.YAMLError) as error:
        _complain(str(error), type(error))
    return 1


def _arguments(words: list[str]) -> argparse.Namespace:
    """What follows the first ``--`` is the command's own: argparse before 3.12.7 would remove every further ``--`` from it."""
    cut = words.index("--") if "--" in words else len(words)
    own, inner = words[:cut], words[cut + 1 :]
    parser = _parser()
    arguments = parser.parse_args(own)
    if hasattr(arguments, "words"):
        arguments.words = [*arguments.words, *inner]
        if not arguments.words:
            parser.error("exec needs a command after --, such as: exec NAME -- npm test")
    elif inner:
        parser.error(f"only exec takes words after --: {' '.join(inner)}")
    return arguments


async def _run(arguments: argparse.Namespace) -> int:
    async with Client.from_kubeconfig(
        arguments.kubeconfig,
        context=arguments.context,
        namespace=arguments.namespace,
        impersonate=Impersonation(arguments.as_user or "", _groups(arguments), arguments.as_uid or ""),
    ) as client:
        command: Callable[[Client, argparse.Namespace], Awaitable[int]] = arguments.command
        return await command(client, arguments)


def _groups(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Those before the verb and those after it, which argparse keeps apart."""
    return (*(arguments.as_group or ()), *getattr(arguments, "as_group_too", ()))


async def _apply(client: Client, arguments: argparse.Namespace) -> int:
    for manifest in _manifests(arguments.filename):
        try:
            sandbox = await client.apply_manifest(manifest, force=arguments.force_conflicts)
        except Conflict as error:
            _say_error(error.describe())
            say("Next: --force-conflicts takes these fields over, as after `kubectl apply` or a suspension.", error=True)
            return 1
        say(f"sandboxrunner {sandbox.namespace}/{sandbox.name} applied")
        if arguments.wait:
            await sandbox.wait_ready(timeout=arguments.timeout)
            say(f"sandboxrunner {sandbox.namespace}/{sandbox.name} is ready")
    return 0


async def _list(client: Client, arguments: argparse.Namespace) -> int:
    found = await client.list(all_namespaces=arguments.all_namespaces)
    if not found:
        say("no runners here", error=True)
    rows: list[tuple[str, ...]] = [("NAMESPACE", "NAME", "READY", "REASON", "APP")]
    for sandbox in found:
        conditions = {item.type: item for item in waiting.conditions(sandbox.resource)}
        ready, app = (conditions.get(kind, Condition(kind, "Unknown")) for kind in ("Ready", "AppReady"))
        rows.append((sandbox.namespace, sandbox.name, ready.status, ready.reason, app.reason))
    for line in status_printing.table(rows) if found else ():
        say(line)
    return 0


async def _sync(client: Client, arguments: argparse.Namespace) -> int:
    done = await client.sandbox(arguments.name).sync_folder(
        arguments.directory,
        mode="mirror" if arguments.mirror else "merge",
        restart=arguments.restart,
        drift=arguments.drift,
        include_env=arguments.include_env,
        dry_run=arguments.dry_run,
    )
    for line in sync_printing.summary(done):
        say(one_line(line))
    for line in sync_printing.notes(done, arguments.name):
        say(one_line(line), error=True)
    return 0


async def _export(client: Client, arguments: argparse.Namespace) -> int:
    written = await client.sandbox(arguments.name).export(arguments.directory, *arguments.path)
    say(f"{len(written)} files into {arguments.directory}")
    return 0


async def _cat(client: Client, arguments: argparse.Namespace) -> int:
    found = await client.sandbox(arguments.name).read_file(arguments.path)
    say_content(found.content)
    return 0


async def _watch(client: Client, arguments: argparse.Namespace) -> int:
    changes = client.sandbox(arguments.name).watch_files(cursor=arguments.cursor)
    async with contextlib.aclosing(changes):
        async for change in changes:
            size = "" if change.size is None else f" ({printed_bytes(change.size)})"
            say(f"{one_line(change.type):<9}{one_line(change.origin):<5}{one_line(change.path)}{size}".rstrip(), flush=True)
    return 0


async def _logs(client: Client, arguments: argparse.Namespace) -> int:
    terminal = sys.stdout.isatty()
    prefix = arguments.prefix if arguments.prefix is not None else terminal and arguments.process is None
    printer = Printer(prefix=prefix, colours=terminal and not os.environ.get("NO_COLOR"), timestamps=arguments.timestamps)
    records = client.sandbox(arguments.name).log_records(
        follow=arguments.follow,
        tail_lines=arguments.tail,
        since_seconds=arguments.since,
        previous=arguments.previous,
        stream=arguments.stream,
        process=arguments.process,
    )
    async with contextlib.aclosing(records):
        async for batch in records.batches:
            say_shown("".join(map(printer.show, batch)), flush=arguments.follow)
    return 0


async def _status(client: Client, arguments: argparse.Namespace) -> int:
    sandbox = await client.get(arguments.name)
    verdict = waiting.judge(sandbox.resource)
    status = await sandbox.status() if isinstance(verdict, waiting.Ready) else None
    told: set[str] = set()
    for item in waiting.conditions(sandbox.resource):
        # what the agent says now, not what the controller heard a moment ago
        now = (status.condition(item.type) if status is not None else None) or item
        message = "(see above)" if now.message in told else plain(now.message).replace("\n", f"\n{'':<43}")
        say(f"{one_line(now.type):<13}{one_line(now.status):<8}{one_line(now.reason):<22}{message}".rstrip())
        told.add(now.message)
    if status is not None:
        say(status_printing.described(status))
        return 0
    match verdict:
        case waiting.Waiting():
            say("It is not ready yet.")
        case waiting.Hopeless(found):
            say(f"It will not become ready until somebody acts on {found.type}.")
    return 1


async def _restart(client: Client, arguments: argparse.Namespace) -> int:
    state = await client.sandbox(arguments.name).restart(process=arguments.process, grace_period_seconds=arguments.grace_period)
    say(one_line(f"{state.name}: {state.state}{f', pid {state.pid}' if state.pid else ''}"))
    return 0


async def _exec(client: Client, arguments: argparse.Namespace) -> int:
    from sandbox_client.terminal import attach  # noqa: PLC0415 - there is no termios on Windows

    terminal = arguments.tty and sys.stdin.isatty()
    if arguments.tty and not terminal:
        say("no terminal for the command: standard input is none here", error=True)
    sandbox = client.sandbox(arguments.name)
    async with sandbox.exec_session(*arguments.words, stdin=arguments.stdin, tty=terminal) as session:
        return await attach(session, stdin=arguments.stdin, terminal=terminal)


async def _preview(client: Client, arguments: argparse.Namespace) -> int:
    sandbox = client.sandbox(arguments.name)
    if arguments.revoke:
        await sandbox.revoke_previews()
        say("all previews of this runner are ended")
        return 0
    preview = await sandbox.preview(port=arguments.port, expiration_seconds=arguments.seconds, reload=arguments.reload)
    say(one_line(preview.url))
    minutes = (preview.expires - datetime.now(UTC)).total_seconds() / 60
    say(f"valid for {minutes:.0f} min; whoever has this URL sees the app", error=True)
    if arguments.open:
        await asyncio.to_thread(webbrowser.open, preview.url)
    return 0


async def _use(client: Client, arguments: argparse.Namespace) -> int:
    sandbox, wanted = client.sandbox(arguments.name), arguments.language
    known = await sandbox.languages()
    spec = sandbox.resource.get("spec") or {}
    used = spec.get("language") or ("" if "image" in spec else _DEFAULT)
    if wanted is None:
        there = [(_DEFAULT, "The template's default image."), *((one.name, one.description) for one in known)]
        rows = [("LANGUAGE", "USED", "IMAGE"), *((name, "yes" if name == used else "", text) for name, text in there)]
        say("\n".join(status_printing.table(rows)))
        return 0
    if wanted not in (_DEFAULT, *(one.name for one in known)):
        listed = ", ".join([_DEFAULT, *(one.name for one in known)])
        raise ValueError(f"the template of {arguments.name} has no image for {wanted}; it has {listed}")
    if wanted == used:
        say(f"{arguments.name} uses {wanted} already")
        return 0
    await sandbox.use(None if wanted == _DEFAULT else wanted)
    if "image" in spec:
        say(f"spec.image, {one_line(spec['image'])}, is given up")
    image = "the default image" if wanted == _DEFAULT else f"the image for {wanted}"
    say(f"{arguments.name} gets a new pod with {image} of its template; its files stay")
    return 0


async def _delete(client: Client, arguments: argparse.Namespace) -> int:
    await client.sandbox(arguments.name).delete(wait=arguments.wait, timeout=arguments.timeout)
    say(f"sandboxrunner {arguments.name} deleted")
    return 0


def _manifests(filename: str) -> list[dict[str, Any]]:
    text = sys.stdin.read() if filename == "-" else Path(filename).read_text()
    return [document for document in yaml.safe_load_all(text) if document]


def _duration(text: str) -> int:
    """Whole seconds, rounded up."""
    if not re.fullmatch(r"\d{1,9}|(\d{1,9}(\.\d{1,9})?[smhd]){1,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 10m or 1h30m")
    parts = re.findall(r"([\d.]+)([smhd]?)", text)
    return math.ceil(sum(float(number) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for number, unit in parts))


def _given(text: str) -> str:
    """An empty variable of a script must not mean the credential's owner."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; leave the option out to act as yourself")
    return text


def _say_error(message: str) -> None:
    """Further lines are indented: one that is an app's cannot pass for our next step."""
    say("Error: " + re.sub(r"\n(?!  )", "\n  ", message), error=True)


def _complain(message: str, kind: type[BaseException]) -> None:
    _say_error(message)
    step = next((text for known, text in _NEXT_STEP.items() if issubclass(kind, known)), None)
    if step:
        say(f"Next: {step}", error=True)


def _connection_options(*, after: bool) -> argparse.ArgumentParser:
    """Good before the command and after it; there they leave alone what was given before."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS if after else None)
    shared.add_argument("-n", "--namespace", help="instead of the context's own")
    shared.add_argument("--context", help="instead of the kubeconfig's current one")
    shared.add_argument("--kubeconfig", help="instead of $KUBECONFIG or ~/.kube/config")
    shared.add_argument("--as", dest="as_user", type=_given, metavar="USER", help="act as that user, if you may impersonate")
    group = "as_group_too" if after else "as_group"
    shared.add_argument(
        "--as-group", dest=group, type=_given, action="append", metavar="GROUP", help="with that group, too; may be repeated"
    )
    shared.add_argument("--as-uid", type=_given, metavar="UID", help="and with that UID")
    return shared


def _sync_options(sync: argparse.ArgumentParser) -> None:
    sync.add_argument("directory", metavar="DIR", nargs="?", default=".", help="default: the current one")
    sync.add_argument("--mirror", action="store_true", help="also delete what earlier syncs sent and is no longer here")
    sync.add_argument("--dry-run", action="store_true", help="only list what would travel, be deleted or be left out")
    sync.add_argument("--drift", choices=("keep", "overwrite"), default="keep", help="files that something in the pod changed")
    sync.add_argument("--include-env", action="store_true", help="also send .env files, which may hold secrets")
    sync.add_argument("--restart", choices=("auto", "always", "never"), default="auto")


def _parser() -> argparse.ArgumentParser:
    shared = _connection_options(after=True)
    parser = argparse.ArgumentParser(
        prog="kubectl sandbox",
        description="Run, sync and preview apps in App Studio sandboxes.",
        parents=[_connection_options(after=False)],
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Client, argparse.Namespace], Awaitable[int]], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[shared], help=text, description=text)
        made.set_defaults(command=run)
        return made

    def named(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument("name", metavar="NAME", help="of the SandboxRunner")
        return made

    def waits(made: argparse.ArgumentParser) -> None:
        made.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True, help="until it is done")
        made.add_argument("--timeout", type=float, default=180, metavar="SECONDS", help="for --wait (default 180)")

    apply = command("apply", _apply, "Create or change a runner from a file, and wait until it is ready")
    apply.add_argument("-f", "--filename", required=True, help="YAML; - for standard input")
    apply.add_argument("--force-conflicts", action="store_true", help="take over fields that somebody else's apply set")
    waits(apply)
    listing = command("list", _list, "Show the runners")
    listing.add_argument("-A", "--all-namespaces", action="store_true")
    _sync_options(named(command("sync", _sync, "Send what changed in a folder")))
    export = named(command("export", _export, "Bring the workspace's files here, those that the app made too"))
    export.add_argument("directory", metavar="DIR", help="made if missing; files of the same names are replaced")
    export.add_argument("path", metavar="PATH", nargs="*", help="files or folders of the workspace; all by default")
    cat = named(command("cat", _cat, "Print one file of the workspace"))
    cat.add_argument("path", metavar="PATH")
    watch = named(command("watch", _watch, "Show what changes in the workspace, and whether a sync or the app did it"))
    watch.add_argument("--cursor", default="", help="continue after the change that carried it")
    logs = named(command("logs", _logs, "Show what the app writes"))
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("--process", metavar="NAME", help="only this one: web, a name of spec.processes, install or agent")
    logs.add_argument("--tail", type=int, metavar="LINES")
    logs.add_argument("--since", type=_duration, metavar="DURATION", help="such as 90s, 10m or 1h30m; a plain number is seconds")
    logs.add_argument("--timestamps", action="store_true")
    logs.add_argument("-p", "--previous", action="store_true", help="the run before the present one, of each process")
    logs.add_argument("--prefix", action=argparse.BooleanOptionalAction, help="name the process; default: on a terminal")
    logs.add_argument("--stream", choices=("stdout", "stderr", "system"))
    named(command("status", _status, "Say what runner and app are doing"))
    restart = named(command("restart", _restart, "Stop all processes, or one, and start them again"))
    restart.add_argument("process", metavar="PROCESS", nargs="?", help="default: all of them")
    restart.add_argument("--grace-period", type=int, metavar="SECONDS")
    use = named(command("use", _use, "Run the app in its template's image for a language, or list the languages"))
    use.add_argument(
        "language", metavar="LANGUAGE", nargs="?", help=f"{_DEFAULT} for the default image; without one, all are listed"
    )
    execute = named(command("exec", _exec, "Run a command in the app's container; its exit code becomes this one's"))
    execute.add_argument("-i", "--stdin", action="store_true", help="pass standard input")
    execute.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    execute.add_argument("words", metavar="COMMAND", nargs="*", help="after --: the program and its arguments")
    preview = named(command("preview", _preview, "Print a URL that shows the app in a browser"))
    preview.add_argument("--port", type=int, help="default: the runner's own")
    preview.add_argument("--seconds", type=int, help="how long the URL is good for")
    preview.add_argument("--no-reload", dest="reload", action="store_false", help="leave open pages as they are after a sync")
    for flag, words in (("open", "in the browser of this machine"), ("revoke", "end all previews of this runner instead")):
        preview.add_argument(f"--{flag}", action="store_true", help=words)
    waits(named(command("delete", _delete, "Remove a runner, its files and all it owns")))
    return parser


__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
