"""
Where ONNX Runtime computes: its execution providers, in which order, and proof that it does.

ONNX Runtime goes to the CPU without an error when a GPU's libraries are missing
(microsoft/onnxruntime issue 23372), so a session is asked afterwards what it runs on.
"""

from __future__ import annotations

import logging
from pathlib import Path

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.engine_cache import cache_folder, PROVIDER_CACHE
from keypoint_perception.inference.trusted_cache import TrustedFolder
from keypoint_perception.manifest import Manifest

CPU, CUDA = 'CPUExecutionProvider', 'CUDAExecutionProvider'
TENSORRT = 'TensorrtExecutionProvider'
# By the names of the parameter; inference/engine.py says what auto takes.
PROVIDERS = {'cpu': CPU, 'cuda': CUDA, 'tensorrt': TENSORRT}
PROVIDER_NAMES = ('auto', *PROVIDERS)

logger = logging.getLogger('keypoint_perception')


def check_available(wanted: str, available: list[str]) -> None:
    """
    Check that a provider can be asked for.

    :param wanted: one of :data:`PROVIDERS`
    :param available: what this ONNX Runtime was built with
    :raises EngineError: if it is unknown or not among them
    """
    if wanted not in PROVIDERS:
        msg = f'Provider {wanted!r} is not known; known: {", ".join(PROVIDER_NAMES)}.'
        raise EngineError(msg)
    if PROVIDERS[wanted] not in available:
        msg = (
            f'This ONNX Runtime has no {PROVIDERS[wanted]}, only {", ".join(available)}; install '
            'onnxruntime-gpu in the place of onnxruntime, or choose provider cpu.'
        )
        raise EngineError(msg)


def provider_list(
    name: str, manifest: Manifest, precision: str, onnx_sha256: str, max_batch: int
) -> list:
    """Return providers and their options as ONNX Runtime takes them, the wanted one first."""
    if name == 'cpu':
        return [CPU]
    if name == 'cuda':
        return [(CUDA, {}), CPU]
    height, width = manifest.input_hw
    shapes = {
        bound: f'image:{count}x{height}x{width}x3'
        for bound, count in (('min', 1), ('opt', max_batch), ('max', max_batch))
    }
    options = {f'trt_profile_{bound}_shapes': text for bound, text in shapes.items()} | {
        'trt_fp16_enable': precision == 'fp16',
        'trt_int8_enable': precision == 'int8',
    }
    return [(TENSORRT, options | tensorrt_cache(onnx_sha256)), (CUDA, {}), CPU]


def tensorrt_cache(onnx_sha256: str) -> dict[str, object]:
    """
    Return where the TensorRT provider keeps its engines; nothing where others could put theirs.

    Its own cache knows neither the network nor TensorRT's version, so each network has a folder;
    and it loads what it finds there, which is code.
    """
    place = cache_folder() / PROVIDER_CACHE / onnx_sha256[:16]
    for path in (place.parent.parent, place.parent, place):
        folder = TrustedFolder(path)
        try:
            folder.create()
            fault = folder.fault()
        except OSError as error:
            fault = error.strerror or str(error)
        if fault:
            logger.warning(
                "The TensorRT provider's engines are not kept and built each time anew: %s: %s.",
                path,
                fault,
            )
            return {}
    return {
        'trt_engine_cache_enable': True,
        'trt_engine_cache_path': str(place),
        'trt_timing_cache_enable': True,
        'trt_timing_cache_path': str(place),
    }


def check_provider(session, name: str, model_dir: Path) -> None:
    """
    Check that a session runs where it was told to.

    :raises EngineError: if it went to another provider
    """
    used = session.get_providers()
    if used[:1] != [PROVIDERS[name]]:
        msg = (
            f'ONNX Runtime was told to run {str(model_dir)!r} on {PROVIDERS[name]} and runs it on '
            f'{", ".join(used)}: its libraries of CUDA, cuDNN or TensorRT are missing, or do not '
            'fit; `doctor` shows what is installed. Mend that, or choose provider cpu.'
        )
        raise EngineError(msg)
