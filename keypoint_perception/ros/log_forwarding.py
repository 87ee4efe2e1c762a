"""Forward the package's Python log to a node's logger."""

from __future__ import annotations

import logging

from rclpy.node import Node


class _Forward(logging.Handler):
    def __init__(self, node: Node) -> None:
        super().__init__()
        self._log = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        # Separate calls, because rclpy rejects two severities from the same line of code.
        if record.levelno >= logging.ERROR:
            self._log.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._log.warning(record.getMessage())
        else:  # the level set below lets nothing less pass
            self._log.info(record.getMessage())


def forward_logs(node: Node) -> None:
    """Forward the package's Python log to a node's logger, and nowhere else."""
    logger = logging.getLogger('keypoint_perception')
    logger.setLevel(logging.INFO)
    logger.handlers = [_Forward(node)]
    logger.propagate = False
