"""What to run and what to install when nobody said: found from the tree.

Pure over a :class:`Reader`. In the order: Django, package.json, a Python web app, the commands of a Procfile, Makefile,
Dockerfile and their kind, another language, a static site, and the same one and two folders down. Every choice is shown in the
runner's status, so that a wrong guess is seen and can be overruled by ``spec.command``.
"""

from __future__ import annotations

from runner_agent.detect.finding import declared, installs, plan, wanted_program
from runner_agent.detect.install import CUT_OFF, ENVIRONMENT, Install
from runner_agent.detect.plan import NoCommandError, Plan, is_configuration, with_image
from runner_agent.detect.reading import Reader

__all__ = [
    "CUT_OFF",
    "ENVIRONMENT",
    "Install",
    "NoCommandError",
    "Plan",
    "Reader",
    "declared",
    "installs",
    "is_configuration",
    "plan",
    "wanted_program",
    "with_image",
]
