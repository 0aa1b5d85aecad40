"""Reasons of conditions that more than one program acts on; the operator writes them, everybody may read them."""

from __future__ import annotations

HOPELESS = frozenset(
    {
        "Rejected",
        "SpecInvalid",
        "TooManyRunners",
        "TemplateInvalid",
        "TemplateNotFound",
        "Conflict",
        "Forbidden",
        "ApplyRefused",
        "EnvMissing",
        "EnvNotReadable",
        "PullSecretUnusable",
        "NetworkPolicyNotEnforced",
        "ImageNotSigned",
        "ImagePullBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
    }
)
"""Reasons that somebody must act on. Not among them: Unschedulable (an autoscaler may add a node)."""

HOPELESS_APP = frozenset(
    {
        "NoCommand",
        "InstallFailed",
        "LauncherNotStarted",
        "CrashLoop",
        "OOMKilled",
        "Exited",
        "WrongPort",
        "NoListener",
        "NotHTTP",
        "NoAnswer",
        "StoppedAnswering",
    }
)
"""Reasons of AppReady=False: the app will not answer until another sync, restart or change of the spec. Not among them:
Restarting, which is the first crash, AwaitingFirstSync, Installing and Starting."""
