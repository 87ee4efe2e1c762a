"""The recorder is measured on the images of another process."""

import json
import re

from keypoint_perception.commands.program import main
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('mcap', reason='mcap, which writes bags, is not installed')


def test_two_cameras_are_recorded_and_counted(ros_domain, tmp_path, capsys):
    out = tmp_path / 'record.json'
    small = ['--width', '64', '--height', '48', '--hz', '20', '--seconds', '0.5']
    with pytest.raises(SystemExit) as ended:
        main(['benchmark', 'record', '--out', str(out), '--keep', *small])
    assert ended.value.code == 0
    measured = json.loads(out.read_text())
    assert measured['sent'] == 2 * 10
    assert measured['written'] + measured['lost'] + measured['unseen'] == 20
    assert measured['dropped'] == measured['skipped'] == 0
    assert 0 < measured['memory_mb']['idle'] <= measured['memory_mb']['most']
    assert 2 * 64 * 48 * 3 * measured['written'] / 2 < measured['mb'] * 1e6 < 400_000
    assert re.search(
        r'\| 2 x 64x48 at 20 Hz \| compression none \| 20 +\|', capsys.readouterr().out
    )
    assert (tmp_path / 'record_bag' / 'metadata.yaml').is_file()
    with pytest.raises(SystemExit) as ended:
        main(['benchmark', 'record', '--out', str(out)])
    assert ended.value.code == 2
    assert "record_bag' exists already; remove it, or choose another" in capsys.readouterr().err
    assert (tmp_path / 'record_bag' / 'metadata.yaml').is_file()
