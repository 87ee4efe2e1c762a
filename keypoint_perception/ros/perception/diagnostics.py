"""
``/diagnostics``: what the node does, and the reason when it publishes nothing.

One :class:`DiagnosticStatus` a camera a second. Its message is a sentence for people, its values
are for monitors.
"""

from __future__ import annotations

from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from keypoint_perception.ros.installation import DDS_PROFILE, dds_profile_in_use, shipped_file
from keypoint_perception.ros.perception.image_input import LOST_SHARE
from keypoint_perception.ros.perception.node_statistics import StatisticsSnapshot

# Longer than one image of a slow camera, shorter than a user's patience.
SILENT_S = 2.0
SILENCE = 'nothing published'
# A segment of 512 KiB also holds the data of other topics.
LARGE_BYTES = 400_000
STAGES = {
    'latency': 'latency stamp to publish',
    'age': 'age of stamps at arrival',
    'wait': 'wait for the engine',
    'prepare': 'decode and fit time',
    'engine': 'engine time',
    'publish': 'publish time',
}


@dataclass(frozen=True)
class Circumstances:
    """
    What stands beside the counts.

    :param state: lifecycle state
    :param building: how far an engine is that is being built; empty if none is
    :param not_loaded: why there is no engine; empty if there is one
    :param disabled: whether it was told to rest
    :param fault: why the engine is not at work; empty if it is
    :param faults: how often that has happened
    :param last_error: the last thing that went wrong with an engine
    :param engine: what runs the network
    :param busy_s: for how long the engine has been at what it has in work
    :param gpu_memory: what the engine holds on its device, in words
    :param model: which network
    :param topic: topic of the images; empty while inactive
    :param publishers: publishers on it
    :param obstacle: why no image can arrive; empty if nothing is known
    :param camera: name of the camera; empty for the only one of a node
    :param unheard: topics that nobody listens to, for which the camera is left alone
    """

    state: str
    building: str = ''
    not_loaded: str = ''
    disabled: bool = False
    fault: str = ''
    faults: int = 0
    last_error: str = ''
    engine: str = ''
    busy_s: float = 0.0
    gpu_memory: str = ''
    model: str = ''
    topic: str = ''
    publishers: int = 0
    obstacle: str = ''
    camera: str = ''
    unheard: str = ''


def judge(circumstances: Circumstances, counts: StatisticsSnapshot) -> tuple[bytes, str]:
    """Return the level and the sentence: all is well, or why nothing or little is published."""
    if circumstances.building and circumstances.state != 'active':
        return DiagnosticStatus.WARN, circumstances.building
    if circumstances.not_loaded:
        return DiagnosticStatus.ERROR, circumstances.not_loaded
    if circumstances.state != 'active':
        return DiagnosticStatus.OK, f'{circumstances.state}: waiting for a lifecycle manager'
    if circumstances.fault:
        return DiagnosticStatus.ERROR, circumstances.fault
    if circumstances.disabled:
        return DiagnosticStatus.OK, 'disabled by ~/enable'
    if circumstances.unheard:
        return DiagnosticStatus.OK, f'idle: nobody listens to {circumstances.unheard}'
    if counts.silent_s > SILENT_S:
        return _why_silent(circumstances, counts)
    if counts.recently_lost > LOST_SHARE:
        return DiagnosticStatus.WARN, loss_sentence(circumstances.topic, counts)
    if counts.recently_bad:
        sentence = f'{counts.recently_bad} bad images in the last seconds; {counts.last_bad}'
        return DiagnosticStatus.WARN, sentence
    if counts.recently_noted:
        return DiagnosticStatus.WARN, counts.last_note
    return DiagnosticStatus.OK, f'publishing at {counts.output_hz:.1f} Hz'


def _why_silent(circumstances: Circumstances, counts: StatisticsSnapshot) -> tuple[bytes, str]:
    if counts.recently_bad:
        return DiagnosticStatus.ERROR, f'{SILENCE}: {counts.last_bad}'
    if circumstances.obstacle:
        return DiagnosticStatus.WARN, f'{SILENCE}: {circumstances.obstacle}'
    if counts.recently_lost > LOST_SHARE:
        return DiagnosticStatus.ERROR, loss_sentence(circumstances.topic, counts)
    if circumstances.busy_s > SILENT_S:
        sentence = f'{SILENCE}: the engine has been busy for {circumstances.busy_s:.0f} s.'
        return DiagnosticStatus.WARN, sentence
    return DiagnosticStatus.WARN, (
        f'{SILENCE}: {circumstances.publishers} publisher(s) on {circumstances.topic}, '
        f'but no image for {counts.silent_s:.0f} s; check the publisher, and for large images '
        f'the DDS profile {shipped_file("config", DDS_PROFILE)}.'
    )


def loss_sentence(topic: str, counts: StatisticsSnapshot) -> str:
    """Return what is known about images that never arrive, and what to do."""
    lost = f'{counts.recently_lost:.0%} of the images on {topic} are lost on their way'
    if 0 < counts.image_bytes < LARGE_BYTES:
        return f'{lost}: check the network and the load of this machine, or send compressed ones.'
    own = dds_profile_in_use()
    profile = own or shipped_file('config', DDS_PROFILE)
    who = 'the publisher (this node has it already)' if own else 'the publisher and this node'
    return (
        f'{lost}: images above 0.5 MB do not fit the shared memory that Fast DDS reserves by '
        f'default; start {who} with FASTRTPS_DEFAULT_PROFILES_FILE={profile}.'
    )


def to_status(
    name: str, circumstances: Circumstances, counts: StatisticsSnapshot
) -> DiagnosticStatus:
    """
    Return the status of a camera.

    :param name: full name of the node
    """
    level, sentence = judge(circumstances, counts)
    values = {
        'state': circumstances.state,
        'engine': circumstances.engine,
        'engine being built': circumstances.building,
        'GPU memory': circumstances.gpu_memory,
        'model': circumstances.model,
        'image topic': circumstances.topic,
        'publishers': circumstances.publishers,
        'input rate (Hz)': f'{counts.input_hz:.2f}',
        'output rate (Hz)': f'{counts.output_hz:.2f}',
        'images received': counts.received,
        'keypoints published': counts.published,
        'dropped for a newer image': counts.dropped,
        'lost before arrival': counts.lost,
        'bad images': sum(counts.bad.values()),
    }
    for kind, count in sorted(counts.bad.items()):
        values[f'bad images: {kind}'] = count
    values['last bad image'] = counts.last_bad
    for kind, count in sorted(counts.notes.items()):
        values[f'notes: {kind}'] = count
    values['last note'] = counts.last_note
    values['stamps or clock went back'] = counts.jumps
    values['engine faults'] = circumstances.faults
    values['last error'] = circumstances.last_error
    for stage, what in STAGES.items():
        for share, figure in zip(('p50', 'p95', 'p99'), counts.spread_ms[stage], strict=True):
            values[f'{what} {share} (ms)'] = f'{figure:.2f}'
    what = f'{circumstances.camera} keypoints'.strip()
    status = DiagnosticStatus(level=level, name=f'{name}: {what}', message=sentence)
    status.hardware_id = circumstances.model
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return status
