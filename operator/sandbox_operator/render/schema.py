"""What expressions see as ``schema``: the runner as the template's CEL may use it, complete, with nothing secret in it.

``schema.metadata`` and ``schema.spec`` as in kro. What the operator adds is ``schema.spec.runtime``, so that the same resources
work in a kro ResourceGraphDefinition whose instances carry that field.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from sandbox_operator.model import egress, images
from sandbox_operator.model.effective import EffectiveSpec
from sandbox_operator.model.parts import EnvVar, Resources
from sandbox_operator.model.record import write
from sandbox_operator.model.template import TemplateSpec
from sandbox_protocol import names
from sandbox_protocol.refs import Refs


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the operator knows and neither spec nor template says."""

    refs: Refs
    runner_namespace: str
    runner_name: str
    system_namespace: str
    gate_targets: tuple[str, ...]
    """``address:port`` of what no sandbox may reach: the gate proves the policy with them."""
    env_revision: str = ""
    """Changes with the content of the Secret ``env``; empty without one."""
    capabilities: frozenset[str] = frozenset()
    """API versions and kinds of the cluster that a template may ask for: ``<group>/<version>/<Kind>``."""
    preview_url: str = ""
    """Where its app is seen, with ``{port}`` in it; the app is told."""
    pull_secret: bool = False
    """Whether there is a Secret ``image-pull``."""


def schema(spec: EffectiveSpec, template: TemplateSpec, runtime: Runtime) -> dict[str, Any]:
    return {
        "metadata": {"name": runtime.runner_name, "namespace": runtime.runner_namespace, "uid": runtime.refs.uid},
        "spec": {
            "image": spec.image,
            "command": list(spec.command),
            "workingDir": spec.working_dir,
            "port": spec.port,
            "env": [_env(variable) for variable in spec.env],
            "resources": _resources(spec.resources),
            "storage": {"size": spec.storage.size, "storageClassName": spec.storage.storage_class_name or ""},
            "operatingMode": spec.operating_mode,
            "runtime": {
                "namespace": runtime.refs.namespace,
                "systemNamespace": runtime.system_namespace,
                "runner": f"{runtime.runner_namespace}/{runtime.runner_name}",
                "agentImage": images.canonical(template.agent_image),
                "runtimeClassName": template.runtime_class_name or "",
                "hostUsers": template.host_users,
                "app": _literal(spec.app_json(runtime.preview_url)),
                "limits": _literal(_limits(template)),
                "pids": template.limits.pids,
                "openFiles": template.limits.open_files,
                "gateTargets": " ".join(runtime.gate_targets),
                "egress": egress.rules(template.egress),
                "dns": egress.has_dns(template.egress),
                "envRevision": runtime.env_revision,
                "imagePullSecrets": [{"name": names.PULL_SECRET}] if runtime.pull_secret else [],
                "capabilities": sorted(runtime.capabilities),
            },
        },
    }


def _env(variable: EnvVar) -> dict[str, Any]:
    if variable.value_from is None:
        return {"name": variable.name, "value": _literal(variable.value)}
    return {
        "name": variable.name,
        "valueFrom": {"secretKeyRef": {"name": names.ENV_SECRET, "key": variable.name, "optional": True}},
    }


def _resources(resources: Resources) -> dict[str, Any]:
    return {
        "requests": {name: str(amount) for name, amount in resources.requests.items()},
        "limits": {name: str(amount) for name, amount in resources.limits.items()},
    }


def _limits(template: TemplateSpec) -> str:
    """In the spelling of :class:`sandbox_protocol.limits.SyncLimits`, which the agent reads."""
    found = {_snake(name): value for name, value in write(template.limits.sync).items()}
    if template.limits.log_bytes is not None:
        found["log_bytes"] = template.limits.log_bytes
    return json.dumps(found)


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def _literal(text: str) -> str:
    """For an environment value: the kubelet would expand ``$(NAME)``, and reads ``$$`` as one dollar sign."""
    return text.replace("$", "$$")
