"""The JSON report: what was evaluated, where and when."""

from __future__ import annotations

from datetime import datetime, timezone
import json
import math
import os
from pathlib import Path
import platform
from typing import Any

from keypoint_perception import __version__
from keypoint_perception.atomic_files import replace_file
from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.detections import KeypointSequence
from keypoint_perception.manifest import Manifest
from keypoint_perception.model_directory import ONNX_NAME
import numpy as np

FORMAT_VERSION = 1


def describe_model(path: Path, manifest: Manifest) -> dict[str, Any]:
    """Return the model's identity and settings; the digest tells models of one name apart."""
    return {
        'path': str(path),
        'sha256': manifest.files[ONNX_NAME],
        'objective': manifest.objective,
        'network': manifest.network,
        'keypoints': list(manifest.keypoint_names),
        'input_hw': list(manifest.input_hw),
        'package_version': manifest.package_version,
    }


def describe_recording(source: Path, sequence: KeypointSequence) -> dict[str, Any]:
    """Return the recording's identity and size."""
    sizes = np.unique(sequence.image_hw, axis=0)
    return {
        'source': str(source),
        'topics': sorted(set(sequence.topics)),
        'frames': len(sequence),
        'episodes': int(find_episodes(sequence.stamps_ns)[-1]) + 1,
        'image_sizes': [f'{width}x{height}' for height, width in sizes],
        'first_stamp_ns': int(sequence.stamps_ns.min()),
        'last_stamp_ns': int(sequence.stamps_ns.max()),
    }


def describe_machine() -> dict[str, Any]:
    """Return the machine and software that durations depend on."""
    return {
        'processor': _processor_name(),
        'cores': os.cpu_count(),
        'system': platform.platform(terse=True),
        'python': platform.python_version(),
        'package_version': __version__,
    }


def now() -> str:
    """Return the UTC date and time in ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a report; NaN and infinity become null, as JSON has neither."""
    text = json.dumps(without_nan(values), indent=2, allow_nan=False) + '\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text)


def without_nan(value: Any) -> Any:
    """Return JSON values with NaN and infinity replaced by None."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _processor_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.machine())
