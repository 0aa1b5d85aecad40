"""All targets, by name."""

from tests.fuzz.target import TARGETS
from tests.fuzz.targets import agent, edge, http, smuggling

__all__ = ["TARGETS", "agent", "edge", "http", "smuggling"]
