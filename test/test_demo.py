"""The recording of the demo is whole, and its figures are what they say."""

from __future__ import annotations

from pathlib import Path

from demo.measure import read_journey
from keypoint_perception.frames.annotations import read_annotations
from keypoint_perception.frames.source import count_frames, list_image_topics, read_frames

DEMO = Path(__file__).parents[1] / 'demo'


def test_the_recording_is_small_and_readable():
    size = sum(path.stat().st_size for path in (DEMO / 'arm').iterdir())
    assert size < 6_000_000
    assert list_image_topics(DEMO / 'arm') == ['/camera/image/compressed']
    assert count_frames([DEMO / 'arm']) == 1080


def test_the_labels_belong_to_the_recording():
    labels = read_annotations(DEMO / 'arm_annotations.csv')
    frames = list(read_frames([DEMO / 'arm']))
    assert [frame.stamp_ns for frame in frames] == labels.stamps_ns.tolist()
    assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
    assert set(labels.names) == {'elbow', 'wrist', 'hand', 'finger_left', 'finger_right', 'cube'}


def test_the_labels_lie_where_the_cube_is():
    # the cube is the bluest thing of the scene: (B - R) at its label is far above the picture's
    labels = read_annotations(DEMO / 'arm_annotations.csv')
    cube = labels.uv[:, labels.names.index('cube')]
    bluer = []
    for frame, (u, v) in zip(read_frames([DEMO / 'arm']), cube, strict=True):
        if u == u:
            blueness = frame.image[..., 2].astype(int) - frame.image[..., 0]
            bluer.append(blueness[round(float(v)), round(float(u))] > blueness.mean() + 20)
    # elsewhere the fingers or its own yellow band are in front
    assert sum(bluer) > 0.4 * len(bluer)


def test_latency_is_joined_by_stamp(tmp_path):
    (tmp_path / 'sent.csv').write_text('stamp_ns,published_ns\n1,1000000\n2,2000000\n3,3000000\n')
    (tmp_path / 'arrivals.csv').write_text('stamp_ns,arrived_ns\n3,5500000\n1,2500000\n')
    journey = read_journey(tmp_path / 'sent.csv', tmp_path / 'arrivals.csv')
    assert (journey.sent, journey.received) == (3, 2)
    assert sorted(journey.latency_ms) == [1.5, 2.5]
    assert journey.percentiles_ms['p50'] == 2.0
