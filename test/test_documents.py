"""What the documents promise is there."""

from __future__ import annotations

from pathlib import Path
import re

from keypoint_perception.commands.program import app
from keypoint_perception.limits import Limits
from keypoint_perception.ros.perception.node_parameters import NodeParameters
from keypoint_perception.ros.recorder.recorder_settings import RecorderParameters
from keypoint_perception.settings import table
import pytest
from typer.main import get_command

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
NODE = (ROOT / 'docs' / 'node.md').read_text(encoding='utf-8')
DOCUMENTS = (
    'README.md',
    'CONTRIBUTING.md',
    'docs/benchmarks.md',
    'docs/experiments.md',
    'docs/node.md',
    'docs/objectives.md',
    'docs/recording.md',
    'docs/robot.md',
    'docs/tensorrt.md',
    'docs/training.md',
)
# the page that every newcomer reads, from the first line to the last
MOST_README_LINES = 300


def anchors_of(path: Path) -> set[str]:
    headings = re.findall(r'^#+ (.*)$', path.read_text(encoding='utf-8'), re.MULTILINE)
    return {re.sub(r'[^a-z0-9 -]', '', h.lower()).replace(' ', '-') for h in headings}


def leads_somewhere(document: Path, target: str) -> bool:
    path, _, anchor = target.partition('#')
    page = document.parent / path if path else document
    return page.is_file() and (not anchor or anchor in anchors_of(page))


@pytest.mark.parametrize('document', DOCUMENTS)
def test_links_lead_somewhere(document):
    page = ROOT / document
    targets = re.findall(r'\]\(([^)]+)\)', page.read_text(encoding='utf-8'))
    local = [target for target in targets if not target.startswith('https://')]
    assert local
    assert [target for target in local if not leads_somewhere(page, target)] == []


@pytest.mark.parametrize('document', ['README.md', 'CONTRIBUTING.md'])
def test_the_objectives_can_be_found(document):
    assert '](docs/objectives.md)' in (ROOT / document).read_text(encoding='utf-8')


def test_the_tables_of_parameters_are_those_of_the_nodes():
    assert f'\n\n{table(NodeParameters, live=True)}\n\n' in NODE
    recording = (ROOT / 'docs' / 'recording.md').read_text(encoding='utf-8')
    assert f'\n\n{table(RecorderParameters)}\n\n' in recording


def test_the_table_of_limits_is_that_of_the_package():
    reliability = (ROOT / 'docs' / 'reliability.md').read_text(encoding='utf-8')
    assert f'\n\n{table(Limits)}\n\n' in reliability


def test_readme_names_every_verb():
    verbs = set(get_command(app).commands)
    rows = re.findall(r'^\| `(\w+)[^|]*` \| ', README, re.MULTILINE)
    assert verbs - set(rows) == set()
    assert 'benchmark' in verbs


def options_of(command) -> set[str]:
    """Return the options of a verb, those of its own verbs included."""
    own = {option for parameter in command.params for option in parameter.opts}
    return own.union(*(options_of(c) for c in getattr(command, 'commands', {}).values()))


def shown_options(text: str) -> list[tuple[str, str]]:
    """Return verb and option wherever a command line shows one."""
    blocks = re.findall(r'```bash\n(.*?)```', text, re.DOTALL)
    spans = re.findall(r'`([^`\n]+)`', re.sub(r'```.*?```', '', text, flags=re.DOTALL))
    verb = rf'({"|".join(get_command(app).commands)})\b([^#\n]*)'
    # in a block a verb follows the program, because `export` is a word of the shell too
    lines = re.findall(rf'keypoint_perception {verb}', '\n'.join(blocks + spans))
    lines += re.findall(rf'^{verb}', '\n'.join(spans), re.MULTILINE)
    return [(name, o) for name, rest in lines for o in re.findall(r'(?<![\w-])--[\w-]+', rest)]


@pytest.mark.parametrize('document', DOCUMENTS)
def test_options_that_are_shown_exist(document):
    shown = shown_options((ROOT / document).read_text(encoding='utf-8'))
    commands = get_command(app).commands
    assert [(v, o) for v, o in shown if o not in options_of(commands[v]) | {'--help'}] == []
    if document == 'README.md':
        assert {('train', '--minutes'), ('detect', '--bag')} <= set(shown)


def test_an_option_is_seen_in_spans_and_blocks():
    text = 'Say `detect M --lost`.\n```bash\nx -m keypoint_perception train a --no-such 2\n```\n'
    assert shown_options(text) == [('train', '--no-such'), ('detect', '--lost')]


def test_python_in_the_readme_is_python():
    blocks = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, 'README.md', 'exec')


def test_readme_is_short_and_leads_to_every_document():
    assert len(README.splitlines()) <= MOST_README_LINES
    for document in (ROOT / 'docs').glob('*.md'):
        assert f'](docs/{document.name})' in README


def test_readme_says_what_a_user_must_check():
    assert 'WO2020225247' in README
    assert 'Patent note' in README
