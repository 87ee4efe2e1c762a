"""``doctor --gpu`` prints its report whatever happens to the check."""

import json
from pathlib import Path
import sys

from keypoint_perception.commands import gpu_report
from keypoint_perception.commands.program import main
import pytest

STEPS = [
    {'name': 'CUDA', 'state': 'ok', 'found': 'Orin | 8.7', 'facts': {}},
    {'name': 'build', 'state': 'ok', 'found': 'built', 'facts': {'seconds': 3.0}},
]


def checker(tmp_path, source):
    """Return the command of a check with a body of the test's own."""
    (tmp_path / 'check.py').write_text('import json, os, signal, sys\n' + source)
    return (sys.executable, str(tmp_path / 'check.py'))


def saying(steps, end=''):
    return ''.join(f'print(json.dumps({step!r}), flush=True)\n' for step in steps) + end


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    """Return a function that runs `doctor --gpu` with a check of its own."""

    def run(source, *arguments):
        command = checker(tmp_path, source)
        monkeypatch.setattr(gpu_report.run_check, '__defaults__', (command,))
        with pytest.raises(SystemExit) as stopped:
            main(['doctor', '--gpu', *arguments])
        said = capsys.readouterr()
        return stopped.value.code, said.out, said.err

    return run


def test_all_well_is_a_table_to_paste(doctor):
    code, out, err = doctor(saying(STEPS))
    assert (code, err) == (0, '')
    lines = out.splitlines()
    assert lines[:4] == ['### `doctor --gpu`', '', '|  |  |', '| --- | --- |']
    assert '| CUDA | ok: Orin / 8.7 |' in lines  # a bar would be another column
    assert lines[-1] == '| build | ok: built |'
    assert any(line.startswith('| driver | ') for line in lines)
    assert any(line.startswith('| numpy | ') for line in lines)


def test_json_has_the_facts(doctor):
    code, out, _ = doctor(saying(STEPS), '--json')
    said = json.loads(out)
    assert (code, said['ok'], said['steps']) == (0, True, STEPS)
    assert said['machine']['python'].startswith('3.')


def test_what_failed_is_one_sentence_after_the_report(doctor):
    failed = [
        STEPS[0],
        STEPS[1] | {'state': 'failed', 'found': 'no memory.'},
        {'name': 'TensorRT', 'state': 'failed', 'found': 'none.', 'facts': {}},
    ]
    code, out, err = doctor(saying(failed, 'sys.exit(2)'))
    assert code == 2
    assert '| build | failed: no memory. |' in out
    assert err == ('error: The GPU check failed: build: no memory; TensorRT: none.\n')


def test_a_library_that_kills_the_check_is_reported(doctor):
    code, out, err = doctor(saying(STEPS[:1], 'os.kill(os.getpid(), signal.SIGSEGV)'))
    assert code == 2
    assert '| CUDA | ok: ' in out
    assert 'killed by SIGSEGV, a sign of a broken library, after step: CUDA' in out
    assert 'check: killed by SIGSEGV' in err


def test_a_check_that_cannot_begin_is_reported(doctor):
    code, out, _ = doctor('sys.exit(1)')
    assert code == 2
    assert 'exited with status 1, after step: none' in out


def test_a_check_that_does_not_end_is_ended(doctor, monkeypatch):
    monkeypatch.setattr(gpu_report, 'CHECK_TIMEOUT_S', 0.5)
    code, out, _ = doctor('import time; time.sleep(600)')
    assert code == 2
    assert 'not finished within 0.5 s, after step: none' in out


def test_model_and_batch_are_handed_on(doctor):
    step = "{'name': 'arguments', 'state': 'ok', 'found': ' '.join(sys.argv[1:]), 'facts': {}}"
    code, out, _ = doctor(f'print(json.dumps({step}))', '--max-batch', '4', 'some/model')
    assert code == 0
    assert '| arguments | ok: some/model 4 |' in out
    assert '| arguments | ok: - 2 |' in doctor(f'print(json.dumps({step}))')[1]


def smi(tmp_path, monkeypatch, source):
    monkeypatch.setattr(gpu_report, 'SMI', checker(tmp_path, source))
    return gpu_report.query_smi()


def test_nvidia_smi_is_asked(tmp_path, monkeypatch):
    assert smi(tmp_path, monkeypatch, "print('Orin, 540.3, 8 GiB, 8.7')") == (
        'Orin, 540.3, 8 GiB, 8.7'
    )
    said = smi(tmp_path, monkeypatch, "print('NVML mismatch'); sys.exit(18)")
    assert said == 'failed: NVML mismatch'
    monkeypatch.setattr(gpu_report, 'SMI', ('/no/such/nvidia-smi',))
    assert gpu_report.query_smi() == 'not installed'


def test_the_driver_and_the_jetson_say_what_they_are(tmp_path, monkeypatch):
    for name, text in (('DRIVER', 'NVRM version: 540.3.0'), ('JETSON', '# R36 (release)')):
        (tmp_path / name).write_text(text + '\nmore')
        monkeypatch.setattr(gpu_report, name, tmp_path / name)
    monkeypatch.setattr(gpu_report, 'SMI', ('/no/such/nvidia-smi',))
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    rows = dict(gpu_report.hardware())
    assert rows['driver'] == 'NVRM version: 540.3.0'
    assert rows['Jetson'] == '# R36 (release)'
    assert rows['CUDA_VISIBLE_DEVICES'] == "''"
    monkeypatch.setattr(gpu_report, 'DRIVER', Path('/no/driver'))
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    rows = dict(gpu_report.hardware())
    assert rows['driver'] == 'none (/no/driver does not exist)'
    assert 'CUDA_VISIBLE_DEVICES' not in rows
