"""What a sentence of the program advises, and settings of a quick run."""

import re
import shlex

LABELS = 'stamp_ns,keypoint,u,v\n'
QUICK = 'width: 8\nbatch_size: 4\nlog_every: 1\nthreads: 1\nprecision: "32"\n'


def sentence_of(result) -> str:
    """Return the one sentence of a verb that failed: exit code, stdout and stderr."""
    code, _, err = result
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1, err
    return lines[0]


def named(pattern, sentence):
    """Return what a sentence names, which must be there."""
    found = re.search(pattern, sentence)
    assert found, sentence
    return found[1]


def words_of(pattern, sentence):
    """Return the command that a sentence names, as a shell understands it."""
    return shlex.split(named(pattern, sentence))
