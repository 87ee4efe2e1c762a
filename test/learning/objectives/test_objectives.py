"""Every objective is in the list, has its settings, its test and its paragraph."""

from pathlib import Path

from keypoint_perception.learning import objectives
from keypoint_perception.learning.objectives import OBJECTIVES
import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted(
    path.stem for path in Path(objectives.__file__).parent.glob('*.py') if path.stem[0] != '_'
)


def test_the_list_holds_every_file():
    assert sorted(OBJECTIVES) == FILES


@pytest.mark.parametrize('name', FILES)
def test_an_objective_is_whole(name):
    assert (ROOT / 'config' / 'train' / f'{name}.yaml').is_file()
    assert (ROOT / 'test' / 'learning' / 'objectives' / f'test_{name}.py').is_file()
    assert f'## {name}\n' in (ROOT / 'docs' / 'objectives.md').read_text()
    assert 'http' in __import__(OBJECTIVES[name].__module__, fromlist=['x']).__doc__
