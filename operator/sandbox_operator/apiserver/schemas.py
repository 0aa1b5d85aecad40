"""OpenAPI schemas of what the verbs take and give; field names are those of :mod:`sandbox_protocol.wire` and docs."""

from __future__ import annotations

from typing import Any

from sandbox_operator.apiserver import preview
from sandbox_protocol import names
from sandbox_protocol.wire import MANIFEST_KIND


def _string(description: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _integer(description: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", **({"description": description} if description else {}), **more}


def _array(items: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def _object(description: str, properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        **({"required": list(required)} if required else {}),
    }


_KIND = {"kind": _string(), "apiVersion": _string()}
_REVISION = _string("Monotone number and digest of the workspace, <n>-<16 hex digits>.")

_FILE = _object(
    "One file of a sync, with its content as text or as base64.",
    {
        "path": _string("Relative path, '/' between its parts."),
        "content": _string("The content as UTF-8 text."),
        "contentBase64": _string("The content as base64, for what is no text.", format="byte"),
        "mode": _string("Permission bits in octal, such as 0755; only the nine of them count."),
    },
    ("path",),
)

SCHEMAS: dict[str, dict[str, Any]] = {
    "SyncRequest": _object(
        "Files to write and paths to delete, applied together or not at all.",
        {
            "files": _array(_FILE, "Files to write."),
            "delete": _array(_string(), "Paths to delete."),
            "mode": _string(
                "merge keeps files that are not named; mirror deletes them.", enum=["merge", "mirror"], default="merge"
            ),
            "restart": _string("When to restart the app.", enum=["auto", "always", "never"], default="auto"),
        },
    ),
    "SyncResult": _object(
        "What a sync has done, in entries; bytes counts written file content.",
        {
            **_KIND,
            "revision": _REVISION,
            "written": _integer(),
            "deleted": _integer(),
            "unchanged": _integer(),
            "bytes": _integer(),
            "restarted": {"type": "boolean"},
            "skipped": _array(
                _object("An entry that was left out, and why.", {"path": _string(), "reason": _string()}, ("path", "reason"))
            ),
        },
        ("revision",),
    ),
    MANIFEST_KIND: _object(
        "What is in the workspace.",
        {
            **_KIND,
            "revision": _REVISION,
            "entries": _array(
                _object(
                    "A file, folder or link.",
                    {
                        "path": _string(),
                        "type": _string(enum=["file", "symlink", "directory"]),
                        "size": _integer("Bytes."),
                        "mode": _string("Permission bits in octal."),
                        "sha256": _string("Of a file's content or a link's target, in hex."),
                    },
                    ("path", "type"),
                )
            ),
        },
        ("entries",),
    ),
    "RestartRequest": _object(
        "How to restart.",
        {"gracePeriodSeconds": _integer("Seconds between asking the processes to end and ending them.", minimum=0)},
    ),
    "ProcessState": _object(
        "The app's process.",
        {
            "state": _string(),
            "reason": _string(),
            "message": _string(),
            "pid": _integer(nullable=True),
            "exitCode": _integer(nullable=True),
            "signal": {"nullable": True, "description": "Signal that ended the process."},
            "restarts": _integer(),
            "since": _string(format="date-time"),
            "command": _array(_string()),
            "ready": {"type": "boolean"},
        },
        ("state",),
    ),
    "RunnerStatus": _object(
        "The agent's view of its runner.",
        {
            **_KIND,
            "revision": {**_REVISION, "nullable": True},
            "process": {"$ref": "#/components/schemas/ProcessState"},
            "listening": _array(_object("A port on which something in the app's container listens.", {"port": _integer()})),
            "usage": _object(
                "Bytes in use.", {"workspaceBytes": _integer(), "workspaceFreeBytes": _integer(), "memoryBytes": _integer()}
            ),
            "conditions": _array(
                _object(
                    "A condition with its reason.",
                    {"type": _string(), "status": _string(), "reason": _string(), "message": _string()},
                    ("type", "status"),
                )
            ),
        },
    ),
    preview.KIND: _object(
        "A request for a preview URL, and the answer in its status.",
        {
            **_KIND,
            "spec": _object(
                "What is wanted.",
                {
                    "port": _integer("Port of the app; the runner's own port by default.", minimum=1, maximum=65535),
                    "expirationSeconds": _integer(
                        "Life of the URL and of the session it opens.",
                        minimum=preview.MIN_SECONDS,
                        maximum=preview.MAX_SECONDS,
                        default=preview.DEFAULT_SECONDS,
                    ),
                },
            ),
            "status": _object(
                "The signed URL; whoever has it sees the preview until it ends.",
                {"url": _string(), "expirationTimestamp": _string(format="date-time")},
            ),
        },
    ),
    "Status": _object(
        "metav1.Status: why a request failed, and what to do about it.",
        {
            **_KIND,
            "status": _string(),
            "message": _string(),
            "reason": _string(),
            "code": _integer(),
            "details": {"type": "object"},
        },
    ),
    names.KIND: _object(f"Served by {names.GROUP}; here only its subresources are.", {**_KIND, "metadata": {"type": "object"}}),
}
