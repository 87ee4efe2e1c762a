"""``doctor``: what is installed, what will be used, what is missing and how to get it."""


def doctor() -> None:
    """Say what is installed, what will be used, what is missing and how to get it."""
