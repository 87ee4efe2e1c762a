"""
The way of the images that are there together: checked -> keypoints -> published.

What the way does with one image stands in :meth:`Camera.publish`.
"""

from __future__ import annotations

from collections.abc import Sequence
import logging
import time
from typing import NamedTuple

from keypoint_perception.cdr import ReceivedCompressedImage, ReceivedImage
from keypoint_perception.encodings import EncodedImage, SUPPORTED_ENCODINGS
from keypoint_perception.errors import EncodingError, EngineError
from keypoint_perception.inference.estimator import Estimate, Estimator
from keypoint_perception.ros.messages import open_message
from keypoint_perception.ros.perception.camera import Arrival
from keypoint_perception.ros.perception.node_statistics import Times
from keypoint_perception.ros.perception.watched_engine import WatchedEngine

logger = logging.getLogger('keypoint_perception')


class Picture(NamedTuple):
    """An image that could be read, and when its way began."""

    arrival: Arrival
    image: EncodedImage
    began_s: float


class Pipeline:
    """
    Turns received images into published keypoints, in the inference thread.

    Whatever one image does wrong is said and counted with its camera and stops no other.
    """

    def __init__(self, engine: WatchedEngine) -> None:
        self._engine = engine
        self._estimator = Estimator(engine)
        self._closed = False
        self._said = False

    def close(self) -> None:
        """Publish nothing more, not even what is in work."""
        self._closed = True

    def process(self, arrivals: Sequence[Arrival]) -> None:
        """Publish the keypoints of images; those that cannot be used are counted instead."""
        pictures = [picture for arrival in arrivals if (picture := _open(arrival))]
        if pictures:
            self._answer(pictures)

    def _answer(self, pictures: list[Picture]) -> None:
        try:
            images = [picture.image for picture in pictures]
            estimates = self._estimator.estimate_batch_named(images)
        except Exception as error:
            if self._closed:
                return
            if len(pictures) == 1:
                _refuse(pictures[0].arrival, error)
                return
            self._say_once(error)
            for picture in pictures:  # the others shall not suffer for one
                self._answer([picture])
            return
        estimated_s = time.perf_counter()
        for picture, estimate in zip(pictures, estimates, strict=True):
            if self._closed:
                return
            self._publish(picture, estimate, estimated_s)

    def _say_once(self, error: Exception) -> None:
        if not self._said and not isinstance(error, EncodingError):
            self._said = True
            logger.warning(
                'the engine failed on the images of several cameras at once (%s); each is tried '
                'alone now, and whenever that happens again',
                error,
            )

    def _publish(self, picture: Picture, estimate: Estimate, estimated_s: float) -> None:
        arrival, camera = picture.arrival, picture.arrival.camera
        engine_ms = self._engine.last_ms
        began_s = time.perf_counter()
        try:
            camera.publish(arrival, picture.image, estimate, self._estimator)
            times = Times(
                wait=(picture.began_s - arrival.at_s) * 1e3,
                prepare=(estimated_s - picture.began_s) * 1e3 - engine_ms,
                engine=engine_ms,
                publish=(time.perf_counter() - began_s) * 1e3,
            )
            camera.answered(arrival, times)
        except Exception as error:
            _refuse(arrival, error)


def _open(arrival: Arrival) -> Picture | None:
    began_s = time.perf_counter()
    try:
        return Picture(arrival, open_message(arrival.image), began_s)
    except Exception as error:
        _refuse(arrival, error)
        return None


def _refuse(arrival: Arrival, error: Exception) -> None:
    """Leave an image out; a library's own error is no reason for the node to end either."""
    if isinstance(error, (EncodingError, EngineError)):
        arrival.camera.refuse(kind_of(arrival.image, error), str(error))
    else:
        arrival.camera.refuse_unexpected(error)


def kind_of(image: ReceivedImage | ReceivedCompressedImage, error: Exception) -> str:
    """Return under which name a bad image is counted."""
    if isinstance(error, EngineError):
        return 'not finite' if 'NaN' in str(error) else 'engine failed'
    if isinstance(image, ReceivedCompressedImage):
        return 'broken compressed image'
    if image.encoding not in SUPPORTED_ENCODINGS:
        return 'encoding not supported'
    if image.height < 1 or image.width < 1:
        return 'no pixels'
    return 'wrong step or size'
