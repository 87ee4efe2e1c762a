"""Every objective is in the list, has its settings, its test and its paragraph."""

from pathlib import Path

from keypoint_perception.learning import objectives
from keypoint_perception.learning.objectives import OBJECTIVES
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.network import Keypointer, NetworkConfig
from keypoint_perception.settings import table
import pytest
import torch

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


def section(name):
    """Return the section of an objective in the documents, on one line."""
    text = (ROOT / 'docs' / 'objectives.md').read_text().split(f'## {name}\n')[1]
    return ' '.join(text.split('\n## ')[0].split())


@pytest.mark.parametrize('name', FILES)
def test_settings_and_weights_are_those_of_the_documents(name):
    kind = OBJECTIVES[name]
    weights = ', '.join(f'`{term}` {weight:g}' for term, weight in kind.weights.items())
    settings = ' '.join(table(kind.Config).split())
    written = f'`weights`: {weights}. `objective_settings`: {settings}'
    # those of another objective are written there alone
    alike = [
        other
        for other, theirs in OBJECTIVES.items()
        if (theirs.Config, theirs.weights) == (kind.Config, kind.weights)
    ]
    assert any(written in section(other) for other in alike)


@pytest.mark.parametrize(
    'name', [name for name, kind in OBJECTIVES.items() if not getattr(kind, 'needs', ())]
)
def test_terms_are_the_same_under_mixed_precision(name):
    """Nets may be rounded to bfloat16; positions and losses may not."""
    torch.manual_seed(0)
    config = NetworkConfig(keypoints=3, input_hw=(32, 48), width=8)
    network = Keypointer(config)
    objective = OBJECTIVES[name](OBJECTIVES[name].Config(), config, DatasetStatistics(0.1))
    image0, image1 = torch.rand(2, 2, 3, 32, 48) * 2 - 1
    found = []
    for mixed in (False, True):
        torch.manual_seed(1)
        with torch.autocast('cpu', torch.bfloat16, enabled=mixed):
            found.append(objective(PairBatch(network, image0, image1)))
    plain, rounded = found
    for term, value in rounded.items():
        assert value.dtype == torch.float32 and value.shape == (2,), term
        torch.testing.assert_close(value, plain[term], atol=0.01, rtol=0.01)
    sum(value.sum() for value in rounded.values()).backward()
    for parameter in [*network.parameters(), *objective.parameters()]:
        assert parameter.grad is None or parameter.grad.isfinite().all()
