"""Logs of all our programs: one JSON object a line, which collectors read and which text from outside cannot break out of.

``log.info("request", extra={"fields": {...}})`` adds fields of its own. Everything outside of ASCII is escaped, so a user name
with line breaks, terminal controls or bytes that are no UTF-8 stays inside its string.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str = "INFO") -> None:
    """Everything to standard output, from ``level`` on; ValueError for a level that does not exist."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler])
