"""Whether a compiled engine answers what ONNX Runtime answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
import json
import math
from pathlib import Path

from keypoint_perception.errors import EngineError
from keypoint_perception.manifest import Manifest
from keypoint_perception.model_directory import CHECKPOINT_NAME, FRAMES_FILE
import numpy as np

FRAMES_NAME = f'{CHECKPOINT_NAME}/{FRAMES_FILE}'
RANDOM_FRAMES = 16
# Below this confidence a map is flat enough for its largest cell to be a matter of rounding.
CONFIDENT = 0.3

Answers = dict[str, np.ndarray]
Run = Callable[[np.ndarray], Answers]


@dataclass(frozen=True)
class Tolerance:
    """
    How far an engine may be from ONNX Runtime on the same file.

    :param median_px: median distance of the confident points, px of the network
    :param far_px: a confident point farther away than this is off
    :param far_confidence: so is any point whose confidence differs by more
    :param off_share: share of the points that may be off
    """

    median_px: float
    far_px: float
    far_confidence: float
    off_share: float


# fp32 is computed in fp32 (TF32 is off), as near as an export has to be to torch. fp16 has 11
# bits, which two libraries that add in another order use differently, and int8 differs by whole
# steps where a value lies between two; there a map with two equal peaks may tip to the other one.
TOLERANCES = {
    'fp32': Tolerance(median_px=0.01, far_px=0.05, far_confidence=1e-3, off_share=0.0),
    'fp16': Tolerance(median_px=0.05, far_px=0.5, far_confidence=0.02, off_share=0.01),
    'int8': Tolerance(median_px=0.25, far_px=2.0, far_confidence=0.1, off_share=0.02),
}


@dataclass(frozen=True)
class Parity:
    """
    What a comparison found.

    :param images: what was compared on, in words
    :param frames: how many
    :param points: points compared, in all batch sizes
    :param confident: of these, those compared by position
    :param largest_px: largest distance of a confident point
    :param largest_confidence: largest difference of a confidence
    """

    images: str
    frames: int
    points: int
    confident: int
    median_px: float
    largest_px: float
    largest_confidence: float
    off: int
    tolerance: Tolerance

    @property
    def holds(self) -> bool:
        """Return whether the engine is near enough."""
        limit = self.tolerance
        return self.median_px <= limit.median_px and self.off <= limit.off_share * self.points

    def __str__(self) -> str:
        """Return the finding with its limits, as part of a sentence."""
        limit = self.tolerance
        return (
            f'median {self.median_px:.4f} px (allowed {limit.median_px:g}), {self.off} of '
            f'{self.points} points off by more than {limit.far_px:g} px or '
            f'{limit.far_confidence:g} in confidence (allowed {limit.off_share:.0%}), the largest '
            f'by {self.largest_px:.4f} px and {self.largest_confidence:.4f}, on {self.frames} '
            f'{self.images}'
        )

    def facts(self) -> dict:
        """Return all of it for JSON."""
        return asdict(self) | {'holds': self.holds}


def parity_images(model_dir: Path, manifest: Manifest) -> tuple[np.ndarray, str]:
    """
    Return images to compare on, and what they are: the frames kept beside the checkpoint.

    A model directory without them gives random images, and the reason.

    :return: (N, H, W, 3) uint8 in the network's size
    """
    path = Path(model_dir) / FRAMES_NAME
    reason = f'the model has no {FRAMES_NAME}'
    if FRAMES_NAME in manifest.files:  # whose digest was checked with the manifest's
        try:
            frames = read_uint8(path, 'frames')
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f'{FRAMES_NAME} cannot be read: {error}'
        else:
            if frames.ndim == 4 and frames.shape[1:] == (*manifest.input_hw, 3) and len(frames):
                return frames, 'frames of the training recording'
            reason = f'{FRAMES_NAME} holds {frames.shape}, not (N, H, W, 3) of the network'
    return random_images(manifest.input_hw), f'random images, because {reason}'


def read_uint8(path: Path, name: str) -> np.ndarray:
    """
    Return a tensor of bytes from a safetensors file, without the library.

    The format is a length of 8 bytes, a JSON header of that length with the type, shape and place
    of every tensor, and the tensors' bytes.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is not such a file, or the tensor is of another type
    :raises KeyError: if it has no such tensor
    """
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], 'little')
    entry = json.loads(content[8:start])[name]
    begin, end = entry['data_offsets']
    shape = tuple(entry['shape'])
    if entry['dtype'] != 'U8' or end - begin != math.prod(shape):
        msg = f'{name} is {entry["dtype"]} {shape}'
        raise ValueError(msg)
    return np.frombuffer(content[start + begin : start + end], np.uint8).reshape(shape)


def random_images(input_hw: tuple[int, int], count: int = RANDOM_FRAMES) -> np.ndarray:
    """
    Return images of smooth blobs, always the same, (count, H, W, 3) uint8.

    White noise has no place that a network could be sure of.
    """
    random = np.random.default_rng(0)
    height, width = input_hw
    rows = np.arange(height)[:, None, None] / height
    columns = np.arange(width)[None, :, None] / width
    images = np.zeros((count, height, width, 3))
    for image in images:
        for _ in range(12):
            v, u, size = random.random(), random.random(), random.uniform(0.03, 0.2)
            bump = np.exp(-((rows - v) ** 2 + (columns - u) ** 2) / size**2)
            image += bump * random.uniform(-1, 1, 3)
    low, high = images.min(axis=(1, 2, 3), keepdims=True), images.max((1, 2, 3), keepdims=True)
    return np.rint(255 * (images - low) / np.maximum(high - low, 1e-9)).astype(np.uint8)


def onnxruntime_answers(path: Path) -> Run:
    """
    Return what ONNX Runtime answers, on the CPU.

    :param path: the network's file
    :raises EngineError: if ONNX Runtime is not installed, or cannot load it
    """
    try:
        import onnxruntime
    except ImportError as error:
        msg = (
            f'onnxruntime is not installed ({error}) and a compiled engine is not used before it '
            'was compared with it; install it with `pip install onnxruntime`.'
        )
        raise EngineError(msg) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
    except Exception as error:  # its exceptions have no base of their own
        msg = (
            f'ONNX Runtime {onnxruntime.__version__} cannot load {str(path)!r} ({error}), so the '
            'compiled engine cannot be compared with it; export the model again, or install a '
            'newer onnxruntime.'
        )
        raise EngineError(msg) from error
    names = [output.name for output in session.get_outputs()]

    def answers(images: np.ndarray) -> Answers:
        return dict(zip(names, session.run(names, {'image': images}), strict=True))

    return answers


def check_parity(
    engine: Run,
    reference: Run,
    images: np.ndarray,
    *,
    what: str,
    precision: str,
    batches: tuple[int, ...] = (1,),
) -> Parity:
    """
    Compare an engine with a reference in several batch sizes.

    :param engine: images (N, H, W, 3) -> outputs by name, each (N, P, 3)
    :param what: the images, in words
    :param batches: sizes of the batches that the engine is given, each with all images
    :raises EngineError: if they differ by more than the precision's tolerance, or in their outputs
    """
    expected = reference(images)
    differences: list[np.ndarray] = []
    for size in sorted(set(batches)):
        parts = [engine(images[i : i + size]) for i in range(0, len(images), size)]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        differences.append(_differences(found, expected, size))
    parity = _judge(np.concatenate(differences), len(images), what, TOLERANCES[precision])
    if not parity.holds:
        msg = (
            f'The compiled engine and ONNX Runtime differ: {parity}; the engine is not used; '
            'please report this with what `doctor --gpu` prints, and choose engine onnxruntime '
            'until then.'
        )
        raise EngineError(msg)
    return parity


def _judge(differences: np.ndarray, frames: int, images: str, limit: Tolerance) -> Parity:
    """Return what rows of :func:`_differences` say."""
    away, confidence, expected = differences.T
    confident = expected >= CONFIDENT
    off = (confident & (away > limit.far_px)) | (confidence > limit.far_confidence)
    return Parity(
        images,
        frames,
        points=len(differences),
        confident=int(confident.sum()),
        median_px=float(np.median(away[confident])) if confident.any() else 0.0,
        largest_px=float(away[confident].max(initial=0.0)),
        largest_confidence=float(confidence.max(initial=0.0)),
        off=int(off.sum()),
        tolerance=limit,
    )


def _differences(found: Answers, expected: Answers, batch: int) -> np.ndarray:
    """Return distance (px), difference of the confidence and confidence of each point, (n, 3)."""
    shapes = [{name: a.shape for name, a in answers.items()} for answers in (found, expected)]
    if shapes[0] != shapes[1]:
        msg = (
            f'The compiled engine answers {shapes[0]} in batches of {batch} and ONNX Runtime '
            f'{shapes[1]}; export the model again.'
        )
        raise EngineError(msg)
    broken = [name for name, answers in found.items() if not np.isfinite(answers).all()]
    if broken:
        msg = (
            f'The compiled engine answers NaN or infinity for {", ".join(broken)} in batches of '
            f'{batch}; choose --precision fp32, and report this with what `doctor --gpu` prints.'
        )
        raise EngineError(msg)
    rows = []
    for name, points in expected.items():
        moved = found[name].astype(np.float64) - points
        away = np.linalg.norm(moved[..., :2], axis=-1)
        rows.append(np.stack([away, np.abs(moved[..., 2]), points[..., 2]], axis=-1))
    return np.concatenate([row.reshape(-1, 3) for row in rows])
