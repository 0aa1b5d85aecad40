"""The table itself. Pure data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``reason`` is a Status's own, ``text`` its message, a page's heading and paragraph, or the body's begin."""

    code: int
    text: str
    reason: str = ""
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """``says`` is the text with ``…`` for what differs from case to case."""

    code: int
    says: str
    reason: str = ""
    retry_after: int | None = None

    def differences(self, answer: Answer) -> list[str]:
        pattern = ".*".join(map(re.escape, self.says.split("…")))
        found = []
        if not re.fullmatch(pattern, answer.text, re.DOTALL):
            found.append(f"says {answer.text!r}, not {self.says!r}")
        for name in ("code", "reason", "retry_after"):
            if getattr(self, name) != getattr(answer, name):
                found.append(f"{name} is {getattr(answer, name)!r}, not {getattr(self, name)!r}")
        return found


SYNC_JSON, SYNC_TAR, PART, MANIFEST, TREE, FILE, WATCH = "sync JSON", "sync tar", "part", "manifest", "tree", "file", "watch"
RESTART, LOG, FOLLOW, STATUS = "restart", "log", "log follow", "status"
PREVIEW, REVOKE, PROXY, BROWSER = "preview", "preview revoke", "proxy", "browser"
EXEC, EXEC_PLAIN = "exec", "exec plain"

VERBS: Mapping[str, str] = {
    SYNC_JSON: "`POST sync` of JSON",
    SYNC_TAR: "`POST sync` of a tar",
    PART: "`POST sync?upload=…`, the last part",
    MANIFEST: "`GET sync`, the manifest",
    TREE: "`GET sync` as tar",
    FILE: "`GET sync?file=…`",
    WATCH: "`GET sync?watch=true`",
    LOG: "`GET log`",
    FOLLOW: "`GET log?follow=true`",
    STATUS: "`GET status`",
    PROXY: "`GET proxy/`",
    EXEC: "`GET exec` as a WebSocket",
    EXEC_PLAIN: "`GET exec` without an upgrade",
    PREVIEW: "`POST preview`",
    BROWSER: "the preview URL in a browser",
    REVOKE: "`DELETE preview`",
    RESTART: "`POST restart`",
}
"""In the order in which they are asked: revoking and restarting change what the others would meet."""

RUNNING, STALE, TOO_LARGE, TOO_MANY, APP_DEAD = "running", "stale", "too-large", "too-many", "app-dead"
STARTING, SUSPENDED, AGENT_DEAD, AGENT_FROZEN = "starting", "suspended", "agent-dead", "agent-frozen"
FORBIDDEN, DELETING, GONE, MADE_ANEW, NO_APISERVER = "forbidden", "deleting", "gone", "made-anew", "no-apiserver"

STATES: Mapping[str, tuple[str, str]] = {
    RUNNING: ("Success", "The runner is Ready and its app answers."),
    STALE: ("Stale", "`If-Match` names an earlier revision than the workspace's."),
    TOO_LARGE: ("Too large", "The request is over a limit. The template of this table allows 64 kB a body."),
    TOO_MANY: ("Too many", "The log is followed by as many readers as one user may have."),
    APP_DEAD: (
        "App dead",
        "The app ends as soon as it starts; the agent lives. `exec` enters all the same: the container outlives the app.",
    ),
    STARTING: ("Not ready", "No pod runs yet: here the cluster has no room for it. After 30 s of that, Retry-After is left out."),
    SUSPENDED: ("Suspended", "`spec.operatingMode` is Suspended: there is no pod, and the files are kept."),
    AGENT_DEAD: ("Agent dead", "The agent was killed and its port refuses connections. `exec` needs the app's container alone."),
    AGENT_FROZEN: ("Agent frozen", "The agent's process is stopped: its port takes connections and nothing answers."),
    FORBIDDEN: ("Forbidden", "The user has no right to the verb; the user of the preview has lost it since."),
    DELETING: ("Being deleted", "The runner is deleted and its objects are still being removed."),
    GONE: ("Gone", "The runner is deleted, or there never was one."),
    MADE_ANEW: ("Made anew", "Deleted and created under the same name: another runner. The preview URL is the earlier one's."),
    NO_APISERVER: (
        "No API server of ours",
        "Every replica of sandbox-apiserver is down: the words are Kubernetes' own. Previews go on.",
    ),
}

_WRITING = (SYNC_JSON, SYNC_TAR, PART)
_READING = (MANIFEST, TREE, FILE, WATCH)
_ASKED_OF_AGENT = (*_WRITING, *_READING, LOG, FOLLOW, STATUS, RESTART)
_ENTERING = (EXEC, EXEC_PLAIN)
_OF_A_POD = (*_ASKED_OF_AGENT, PROXY)
_THROUGH_US = (*_OF_A_POD, *_ENTERING, PREVIEW, REVOKE)


def _each(verbs: tuple[str, ...], expected: Expected) -> dict[str, Expected]:
    return dict.fromkeys(verbs, expected)


def _unavailable(says: str, retry_after: int = 2) -> Expected:
    return Expected(503, says, "ServiceUnavailable", retry_after)


def _forbidden(action: str, verb: str) -> Expected:
    what = f'cannot {action} resource "sandboxrunners/{verb}" in API group "…" in the namespace "…"'
    return Expected(403, f'sandboxrunners.… "…" is forbidden: User "…" {what}', "Forbidden")


_SYNCED = Expected(200, '{"kind":"SyncResult",…,"revision":"…",…}')


def _agent_works(page: str) -> dict[str, Expected]:
    """``page`` is what the workspace's index.html holds."""
    return {
        **_each(_WRITING, _SYNCED),
        MANIFEST: Expected(200, '{"kind":"SyncManifest",…,"revision":"…","entries":[…]}'),
        TREE: Expected(200, "…index.html…"),
        FILE: Expected(200, page),
        WATCH: Expected(200, '{"type":"BOOKMARK","cursor":"…"}\n'),
        LOG: Expected(200, "$ sh -c …"),
        FOLLOW: Expected(200, "$ sh -c …"),
        STATUS: Expected(200, '{"kind":"RunnerStatus","revision":"…",…}'),
        RESTART: Expected(200, '{"name":"web",…,"state":"…",…}'),
    }


# Needs the app's container, whose launcher outlives the app, and not the agent.
_ENTERING_WORKS = {
    EXEC: Expected(101, "v5.channel.k8s.io; stdout: here\n; exit code 0"),
    EXEC_PLAIN: Expected(
        400,
        "exec speaks WebSocket only, and the request asks for no upgrade: send Upgrade: websocket with v5.channel.k8s.io",
        "BadRequest",
    ),
}
_SIGNING_WORKS = {
    PREVIEW: Expected(201, '{"kind":"PreviewRequest",…,"status":{"url":"http…?sandbox_token=…","expirationTimestamp":"…Z"}}'),
    REVOKE: Expected(200, "", "Success"),
}
_SMALL = Expected(413, "the body has … bytes; 4096 are allowed: this verb takes a few options, no files", "RequestEntityTooLarge")
_LARGE = Expected(
    413,
    "the … has … bytes; 65536 are allowed (body_bytes). Send less at once, or raise the limit in the template.",
    "RequestEntityTooLarge",
)
_NOT_AT = Expected(
    412, "the workspace is not at revision 1-…: it is 2-…. Read the manifest and sync again.", "PreconditionFailed"
)
_SUSPENDED = Expected(
    409,
    'SandboxRunner "…" is suspended: set spec.operatingMode to Running to wake it, '
    """kubectl patch sandboxrunner … -n … --type=merge -p '{"spec":{"operatingMode":"Running"}}'""",
    "Suspended",
)
_NO_RUNNER = 'sandboxrunners.infrastructure.appstudio.dev "…" '

TABLE: Mapping[str, Mapping[str, Expected]] = {
    RUNNING: {
        **_agent_works("Here it is"),
        **_ENTERING_WORKS,
        **_SIGNING_WORKS,
        PROXY: Expected(200, "Here it is"),
        BROWSER: Expected(200, "Here it is"),
    },
    STALE: _each(_WRITING, _NOT_AT),
    TOO_LARGE: {**_each(_WRITING, _LARGE), **_each((PREVIEW, RESTART), _SMALL)},
    TOO_MANY: {
        **_each(
            (FOLLOW, EXEC),
            Expected(
                429,
                'user "…" at SandboxRunner "…" has 64 long-running requests (logs, watches, upgrades) in flight, 64 are '
                "allowed; let some end first",
                "TooManyRequests",
                10,
            ),
        ),
    },
    APP_DEAD: {
        **_agent_works("never served"),
        **_ENTERING_WORKS,
        **_SIGNING_WORKS,
        PROXY: _unavailable(
            "The app keeps crashing: the app ended with exit code 3; tried again in … s, or at once after a sync. "
            "Last lines:\n…no such module: left-pad",
            1,
        ),
        BROWSER: Expected(
            503,
            "The app keeps crashing: The app ended with exit code 3; tried again in … s, or at once after a sync.",
            retry_after=1,
        ),
    },
    STARTING: {
        **_each(
            _OF_A_POD,
            _unavailable("the runner's agent cannot be reached. NetworkReady is False, Unschedulable: …Insufficient cpu…"),
        ),
        **_each(
            _ENTERING,
            _unavailable(
                "the app's container is not running (waiting). NetworkReady is False, Unschedulable: …Insufficient cpu…"
            ),
        ),
        **_SIGNING_WORKS,
        BROWSER: Expected(503, "The sandbox is not ready: Unschedulable: …Insufficient cpu…", retry_after=2),
    },
    SUSPENDED: {
        **_each((*_OF_A_POD, *_ENTERING), _SUSPENDED),
        **_SIGNING_WORKS,
        BROWSER: Expected(
            503,
            "The sandbox is suspended: Its files are kept. Set spec.operatingMode to Running to wake it.",
            retry_after=2,
        ),
    },
    AGENT_DEAD: {
        **_each(
            _OF_A_POD,
            _unavailable(
                "the runner's agent cannot be reached. AgentReady is False, CrashLoop: Container agent ended with exit code 137; "
                "… restarts."
            ),
        ),
        **_ENTERING_WORKS,
        **_SIGNING_WORKS,
        BROWSER: Expected(
            503, "The sandbox is not ready: CrashLoop: Container agent ended with exit code 137; … restarts.", retry_after=2
        ),
    },
    AGENT_FROZEN: {
        **_each(_OF_A_POD, _unavailable("the runner's agent cannot be reached; try again")),
        **_ENTERING_WORKS,
        **_SIGNING_WORKS,
        BROWSER: Expected(503, "The sandbox is not ready: …: …", retry_after=2),
    },
    FORBIDDEN: {
        **_each(_WRITING, _forbidden("create", "sync")),
        **_each(_READING, _forbidden("get", "sync")),
        **_each((LOG, FOLLOW), _forbidden("get", "log")),
        STATUS: _forbidden("get", "status"),
        PROXY: _forbidden("get", "proxy"),
        **_each(_ENTERING, _forbidden("get", "exec")),
        PREVIEW: _forbidden("create", "preview"),
        REVOKE: _forbidden("delete", "preview"),
        RESTART: _forbidden("create", "restart"),
        BROWSER: Expected(403, "Access was withdrawn: … may no longer see previews of …."),
    },
    DELETING: {
        **_each(_THROUGH_US, Expected(410, f"{_NO_RUNNER}is being deleted: create it again once it is gone", "Gone")),
        BROWSER: Expected(404, "The sandbox is gone: This sandbox does not exist any more."),
    },
    GONE: {
        **_each(
            _THROUGH_US,
            Expected(
                404,
                f'{_NO_RUNNER}not found in namespace "…": kubectl get sandboxrunners -n … lists those that exist',
                "NotFound",
            ),
        ),
        BROWSER: Expected(404, "The sandbox is gone: This sandbox does not exist any more."),
    },
    MADE_ANEW: {
        **_agent_works("of the new one"),
        **_ENTERING_WORKS,
        **_SIGNING_WORKS,
        PROXY: Expected(200, "of the new one"),
        BROWSER: Expected(404, "The sandbox is gone: This sandbox does not exist any more."),
    },
    NO_APISERVER: {
        # the aggregator's own words, without a Status
        **_each(_THROUGH_US, Expected(503, "service unavailable\n")),
        BROWSER: Expected(200, "Here it is"),
    },
}
