"""
Errors that a user can fix.

A message says what was found, what was expected and what to do, in one sentence. The command
line prints it and exits with 2; the node logs it and keeps running.
"""


class PerceptionError(Exception):
    """Base of all errors that a user can fix."""


class SourceError(PerceptionError):
    """A recording, frame store or annotation file cannot be used."""


class EncodingError(SourceError):
    """An image's encoding, size or step cannot be used."""


class ConfigError(PerceptionError):
    """A setting is unknown or out of range."""


class CalibrationError(PerceptionError):
    """A camera_info cannot be used, or does not describe the images beside it."""


class TrainingError(PerceptionError):
    """Training cannot start or continue."""


class ModelError(PerceptionError):
    """A model directory is incomplete, modified or too new."""


class EngineError(PerceptionError):
    """An inference engine is missing, cannot load its model or returned invalid results."""
