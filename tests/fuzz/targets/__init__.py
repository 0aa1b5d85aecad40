"""All targets, by name."""

from tests.fuzz.target import TARGETS
from tests.fuzz.targets import agent, apps, client, edge, http, pages, smuggling

__all__ = ["TARGETS", "agent", "apps", "client", "edge", "http", "pages", "smuggling"]
