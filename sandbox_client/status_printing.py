"""What the agent says of a runner, as lines for people. Each is one line whatever an app put into it."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox_client.printing import one_line
from sandbox_client.records import ProcessState, RunnerStatus
from sandbox_client.sync_printing import printed_bytes


def described(status: RunnerStatus) -> str:
    lines = table(
        [
            ("PROCESS", "STATE", "READY", "PORT", "RESTARTS", "COMMAND"),
            *(
                (
                    one.name,
                    _state(one),
                    "yes" if one.ready else "no",
                    _port(one),
                    str(one.restarts),
                    " ".join(one.command),
                )
                for one in status.processes
            ),
        ]
    )
    for one in status.processes:
        if one.message:
            lines += [one_line(f"{one.name}: {line}") for line in one.message.splitlines()]
    install = status.install
    if install.state != "None":
        lines.append(one_line(f"install      {install.state}: {' '.join(install.command)}"))
    lines += map(
        one_line,
        (
            f"listening    {', '.join(f'{address}:{port}' for address, port in status.listening) or '-'}",
            f"revision     {status.revision or '-'}",
            f"usage        {', '.join(f'{name} {_amount(name, value)}' for name, value in status.usage.items())}",
        ),
    )
    return "\n".join(lines)


def _port(process: ProcessState) -> str:
    """Where it was to listen and, if that is another port, where it does."""
    elsewhere = process.listening is not None and process.listening != process.port
    return f"{process.port} ({process.listening})" if elsewhere else str(process.port or "-")


def _amount(name: str, value: int) -> str:
    """By its name: bytes, a yes or no, or a count."""
    if name.endswith("Bytes"):
        return printed_bytes(value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _state(process: ProcessState) -> str:
    ended = f" ({process.exit_code})" if process.exit_code is not None else ""
    reason = f", {process.reason}" if process.reason else ""
    return f"{process.state}{ended}{reason}"


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    rows = [tuple(map(one_line, row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
