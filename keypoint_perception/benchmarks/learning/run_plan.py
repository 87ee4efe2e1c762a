"""The runs of ``benchmark learning``: recordings, variants and seeds, and their frame stores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from keypoint_perception.benchmarks.learning.benchmark_run import (
    BenchmarkRecording,
    file_name,
    Run,
    RunBudget,
    Variant,
)
from keypoint_perception.benchmarks.learning.learning_table import CEILING
from keypoint_perception.benchmarks.learning.run_process import run_verb
from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.holdout import HOLDOUT

BAG_NAME, LABELS_NAME = 'bag', 'annotations.csv'
# Settings that suit an objective, or its keypoints, alone.
OF_OBJECTIVES = (
    'objective', 'objective_settings', 'weights', 'keypoints', 'extra_keypoints', 'prune',
    'annotations', 'init', 'seeds',
)  # fmt: skip


def read_recordings(texts: Sequence[str], topics: Sequence[str]) -> list[BenchmarkRecording]:
    """
    Return the recordings of a command line, each with its labels if there are any.

    :param texts: ``PATH`` or ``PATH:LABELS.csv``
    :param topics: the first that a recording has is used
    :raises PerceptionError: if a recording cannot be used
    """
    recordings = [_read_recording(text, topics) for text in texts]
    names = [recording.name for recording in recordings]
    for name in names:
        if names.count(name) > 1:
            msg = f'Two recordings are named {name!r}; rename one to tell them apart in the table.'
            raise ConfigError(msg)
    return recordings


def _read_recording(text: str, topics: Sequence[str]) -> BenchmarkRecording:
    from keypoint_perception.frames.annotations import read_annotations
    from keypoint_perception.frames.digest import source_digest
    from keypoint_perception.frames.source import list_image_topics
    from keypoint_perception.manifest import file_digest

    path, labels = _split(text)
    name = path.resolve().stem if path.is_file() else path.resolve().name
    if (path / BAG_NAME).exists():
        if labels is None and (path / LABELS_NAME).is_file():
            labels = path / LABELS_NAME
        path = path / BAG_NAME
    elif name == BAG_NAME:
        name = path.resolve().parent.name
    found = list_image_topics(path)
    digest = source_digest(path)
    if labels is not None:
        read_annotations(labels)  # reports errors before hours of training
        digest += f' {file_digest(labels)}'
    topic = next((topic for topic in topics if topic in found), None)
    if topic is None and len(found) > 1:
        count, names = len(found), ', '.join(found)
        msg = f'{str(path)!r} has {count} image topics ({names}); choose one with --topic.'
        raise SourceError(msg)
    labels = None if labels is None else labels.resolve()
    return BenchmarkRecording(name, path.resolve(), labels, topic, digest)


def _split(text: str) -> tuple[Path, Path | None]:
    path, colon, labels = text.rpartition(':')
    if colon and labels.lower().endswith('.csv') and not Path(text).exists():
        return Path(path), Path(labels)
    return Path(text), None


def plan_runs(
    recordings: Sequence[BenchmarkRecording],
    variants: dict[str, dict[str, Any]],
    seeds: Sequence[int],
    budget: RunBudget,
    ceiling: dict[str, dict[str, Any]] | None = None,
) -> list[Run]:
    """
    Return the runs, seed by seed, so that an interrupted benchmark has compared all variants.

    All of them, also those that learn from labels, withhold the frames that are scored.

    :param ceiling: variant that shows what can be explained, of :func:`ceiling_of`; for labelled
        recordings
    :raises ConfigError: with the variant whose settings are invalid
    """
    from keypoint_perception.learning.data.recordings import settings_of_store
    from keypoint_perception.learning.variants import resolve

    runs, ceiling = [], ceiling or {}
    for seed in seeds:
        for recording in recordings:
            store = settings_of_store([str(recording.source)])
            labels = recording.annotations
            own = variants if labels is None else variants | ceiling
            for name, changes in own.items():
                try:
                    _check_holdout(changes)
                    stated = store | changes | {'holdout': HOLDOUT}
                    settings, values = resolve(stated, seed=seed, annotations=labels)
                except ConfigError as error:
                    msg = f'Variant {name!r} on {recording.name}: {error}'
                    raise ConfigError(msg) from error
                runs.append(Run(recording, Variant(name, settings), seed, budget, values))
    return runs


def ceiling_of(
    variants: dict[str, dict[str, Any]], common: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """
    Return the variant that learns from the labels, by its name; none if one of them does so.

    :param common: settings of all variants, of which it takes those that are not of an objective
    """
    from keypoint_perception.learning.variants import changed

    if any(settings.get('objective') == CEILING for settings in variants.values()):
        return {}
    own = {key: value for key, value in common.items() if key.split('.')[0] not in OF_OBJECTIVES}
    return {CEILING: changed({'objective': CEILING}, own)}


def _check_holdout(changes: dict[str, Any]) -> None:
    if changes.get('holdout', HOLDOUT) != HOLDOUT:
        msg = (
            f'holdout: this benchmark always withholds {HOLDOUT:g}, so that its figures can be '
            f'compared, got {changes["holdout"]!r}; omit it, or use `train` and `evaluate`.'
        )
        raise ConfigError(msg)


def frames_of(run: Run, out: Path) -> Path:
    """
    Return the frame store of a run, extracted once for each recording and size.

    :raises RunError: if the recording cannot be extracted
    """
    from keypoint_perception.frames.store_format import is_store

    recording = run.recording
    if is_store(recording.source):
        return recording.source
    size = run.resolved['size']
    store = out / 'frames' / f'{file_name(recording.name)}_{size}'
    _extract(recording.source, recording.topic, size, store)
    return store


@cache
def _extract(source: Path, topic: str | None, size: int, store: Path) -> None:
    # cached within this process; `extract` itself keeps a complete store of an earlier one
    store.parent.mkdir(parents=True, exist_ok=True)
    topics = ['--topic', topic] if topic else []
    command = ['extract', str(source), *topics, '--out', str(store), '--size', str(size)]
    run_verb(command, store.with_suffix('.log'))
