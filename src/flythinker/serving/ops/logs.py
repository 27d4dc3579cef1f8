"""Structured logs: one JSON object a line, without texts, users or keys."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

_OF_EVERY_RECORD = set(vars(logging.makeLogRecord({}))) | {"message", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; what `extra` gave are fields of their own.

    Of an exception its kind and place are shown, and with `texts` also what it says, which may
    quote a text.
    """

    def __init__(self, texts: bool = False) -> None:
        super().__init__()
        self._texts = texts

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in vars(record).items() if k not in _OF_EVERY_RECORD}
        if record.exc_info and record.exc_info[0]:
            kind, error, frames = record.exc_info
            line["traceback"] = "".join(traceback.format_tb(frames))
            line["error"] = repr(error) if self._texts else kind.__qualname__
        return json.dumps(line, default=str)


def log_as_json(texts: bool = False) -> None:
    """Send all logs of this process to stderr as JSON.

    uvicorn's own lines of requests, which show paths and so users, are to be off.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(texts))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("httpx", "httpx2"):  # they would log each request sent
        logging.getLogger(name).setLevel(logging.WARNING)
