"""Comparison of a compiled engine with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
import json
import math
from pathlib import Path

from keypoint_perception.errors import EngineError
from keypoint_perception.manifest import Manifest
from keypoint_perception.model_directory import CHECKPOINT_NAME, FRAMES_FILE
from keypoint_perception.parity import check_parity, Outputs, Parity, TOLERANCES
import numpy as np

FRAMES_NAME = f'{CHECKPOINT_NAME}/{FRAMES_FILE}'
RANDOM_FRAMES = 16

Run = Callable[[np.ndarray], Outputs]


def parity_images(model_dir: Path, manifest: Manifest) -> tuple[np.ndarray, str]:
    """
    Return images to compare on, and their description.

    They are the frames stored with the checkpoint, or random images if the model has none.

    :return: (N, H, W, 3) uint8 at the network's size
    """
    path = Path(model_dir) / FRAMES_NAME
    reason = f'the model has no {FRAMES_NAME}'
    if FRAMES_NAME in manifest.files:  # so its digest was checked
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
    Return a uint8 tensor of a safetensors file, without the library.

    The format is a length of 8 bytes, a JSON header of that length with the type, shape and
    offsets of every tensor, and the tensors' bytes.

    :raises OSError: if it cannot be read
    :raises ValueError: if it has another format, or the tensor another type
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
    Return images of random smooth blobs, the same in every run, (count, H, W, 3) uint8.

    In white noise a network has no confident keypoint.
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
    scaled: np.ndarray = np.rint(255 * (images - low) / np.maximum(high - low, 1e-9))
    return scaled.astype(np.uint8)


def onnxruntime_outputs(path: Path) -> Run:
    """
    Return a function that runs a network file in ONNX Runtime, on the CPU.

    :raises EngineError: if ONNX Runtime is not installed, or cannot load it
    """
    try:
        import onnxruntime
    except ImportError as error:
        msg = (
            f'onnxruntime is not installed ({error}), and a compiled engine is not used without '
            'a comparison with it; install it with `pip install onnxruntime`.'
        )
        raise EngineError(msg) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
    except Exception as error:  # its exceptions have no common base
        msg = (
            f'ONNX Runtime {onnxruntime.__version__} cannot load {str(path)!r} ({error}), so the '
            'compiled engine cannot be compared with it; export the model again, or install a '
            'newer onnxruntime.'
        )
        raise EngineError(msg) from error
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {'image': images}), strict=True))


def compare_engine(
    engine: Run,
    reference: Run,
    images: np.ndarray,
    *,
    described: str,
    precision: str,
    batches: tuple[int, ...] = (1,),
) -> Parity:
    """
    Compare an engine with a reference at several batch sizes, and return the worst result.

    :param engine: images (N, H, W, 3) -> outputs by name, each (N, P, 3)
    :param described: description of the images
    :param batches: batch sizes, each run on all images
    :raises EngineError: if they differ by more than the tolerance of the precision
    """
    expected = reference(images)
    parities = []
    for size in sorted(set(batches)):
        parts = [engine(images[i : i + size]) for i in range(0, len(images), size)]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        parity = check_parity(
            found,
            expected,
            TOLERANCES[precision],
            pair=f'The compiled engine in batches of {size} and ONNX Runtime',
            images=described,
            remedy='the engine is not used; report this with the output of `doctor --gpu`, and '
            'choose engine onnxruntime until then',
        )
        parities.append(parity)
    return max(parities, key=lambda parity: (parity.off, parity.largest_px))
