"""
Execution providers of ONNX Runtime: their options, order and verification.

ONNX Runtime falls back to the CPU without an error if a GPU's libraries are missing
(microsoft/onnxruntime issue 23372), so the provider of each session is checked afterwards.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.engine_cache import cache_folder, PROVIDER_CACHE
from keypoint_perception.inference.trusted_cache import TrustedFolder
from keypoint_perception.manifest import Manifest

CPU, CUDA = 'CPUExecutionProvider', 'CUDAExecutionProvider'
TENSORRT = 'TensorrtExecutionProvider'
# By value of the parameter; inference/engine.py implements auto.
PROVIDERS = {'cpu': CPU, 'cuda': CUDA, 'tensorrt': TENSORRT}
PROVIDER_NAMES = ('auto', *PROVIDERS)

log = logging.getLogger('keypoint_perception')


def check_available(name: str, available: list[str]) -> None:
    """
    Check that a provider is among those that this ONNX Runtime was built with.

    :raises EngineError: if it is not, or unknown
    """
    if name not in PROVIDERS:
        msg = f'Provider {name!r} is not known; known: {", ".join(PROVIDER_NAMES)}.'
        raise EngineError(msg)
    if PROVIDERS[name] not in available:
        msg = (
            f'This ONNX Runtime has no {PROVIDERS[name]}, only {", ".join(available)}; install '
            'onnxruntime-gpu instead of onnxruntime, or choose provider cpu.'
        )
        raise EngineError(msg)


def provider_list(
    name: str, manifest: Manifest, precision: str, onnx_sha256: str, max_batch: int
) -> list[str | tuple[str, dict[str, object]]]:
    """Return the providers of a session with their options, the requested one first."""
    if name == 'cpu':
        return [CPU]
    if name == 'cuda':
        return [(CUDA, {}), CPU]
    height, width = manifest.input_hw
    options: dict[str, object] = {
        f'trt_profile_{bound}_shapes': f'image:{count}x{height}x{width}x3'
        for bound, count in (('min', 1), ('opt', max_batch), ('max', max_batch))
    }
    options |= {f'trt_{name}_enable': precision == name for name in ('fp16', 'int8')}
    return [(TENSORRT, options | tensorrt_cache(onnx_sha256)), (CUDA, {}), CPU]


def tensorrt_cache(onnx_sha256: str) -> dict[str, object]:
    """
    Return the cache options of the TensorRT provider; none if the folder cannot be trusted.

    The provider's cache ignores the network and the version of TensorRT, so each network has its
    own folder; and it executes the engines that it finds there.
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
            log.warning(
                'The engines of the TensorRT provider are not cached but built each time: %s: %s.',
                path,
                fault,
            )
            return {}
    paths = {f'trt_{kind}_cache_path': str(place) for kind in ('engine', 'timing')}
    return {'trt_engine_cache_enable': True, 'trt_timing_cache_enable': True, **paths}


def check_provider(session: Any, name: str, model_dir: Path) -> None:
    """
    Check that a session runs on the requested provider.

    :raises EngineError: if it fell back to another one
    """
    used = session.get_providers()
    if used[:1] != [PROVIDERS[name]]:
        msg = (
            f'ONNX Runtime was set to run {str(model_dir)!r} on {PROVIDERS[name]} and runs it on '
            f'{", ".join(used)}: its CUDA, cuDNN or TensorRT libraries are missing or '
            'incompatible; install them (see `doctor`), or choose provider cpu.'
        )
        raise EngineError(msg)
