"""Variants of a configuration from a command line."""

from keypoint_perception.errors import ConfigError, ModelError
from keypoint_perception.learning.variants import changed, read_change, resolve, variants_of
import pytest


def test_each_change_is_a_variant_of_each_base(tmp_path):
    path = tmp_path / 'small.yaml'
    path.write_text('width: 8\nweights: {pixel: 2}\n')
    found = variants_of(
        ['temporal_transport'], [path], ['still: weights.spread=0 size=64'], ['threads=1']
    )
    assert found == {
        'temporal_transport': {'objective': 'temporal_transport', 'threads': 1},
        'temporal_transport, still': {
            'objective': 'temporal_transport',
            'threads': 1,
            'weights': {'spread': 0},
            'size': 64,
        },
        'small': {'width': 8, 'weights': {'pixel': 2}, 'threads': 1},
        'small, still': {
            'width': 8,
            'weights': {'pixel': 2, 'spread': 0},
            'threads': 1,
            'size': 64,
        },
    }


def test_the_packages_own_settings_are_a_base():
    assert variants_of([], [], [], []) == {'defaults': {}}
    assert variants_of([], [], ['width=8'], []) == {'defaults': {}, 'width=8': {'width': 8}}


def test_values_are_yaml():
    assert read_change('A b: x.y="[1, 2]" z=1e-3 on=false') == (
        'A b',
        {'x.y': [1, 2], 'z': '1e-3', 'on': False},
    )


def test_changing_leaves_the_original():
    base = {'weights': {'spread': 1}}
    assert changed(base, {'weights.spread': 2}) == {'weights': {'spread': 2}}
    assert base == {'weights': {'spread': 1}}


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        (['a:'], 'changes nothing; write NAME: KEY=VALUE'),
        (['a: width'], "'width' is not of the form KEY=VALUE"),
        (['a: "width=8'], 'cannot be read'),
        (['a: width=8', 'a: width=9'], "Two variants are called 'a'"),
        (['a: objective.x=8'], "objective is '.*' here, not a mapping"),
        (['a: width=[8'], 'the value is not YAML'),
    ],
)
def test_mistakes(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        variants_of(['temporal_transport'], [], changes, [])


@pytest.mark.parametrize('objective', ['supervised', 'semi_supervised'])
def test_all_settings_are_known_for_comparison(tmp_path, objective):
    labels = tmp_path / 'labels.csv'
    labels.write_text('stamp_ns,keypoint,u,v\n1,a,0,0\n1,b,1,1\n2,c,1,1\n')
    named, values = resolve({'width': 8}, seed=4, annotations=labels)
    assert named == {'width': 8}
    assert (values['seed'], values['width'], values['size']) == (4, 8, 128)
    named, values = resolve({'objective': objective}, seed=0, annotations=labels)
    assert named == {'objective': objective, 'annotations': str(labels)}
    assert values['keypoints'] == 3
    with pytest.raises(ModelError, match="'3'"):
        resolve({'init': 3}, seed=0, annotations=None)
    with pytest.raises(ConfigError, match='annotations'):
        resolve({'objective': 'supervised'}, seed=0, annotations=None)
