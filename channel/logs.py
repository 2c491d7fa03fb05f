# SPDX-License-Identifier: Apache-2.0
"""The log of a program: lines for people, or one JSON object a line for machines."""

import json
import logging
from datetime import UTC, datetime

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time, level, logger, message, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line.

        Args:
            record: What was logged.

        Returns:
            JSON without a line break; the time in UTC, ISO 8601, with milliseconds;
            ``trace_id`` where the record belongs to a trace.
        """
        when = datetime.fromtimestamp(record.created, UTC)
        told = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace_id = getattr(record, "trace_id", "")
        if trace_id:
            told["trace_id"] = trace_id
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def log_to_stderr(*, as_json: bool) -> None:
    """Log everything from INFO on.

    Args:
        as_json: One JSON object a line, in place of text.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
