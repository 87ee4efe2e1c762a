"""Log each message once, however often it recurs."""

from __future__ import annotations

from collections import defaultdict
import re


class SeenMessages:
    """
    Remembers messages; those that differ only in their numbers count as the same.

    :param limit: messages remembered about one subject; later ones are never new, so that a
        stream of distinct texts fills neither the log nor the memory
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._seen: dict[str, set[str]] = defaultdict(set)

    def is_new(self, message: str, *, subject: str = '') -> bool:
        """Return whether a message about a subject has not been seen yet, and remember it."""
        seen, pattern = self._seen[subject], re.sub(r'\d+', '#', message)
        if pattern in seen or len(seen) >= self._limit:
            return False
        seen.add(pattern)
        return True

    def forget(self, prefix: str, *, subject: str = '') -> None:
        """Forget the messages about a subject that start with a prefix."""
        seen = self._seen[subject]
        seen -= {pattern for pattern in seen if pattern.startswith(prefix)}
