"""
Small file systems that become full while a command writes, and have room again.

They are mounted in a user namespace of their own (``unshare``), which needs no rights.
"""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

from torture.campaign import Tally
from torture.kills import ARM, ROOT, SETTINGS, TRAIN

SIZES_KB = (100, 300, 600, 1000, 1300, 1600, 2000, 2600)
SCRIPT = """
set -u
mkdir -p disk
mount -t tmpfs -o size={size}k none disk
{command} >first.out 2>&1
echo "$?" >first.status
mount -o remount,size=200m disk
{again} >second.out 2>&1
echo "$?" >second.status
"""


def can_mount() -> bool:
    """Return whether this system lets a user mount a file system in a namespace."""
    trial = ['unshare', '-rm', 'sh', '-c', 'mount -t tmpfs none /mnt']
    try:
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def fill_disks(directory: Path) -> list[Tally]:
    """Run extract and train on disks of several sizes, then again with room."""
    settings = directory / 'disk_settings.yaml'
    settings.write_text(SETTINGS)
    program = f'{sys.executable} -m keypoint_perception'
    train = f'{program} train {ARM} {" ".join(TRAIN)} --config {settings} --out disk/out'
    extract = f'{program} extract {ARM} --size 64 --out disk/out'
    resume = f'if test -d disk/out/checkpoint; then {train} --resume; else {train}; fi'
    return [
        _fill('full disk: extract', directory / 'extract_full', extract, extract),
        _fill('full disk: train', directory / 'train_full', train, resume),
    ]


def _fill(name: str, place: Path, command: str, again: str) -> Tally:
    tally = Tally(name)
    place.mkdir()
    for size in SIZES_KB:
        script = SCRIPT.format(size=size, command=command, again=again)
        environment = {'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin:/usr/sbin:/sbin'}
        subprocess.run(
            ['unshare', '-rm', 'bash', '-c', script], cwd=place, env=environment, check=True
        )
        first, second = (
            (place / f'{n}.out').read_text(errors='replace') for n in ('first', 'second')
        )
        codes = [int((place / f'{n}.status').read_text()) for n in ('first', 'second')]
        kinds = {'cases'}
        if 'Traceback' in first + second or codes[0] not in (0, 2):
            kinds.add('traceback')
        if codes[0] == 2:
            kinds.add('refused')
        if codes[1]:
            kinds.add('lost')
        if kinds & {'traceback', 'lost'}:
            tally.examples.append(f'{name} of {size} kB: {first[-300:]} | {second[-300:]}')
        tally.counts.update(kinds)
    return tally
