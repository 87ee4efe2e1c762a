"""``evaluate`` end to end: a bag, a model and labels in, a report out."""

from dataclasses import replace
import json

from keypoint_perception.atomic_files import sole_writer
from keypoint_perception.frames.digest import source_digest
from keypoint_perception.manifest import read_manifest, write_manifest
import numpy as np
import pytest


@pytest.fixture
def write_labels(tmp_path):
    """Return a function that writes an annotation file of rows (stamp, name, u, v)."""

    def write(rows):
        path = tmp_path / 'labels.csv'
        lines = ['stamp_ns,keypoint,u,v', *(','.join(str(f) for f in row) for row in rows)]
        path.write_text('\n'.join(lines) + '\n')
        return path

    return write


def evaluate(run_verb, model, bag, tmp_path, *options):
    """Run ``evaluate``; return exit code, the report or None, and stderr."""
    path = tmp_path / 'report.json'
    code, out, err = run_verb('evaluate', model, bag, '--out', path, *options)
    report = json.loads(path.read_text()) if path.exists() else None
    return code, report, out, err


def test_labels_on_the_keypoints_are_explained(
    run_verb, model, bag, tmp_path, write_labels, positions, stamps_ns
):
    rows = [
        row
        for stamp, (u, v) in zip(stamps_ns, positions, strict=True)
        for row in ((stamp, 'hand', u + 2, 0.5 * v + 3), (stamp, 'base', 5, 5))
    ]
    labels = write_labels(rows)
    code, report, out, _ = evaluate(run_verb, model, bag, tmp_path, '--annotations', labels)
    assert code == 0
    assert report['explained'] > 0.999
    assert report['regressed_error_percent'] < 0.01
    hand, base = report['points']
    assert (hand['name'], hand['moves'], hand['scored_frames']) == ('hand', True, 6)
    assert (base['name'], base['moves'], base['explained']) == ('base', False, None)
    assert report['trivial_error_percent'] == hand['trivial_error_percent'] > 5
    assert report['labelled_frames'] == 20
    assert report['tracking'][0]['clip_frames'] == 10
    assert len(report['tracking']) == 12
    # v of the label moves half as far as the learned point's: still linear
    assert report['pck'] == hand['pck'] == {'2': 1.0, '5': 1.0, '10': 1.0}
    assert report['backward']['labels'] == ['hand', 'base']
    assert report['backward']['explained'] > 0.999
    assert set(report['tracking'][0]['recall_by_label']) == {'hand', 'base'}
    assert report['identity']['points'][0]['frames'] == 20
    assert report['reliability']['bins'][-1]['within'] == 1.0
    assert report['label_free']['wasted_share'] == 0.0
    assert report['recording']['frames'] == 20
    assert report['recording']['image_sizes'] == ['32x24']
    assert report['recording']['topics'] == ['/camera/image']
    assert report['model']['keypoints'] == ['kp0', 'kp1']
    assert len(report['model']['sha256']) == 64
    assert report['engine']['name'] == 'onnxruntime'
    assert report['machine']['processor']
    assert report['date']
    assert report['durations_s']['detection'] > 0
    assert 'hand' in out
    assert 'base (static)' in out


def test_order_of_arrival_does_not_matter(
    run_verb, model, make_bag, tmp_path, write_labels, positions, stamps_ns
):
    rows = [(stamp, 'hand', *uv) for stamp, uv in zip(stamps_ns, positions, strict=True)]
    labels = write_labels(rows)
    bag = make_bag(order=[*range(10, 20), *range(10)])
    _, report, _, _ = evaluate(run_verb, model, bag, tmp_path, '--annotations', labels)
    # the first 14 frames are those of the first 14 stamps; the diagonal of 32 x 24 is 40 px
    away = positions[14:] - positions[:14].mean(axis=0)
    expected = 100 * np.hypot(*away.T).mean() / 40
    assert report['trivial_error_percent'] == pytest.approx(expected)


def withhold(model, bag, stamps_ns, digest=None):
    """Write into a model that it learned from the first 14 frames of the bag."""
    source = {
        'name': 'bag',
        'digest': digest or source_digest(bag),
        'learned_ns': {'/camera/image': [int(stamps_ns[0]), int(stamps_ns[13])]},
        'withheld_ns': {'/camera/image': [int(stamps_ns[14]), int(stamps_ns[19])]},
    }
    manifest = read_manifest(model)
    changed = replace(manifest, sources=(source,), holdout=0.3)
    write_manifest(model, changed, files=list(manifest.files))


def test_only_withheld_frames_are_scored(
    run_verb, model, bag, tmp_path, write_labels, positions, stamps_ns
):
    withhold(model, bag, stamps_ns)
    # labels of every second frame of the first ten and of the withheld ones but the last
    labelled = [0, 2, 4, 6, 8, 14, 15, 16, 17, 18]
    labels = write_labels([(stamps_ns[i], 'hand', *positions[i]) for i in labelled])
    code, report, out, _ = evaluate(run_verb, model, bag, tmp_path, '--annotations', labels)
    assert code == 0
    assert (report['fitted_frames'], report['scored_frames']) == (5, 5)
    away = positions[14:19] - positions[[0, 2, 4, 6, 8]].mean(axis=0)
    expected = 100 * np.hypot(*away.T).mean() / 40
    assert report['trivial_error_percent'] == pytest.approx(expected)
    assert report['tracked_frames'] == 6
    assert report['identity']['points'][0]['frames'] == 5
    sentence = 'The scores are of the 6 of 20 frames that were withheld from the model.'
    assert report['holdout'] == {
        'share': 0.3,
        'scored': 'withheld frames',
        'withheld_frames': 6,
        'sentence': sentence,
    }
    assert sentence in out
    assert sentence in (model / 'report.html').read_text()
    # two keypoints, two warps of each of the six images; some keypoints leave the image
    assert 0 < report['label_free']['equivariance_pairs'] <= 2 * 2 * 6


def test_what_was_learned_from_is_told(run_verb, model, bag, tmp_path, stamps_ns):
    _, report, out, _ = evaluate(run_verb, model, bag, tmp_path)
    assert report['holdout']['scored'] == 'another recording'
    withhold(model, bag, stamps_ns)
    _, report, out, _ = evaluate(run_verb, model, bag, tmp_path, '--stamps', 'bag')
    assert report['holdout']['scored'] == 'learned frames'
    assert 'has learned from these frames' in ' '.join(out.split())
    # a frame store knows which recordings it is of
    assert run_verb('extract', bag, '--out', tmp_path / 'store', '--size', '32')[0] == 0
    _, report, out, _ = evaluate(run_verb, model, tmp_path / 'store', tmp_path)
    assert report['holdout']['withheld_frames'] == 6


def test_without_labels_there_are_the_other_measures(run_verb, model, bag, tmp_path):
    code, report, out, _ = evaluate(run_verb, model, bag, tmp_path)
    assert code == 0
    assert 'points' not in report
    measures = report['label_free']
    assert measures['dead_keypoints'] == []
    # kp1 is one pixel right of kp0: 2.5 % of a diagonal of 40 px
    assert measures['duplicate_pairs'] == []
    assert [k['name'] for k in measures['keypoints']] == ['kp0', 'kp1']
    assert 'equivariance error' in out


def test_video_is_written(run_verb, model, bag, tmp_path):
    code, _, out, _ = evaluate(run_verb, model, bag, tmp_path, '--video', tmp_path / 'seen.mp4')
    assert code == 0
    assert (tmp_path / 'seen.mp4').stat().st_size > 0
    assert (tmp_path / 'seen.png').stat().st_size > 0
    assert 'seen.mp4' in out


def refused(run_verb, model, bag, tmp_path, labels):
    """Return the sentence with which labels are refused."""
    code, report, _, err = evaluate(run_verb, model, bag, tmp_path, '--annotations', labels)
    assert code == 2
    assert report is None
    assert 'Traceback' not in err
    return err


def test_labels_that_match_no_frame(run_verb, model, bag, tmp_path, write_labels, stamps_ns):
    labels = write_labels([(stamp + 7, 'hand', 5, 5) for stamp in stamps_ns])
    err = refused(run_verb, model, bag, tmp_path, labels)
    assert 'match no frame: stamps must be equal to the nanosecond' in err
    assert f'nearest to stamp_ns {stamps_ns[0] + 7} is 7 ns away' in err


def test_labels_that_name_a_point_twice(run_verb, model, bag, tmp_path, write_labels, stamps_ns):
    labels = write_labels([(stamps_ns[0], 'hand', 5, 5), (stamps_ns[0], 'hand', 6, 5)])
    err = refused(run_verb, model, bag, tmp_path, labels)
    assert f"line 3 has 'hand' at {stamps_ns[0]} again" in err


def test_labels_outside_the_image(run_verb, model, bag, tmp_path, write_labels, stamps_ns):
    labels = write_labels([(stamp, 'hand', 40, 5) for stamp in stamps_ns])
    err = refused(run_verb, model, bag, tmp_path, labels)
    assert "20 labels outside the image; the first is 'hand' at (40, 5) in the 32x24 image" in err


def test_labels_of_one_frame(run_verb, model, bag, tmp_path, write_labels, stamps_ns):
    labels = write_labels([(stamps_ns[3], 'hand', 5, 5)])
    err = refused(run_verb, model, bag, tmp_path, labels)
    assert 'label 1 frame of the recording; expected at least 2' in err


def test_broken_model_writes_no_report(run_verb, broken_model, bag, tmp_path):
    code, report, _, err = evaluate(run_verb, broken_model, bag, tmp_path)
    assert code == 2
    assert report is None
    assert 'returned NaN or infinity for kp1' in err


def test_a_model_that_is_being_written_keeps_its_page(run_verb, model, bag, tmp_path):
    (model / 'report.html').write_text('old')
    with sole_writer(model):
        code, _, out, err = evaluate(run_verb, model, bag, tmp_path)
    assert code == 0
    assert f'report.html of {str(model)!r} is not updated' in err
    assert (model / 'report.html').read_text() == 'old'
    assert (tmp_path / 'report.html').stat().st_size > 10_000
    assert str(tmp_path / 'report.html') in out
