"""All targets, by name."""

from tests.fuzz.target import TARGETS
from tests.fuzz.targets import agent, apps, edge, http, pages, smuggling

__all__ = ["TARGETS", "agent", "apps", "edge", "http", "pages", "smuggling"]
