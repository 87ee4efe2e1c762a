"""What the documents promise is there."""

from __future__ import annotations

from pathlib import Path
import re

from keypoint_perception.commands.program import VERBS
from keypoint_perception.ros.parameters import PARAMETERS
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('document', ['README.md', 'CONTRIBUTING.md'])
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding='utf-8')
    targets = re.findall(r'\]\(([^)]+)\)', text)
    headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    anchors = {'#' + re.sub(r'[^a-z0-9 -]', '', h.lower()).replace(' ', '-') for h in headings}
    local = [target for target in targets if not target.startswith('https://')]
    assert local
    lost = [t for t in local if t not in anchors and not (ROOT / t.split('#')[0]).is_file()]
    assert lost == []


def test_readme_names_every_parameter_with_its_default():
    rows = [line for line in README.splitlines() if line.startswith('| `')]
    for parameter in PARAMETERS:
        (row,) = [r for r in rows if r.startswith(f'| `{parameter.name}` |') and '|' in r[3:]]
        default = str(parameter.default).lower() if parameter.default != '' else ''
        assert f'| `{default}` |' in row or not default
        assert parameter.description in row


def test_readme_names_every_verb():
    for verb in VERBS:
        assert f'| `{verb.__name__}' in README


def test_python_in_the_readme_is_python():
    blocks = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, 'README.md', 'exec')


def test_readme_says_what_a_user_must_check():
    assert 'WO2020225247' in README
    assert 'Patent note' in README
