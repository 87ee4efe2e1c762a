"""Decoding of a recording's images; broken ones are skipped and counted."""

from __future__ import annotations

from collections.abc import Callable, Collection
import logging

from keypoint_perception.encodings import EncodedImage
from keypoint_perception.errors import EncodingError, SourceError
from keypoint_perception.frames.frame import EncodedFrame
import numpy as np

log = logging.getLogger('keypoint_perception')


class FrameDecoder:
    """
    Decodes the images of one recording.

    :param name: of the recording
    :param topics: those that are read
    :param measure: returns the intensities of 16 bits that become black and white
    :param decoded: number of images decoded so far
    :param failed: number of images that could not be decoded so far
    """

    def __init__(
        self,
        name: str,
        topics: Collection[str],
        measure: Callable[[], tuple[int, int]],
        *,
        decoded: int = 0,
        failed: int = 0,
    ) -> None:
        self.name, self.topics, self._measure = name, topics, measure
        self.grey_range: tuple[int, int] | None = None
        self.decoded, self.failed = decoded, failed
        self.first_error: EncodingError | None = None

    def decode(self, encoded: EncodedFrame) -> np.ndarray | None:
        """Return an image as RGB, (H, W, 3) uint8, or None if it cannot be decoded."""
        try:
            image = encoded.decode()
            if isinstance(image, EncodedImage):
                if image.has_16_bits:
                    self.grey_range = self.grey_range or self._measure()
                image = image.in_range(self.grey_range).to_rgb()
        except EncodingError as error:
            self.failed += 1
            self.first_error = self.first_error or error
            return None
        self.decoded += 1
        return image

    def close(self) -> None:
        """
        Report at the end of the recording how many images failed.

        :raises SourceError: if there was no image
        :raises EncodingError: if all failed
        """
        on_topics = f' on {", ".join(self.topics)}' if any(self.topics) else ''
        source, error = f'{self.name!r}{on_topics}', self.first_error
        if not self.decoded and error is not None:
            msg = f'None of the {self.failed} images of {source} can be used: {error}'
            raise EncodingError(msg) from error
        if not self.decoded:
            msg = (
                f'{self.name!r} has no readable image{on_topics}; follow the warning above if '
                'there is one, else record it again.'
            )
            raise SourceError(msg)
        if self.failed:
            text = 'Skipped %d of %d images of %s, which cannot be decoded%s'
            reason = f'; first error: {error}' if error else '.'
            log.warning(text, self.failed, self.failed + self.decoded, source, reason)
