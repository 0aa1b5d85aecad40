"""SDK of App Studio sandboxes: asynchronous here, blocking in :mod:`sandbox_client.blocking`, ``kubectl sandbox`` over both.

::

    async with Client.from_kubeconfig() as client:
        shop = await client.apply("shop")
        await shop.wait_ready()
        await shop.sync(directory="shop/")
        await shop.wait_app()
        print((await shop.preview()).url)
"""

from sandbox_client.client import Client
from sandbox_client.errors import (
    ApiError,
    Busy,
    ConfigError,
    Conflict,
    Forbidden,
    Invalid,
    InvalidName,
    LocalFileError,
    NeverReady,
    NotFound,
    SandboxError,
    Stale,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    WaitTimeout,
)
from sandbox_client.execution import ExecResult, ExecSession
from sandbox_client.impersonation import Impersonation
from sandbox_client.records import (
    Condition,
    FileChange,
    FileContent,
    InstallState,
    Language,
    LogRecord,
    Manifest,
    Preview,
    ProcessState,
    ProxyAnswer,
    RunnerStatus,
)
from sandbox_client.sandbox import Sandbox
from sandbox_protocol.wire import ManifestEntry, Skipped, SyncResult

__all__ = [
    "ApiError",
    "Busy",
    "Client",
    "Condition",
    "ConfigError",
    "Conflict",
    "ExecResult",
    "ExecSession",
    "FileChange",
    "FileContent",
    "Forbidden",
    "Impersonation",
    "InstallState",
    "Invalid",
    "InvalidName",
    "Language",
    "LocalFileError",
    "LogRecord",
    "Manifest",
    "ManifestEntry",
    "NeverReady",
    "NotFound",
    "Preview",
    "ProcessState",
    "ProxyAnswer",
    "RunnerStatus",
    "Sandbox",
    "SandboxError",
    "Skipped",
    "Stale",
    "SyncResult",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "WaitTimeout",
]
