"""Log each message once, however often it recurs."""

from __future__ import annotations

import re


class SeenMessages:
    """
    Remembers messages; those that differ only in their numbers count as the same.

    :param limit: messages remembered; later ones are never new, so that a stream of distinct
        texts fills neither the log nor the memory
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def is_new(self, message: str) -> bool:
        """Return whether a message has not been seen yet, and remember it."""
        pattern = re.sub(r'\d+', '#', message)
        if pattern in self._seen or len(self._seen) >= self._limit:
            return False
        self._seen.add(pattern)
        return True

    def forget(self, prefix: str = '') -> None:
        """Forget the messages that start with a prefix."""
        self._seen = {pattern for pattern in self._seen if not pattern.startswith(prefix)}
