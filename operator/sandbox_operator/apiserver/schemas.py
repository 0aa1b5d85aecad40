"""OpenAPI schemas of what the verbs take and give; field names are those of :mod:`sandbox_protocol.wire` and docs."""

from __future__ import annotations

from typing import Any

from sandbox_operator.apiserver import preview
from sandbox_operator.apiserver.verb import API_VERSION
from sandbox_protocol import names
from sandbox_protocol.wire import MANIFEST_KIND


def _string(description: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _integer(description: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", **({"description": description} if description else {}), **more}


def _array(items: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def _object(description: str, properties: dict[str, Any], required: tuple[str, ...] = (), example: Any = None) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        **({"required": list(required)} if required else {}),
        **({"example": example} if example is not None else {}),
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
            "drift": _string(
                "What becomes of a file that something in the pod changed, and this sync does not.",
                enum=["keep", "overwrite"],
                default="keep",
            ),
        },
        example={"files": [{"path": "src/main.js", "content": "console.log(1)\n"}], "delete": ["src/old.js"], "mode": "merge"},
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
            "unapplied": _array(_string("A changed source that nothing restarted for, reloaded or read within a second.")),
            "drifted": _array(_string(), "Paths that something in the pod changed since they were synced, and that were kept."),
        },
        ("revision",),
    ),
    MANIFEST_KIND: _object(
        "What is in the workspace; before the first sync, nothing of no revision.",
        {
            **_KIND,
            "revision": {**_REVISION, "nullable": True},
            "entries": _array(
                _object(
                    "A file, folder or link.",
                    {
                        "path": _string(),
                        "type": _string(enum=["file", "symlink", "directory"]),
                        "size": _integer("Bytes."),
                        "mode": _string("Permission bits in octal."),
                        "sha256": _string("Of a file's content or a link's target, in hex."),
                        "state": _string("What became of it in the pod, if anything.", enum=["missing", "changed"]),
                        "blockedBy": _string("What must be deleted before it can be written again."),
                    },
                    ("path", "type"),
                )
            ),
        },
        ("entries",),
    ),
    "SyncUpload": _object(
        "How far an upload in parts has come.",
        {
            "kind": _string(),
            "offset": _integer("Bytes that have arrived; the next part begins here.", minimum=0),
            "complete": {"type": "boolean", "description": "Whether it was processed; its last part, repeated, gets the answer."},
            "expirationTimestamp": _string("When it is forgotten unless more comes.", format="date-time"),
        },
        ("offset", "complete", "expirationTimestamp"),
    ),
    "SyncState": {
        "description": "The manifest, or with upload how far that one came.",
        "oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in (MANIFEST_KIND, "SyncUpload")],
    },
    "RestartRequest": _object(
        "How to restart.",
        {
            "gracePeriodSeconds": {
                "type": "number",
                "nullable": True,
                "minimum": 0,
                "maximum": 600,
                "description": "Seconds between asking the processes to end and ending them; the runner's own by default.",
            },
            "process": _string("Name of the one process to restart; by default all are.", nullable=True, maxLength=32),
        },
    ),
    "ProcessState": _object(
        "A process: web, or one of spec.processes.",
        {
            "name": _string(),
            "port": _integer("Its port, if it has one.", nullable=True),
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
            "processes": _array({"$ref": "#/components/schemas/ProcessState"}, "All of them, web first; process is web."),
            "install": _object(
                "The dependency install that runs before all processes.",
                {
                    "state": _string(enum=["None", "Running", "Succeeded", "Failed"]),
                    "since": _string(format="date-time", nullable=True),
                    "exitCode": _integer(nullable=True),
                    "command": _array(_string()),
                    "message": _string("Why it failed, with its last lines."),
                },
            ),
            "listening": _array(_object("A port on which something in the app's container listens.", {"port": _integer()})),
            "usage": _object(
                "What is in use, of memory and of the volume that holds workspace, HOME and /tmp.",
                {
                    "workspaceBytes": _integer("Used; of a shared volume what this runner holds, absent until it was counted."),
                    "workspaceFreeBytes": _integer(),
                    "workspaceFiles": _integer("Files and directories, as inodes; absent where the volume does not count them."),
                    "workspaceFreeFiles": _integer(),
                    "volumeShared": {
                        "type": "boolean",
                        "description": "Whether the volume is part of a larger file system, which bounds nothing.",
                    },
                    "memoryBytes": _integer(nullable=True),
                },
            ),
            "isolation": _object(
                "What isolates the two containers, as measured in them; fields as in status.isolation of a SandboxRunner.",
                {"agent": {"type": "object"}, "app": {"type": "object", "nullable": True}},
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
                    "port": _integer("Port of the app; the runner's own by default.", nullable=True, minimum=1, maximum=65535),
                    "expirationSeconds": _integer(
                        "Life of the URL and of the session it opens.",
                        minimum=preview.MIN_SECONDS,
                        maximum=preview.MAX_SECONDS,
                        default=preview.DEFAULT_SECONDS,
                    ),
                    "reload": {
                        "type": "boolean",
                        "default": False,
                        "description": "Whether its pages load anew after a sync, where the app's own tools do not see to that.",
                    },
                },
            ),
            "status": {
                **_object(
                    "The signed URL; whoever has it sees the preview until it ends. Not read in a request.",
                    {"url": _string(), "expirationTimestamp": _string(format="date-time")},
                ),
                "readOnly": True,
            },
        },
        example={"kind": preview.KIND, "apiVersion": API_VERSION, "spec": {"expirationSeconds": 600}},
    ),
    "Status": _object(
        "metav1.Status: why a request failed, and what to do about it.",
        {
            **_KIND,
            "metadata": {"type": "object"},
            "status": _string(enum=["Failure", "Success"]),
            "message": _string("For people; ends with the next step where one can act."),
            "reason": _string("For programs, in CamelCase."),
            "code": _integer("The HTTP code.", minimum=100, maximum=599),
            "details": _object(
                "What exactly is meant.",
                {
                    "name": _string(),
                    "group": _string(),
                    "kind": _string(),
                    "uid": _string(),
                    "causes": _array(
                        _object(
                            "One of the reasons.",
                            {"field": _string("Field, parameter or path."), "reason": _string(), "message": _string()},
                        )
                    ),
                    "retryAfterSeconds": _integer("After which to try again.", minimum=0),
                },
            ),
        },
        ("kind", "apiVersion", "status"),
    ),
    names.KIND: _object(f"Served by {names.GROUP}; here only its subresources are.", {**_KIND, "metadata": {"type": "object"}}),
}
