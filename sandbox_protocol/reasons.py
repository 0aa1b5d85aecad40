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
