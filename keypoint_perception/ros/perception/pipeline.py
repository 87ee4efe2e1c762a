"""Images that arrived together: opened -> keypoints of all in one engine call -> published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
import time
from typing import NamedTuple

from keypoint_perception.cdr import CompressedImageMessage, ImageMessage
from keypoint_perception.encodings import EncodedImage, SUPPORTED_ENCODINGS
from keypoint_perception.errors import EncodingError, EngineError
from keypoint_perception.images import open_message
from keypoint_perception.inference.estimator import Estimate, Estimator
from keypoint_perception.ros.perception.camera import QueuedImage
from keypoint_perception.ros.perception.engine_loading import MonitoredEngine
from keypoint_perception.ros.perception.node_statistics import StageTimes
from keypoint_perception.seen_messages import SeenMessages

DIM = 1 << 14
FEW_LEVELS = (
    f'all intensities of a 16-bit image are below {DIM}, which leaves few grey levels; train the '
    'model on a recording of this camera.'
)
logger = logging.getLogger('keypoint_perception')


class OpenedImage(NamedTuple):
    """An image that could be opened, and when the pipeline started on it."""

    queued: QueuedImage
    image: EncodedImage
    started_s: float


class Pipeline:
    """
    Turns received images into published keypoints, in the inference thread.

    A fault of one image is logged and counted with its camera and affects no other image.

    :param predict_hidden: returns whether to predict hidden keypoints
    """

    def __init__(
        self, engine: MonitoredEngine, predict_hidden: Callable[[], bool] = lambda: False
    ) -> None:
        self._engine = engine
        self._predict_hidden = predict_hidden
        self._estimator = Estimator(engine)
        self._closed = False
        self._logged = SeenMessages()

    def close(self) -> None:
        """Publish nothing more, not even the images in progress; callable from any thread."""
        self._closed = True

    def process(self, images: Sequence[QueuedImage]) -> None:
        """Publish the keypoints of images; reject those that cannot be used."""
        self._estimator.predict_hidden = self._predict_hidden()
        opened = [image for queued in images if (image := self._open(queued))]
        if opened:
            self._infer(opened)

    def _open(self, queued: QueuedImage) -> OpenedImage | None:
        started_s = time.perf_counter()
        try:
            image = open_message(queued.image).in_range(self._estimator.grey_range)
            if image.has_16_bits and not image.is_depth and image.planes[0][::8, ::8].max() < DIM:
                queued.camera.report_degraded('few grey levels', FEW_LEVELS)
            return OpenedImage(queued, image, started_s)
        except Exception as error:
            _reject(queued, error)
            return None

    def _infer(self, opened: list[OpenedImage]) -> None:
        try:
            estimates = self._estimator.estimate_with_landmarks([item.image for item in opened])
        except Exception as error:
            if self._closed:
                return
            if len(opened) == 1:
                _reject(opened[0].queued, error)
                return
            if not isinstance(error, EncodingError) and self._logged.is_new('batch fault'):
                logger.warning(
                    'the engine failed on a batch of images from several cameras (%s); each image '
                    'is retried on its own, now and whenever this recurs',
                    error,
                )
            for item in opened:  # so that one bad image does not cost the others
                self._infer([item])
            return
        estimated_s = time.perf_counter()
        for item, estimate in zip(opened, estimates, strict=True):
            if self._closed:
                return
            self._publish(item, estimate, estimated_s)

    def _publish(self, item: OpenedImage, estimate: Estimate, estimated_s: float) -> None:
        queued, camera = item.queued, item.queued.camera
        engine_ms = self._engine.last_ms
        started_s = time.perf_counter()
        try:
            camera.publish(queued, item.image, estimate, self._estimator)
            times = StageTimes(
                wait=(item.started_s - queued.arrived_s) * 1e3,
                prepare=(estimated_s - item.started_s) * 1e3 - engine_ms,
                engine=engine_ms,
                publish=(time.perf_counter() - started_s) * 1e3,
            )
            camera.count_published(queued, times)
        except Exception as error:
            _reject(queued, error)


def _reject(queued: QueuedImage, error: Exception) -> None:
    """Reject an image; not even an unexpected exception of a library may stop the node."""
    queued.camera.reject(error, rejection_kind(queued.image, error))


def rejection_kind(image: ImageMessage | CompressedImageMessage, error: Exception) -> str:
    """Return the kind under which a rejected image is counted."""
    if isinstance(error, EngineError):
        return 'not finite' if 'NaN' in str(error) else 'engine failed'
    if isinstance(image, CompressedImageMessage):
        return 'broken compressed image'
    if image.encoding not in SUPPORTED_ENCODINGS:
        return 'encoding not supported'
    if image.height < 1 or image.width < 1:
        return 'no pixels'
    return 'wrong step or size'
