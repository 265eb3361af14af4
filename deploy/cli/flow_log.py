"""The log of a flow that runs in this process: one short line a message, no traces."""

from __future__ import annotations

import logging


def shorten_log() -> None:
    """Replace Prefect's console lines by our own; its server still gets all of them, traces included."""
    from prefect.logging.configuration import setup_logging
    from prefect.logging.handlers import PrefectConsoleHandler

    setup_logging()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, PrefectConsoleHandler)]:
        root.removeHandler(handler)
    root.addHandler(_Line())


class _Line(logging.Handler):
    """Prints `time  flow  message` to stderr."""

    def __init__(self) -> None:
        from deploy.cli.output import make_console

        super().__init__(logging.INFO)
        self._console = make_console(stderr=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; what Prefect says of its own states and traces is left to its server."""
        from rich.markup import escape

        if record.name.startswith("prefect.") and getattr(record, "flow_run_id", None) and not record.exc_info:
            message = record.getMessage()
            if not message.startswith(("Finished in state", "Beginning", "View at", "Created")):
                time = logging.Formatter().formatTime(record, "%H:%M:%S")
                flow = getattr(record, "task_name", None) or getattr(record, "flow_name", "")
                self._console.print(f"[dim]{time}[/]  [cyan]{escape(str(flow))}[/]  {escape(message)}")
