"""Shows Snakemake's messages as one line that counts the steps; a failed step adds a line that names its log."""

import os
import shutil
import sys
from logging import LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent


class LogHandler(LogHandlerBase):
    """On a terminal, each step overwrites the line; in any other output, each step adds a line."""

    writes_to_stream = has_filter = has_formatter = True
    writes_to_file = needs_rulegraph = False
    interrupted = False

    def __post_init__(self) -> None:
        self.done, self.total, self.titles = 0, 0, {}
        self.failed, self.errors = False, []
        self.terminal = sys.stderr.isatty()

    def emit(self, record: LogRecord) -> None:
        if self.interrupted:
            return
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            self.total = record.stats["total"]
        elif event == LogEvent.JOB_INFO:
            self.titles[record.jobid] = record.rule_msg or record.rule_name
            self.say(f"[{self.done + 1}/{self.total}] {self.titles[record.jobid]}", passing=True)
        elif event == LogEvent.PROGRESS:
            self.done, self.total = record.done, record.total
        elif event == LogEvent.JOB_ERROR:
            self.failed = True
            self.say(f"{self.titles.get(record.jobid, record.rule_name)}: {reason(record.log)}")
        elif event == LogEvent.ERROR:
            self.errors.append(f"serlib: {record.getMessage()}")

    def say(self, text: str, passing: bool = False) -> None:
        """Write a text; on a terminal, the next text overwrites a ``passing`` one."""
        if self.terminal:
            columns = shutil.get_terminal_size().columns
            text = "\r\x1b[K" + (text[: columns - 1] if passing else text + "\n")
        else:
            text += "\n"
        sys.stderr.write(text.encode(sys.stderr.encoding, "replace").decode(sys.stderr.encoding))
        sys.stderr.flush()

    def close(self) -> None:
        errors, self.errors = self.errors, []
        # After a failed step, the errors only repeat that it failed.
        for error in () if self.failed or self.interrupted else errors:
            self.say(error)
        if self.terminal:
            self.say("", passing=True)
        super().close()


def reason(logs: list[str]) -> str:
    """The last line of a failed step's log, and the log's path."""
    for log in filter(os.path.isfile, logs):
        lines = Path(log).read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it wrote nothing")
        return f"{last} ({log})"
    return "failed; V=1 shows all that it writes"
