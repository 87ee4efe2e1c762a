"""Settings: what is stated counts, what is unknown is refused with the known ones."""

from pathlib import Path

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.config import from_values, read_config, to_values, TrainConfig
from keypoint_perception.settings import table
import pytest

SHIPPED = sorted((Path(__file__).parents[2] / 'config' / 'train').glob('*.yaml'))


def written(tmp_path, text):
    path = tmp_path / 'train.yaml'
    path.write_text(text)
    return path


def test_command_line_goes_before_file_before_default(tmp_path):
    path = written(tmp_path, 'keypoints: 5\nseed: 3\nlearning_rate: 1e-3\n')
    config = read_config(path, {'seed': 9, 'size': None})
    assert (config.keypoints, config.seed, config.size) == (5, 9, TrainConfig().size)
    # YAML takes 1e-3 for text; a number is meant
    assert config.learning_rate == 0.001


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        (
            'learning_rat: 1',
            r"train\.yaml: the file has no 'learning_rat'; known: across_clips, annota",
        ),
        (
            'objective_settings: {sigm: 1}',
            "objective_settings has no 'sigm'; known: angle, colour, s",
        ),
        ('weights: {pixels: 1}', "weights of default has no 'pixels'; known: agree, aside, "),
        ('weights: {pixel: -1}', r'weights\.pixel: must be a number, 0 or more, got -1'),
        (
            'weights: {pixel: .nan}',
            r'weights\.pixel: must be a number, 0 or more, got n',
        ),
        (
            'weights: {pixel: true}',
            r'weights\.pixel: must be a number, 0 or more, got T',
        ),
        ('objective: magic', "objective: must be one of .*, got 'magic'"),
        ('keypoints: 0', 'keypoints: must be an integer from 1 to 256, got 0'),
        ('size: 100', 'size: must be a multiple of 8, got 100'),
        ('keypoints: 1.5', r'keypoints: must be an integer from 1 to 256, got 1\.5'),
        ('keypoints: many', "keypoints: must be an integer from 1 to 256, got 'many'"),
        ('learning_rate: fast', "learning_rate: must be a number from 1e-07 to 1, got 'fast'"),
        ('learning_rate: .nan', 'learning_rate: must be a number from 1e-07 to 1, got nan'),
        ('weights: 3', 'weights: must be a mapping of names to values, got 3'),
        (
            '{objective: temporal_transport, objective_settings: {both_ways: 3}}',
            'both_ways: must be true or false, got 3',
        ),
        (
            'objective_settings: {sigma: 0}',
            r'sigma: must be a number above 0 .*, got 0',
        ),
        ('min_gap_s: 3', 'min_gap_s: must not exceed max_gap_s, got 3 and 2'),
        ('{objective: equivariance, tracks: t.csv}', 'equivariance does not learn from tracks'),
        ('annotations: labels.csv', 'annotations: default does not learn from labels'),
        (
            '{spare: 2, extra_keypoints: 2}',
            "states 'extra_keypoints' and its former name 'spare'; remove 'spare'",
        ),
        ('- a list', r'must be a mapping of names to values, got \[.a list.\]'),
        ('a: [1', 'cannot be used: line .: '),
    ],
)
def test_mistakes_are_named(tmp_path, text, sentence):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=sentence) as raised:
        read_config(path, {})
    assert 'train.yaml' in str(raised.value)
    assert '\n' not in str(raised.value)


def test_the_command_lines_mistakes_are_not_the_files(tmp_path):
    with pytest.raises(ConfigError, match=r'^keypoints: must be an integer from 1 to 256, got 0'):
        read_config(written(tmp_path, 'width: 8'), {'keypoints': 0})


@pytest.mark.parametrize('text', ['precision: 16', 'precision: "16"'])
def test_a_precision_may_stand_without_quotes(tmp_path, text):
    assert read_config(written(tmp_path, text), {}).precision == '16'


def test_a_file_that_is_no_text_is_said(tmp_path):
    path = tmp_path / 'train.yaml'
    path.write_bytes(b'seed: \xff\xfe')
    with pytest.raises(ConfigError, match=r'train\.yaml. cannot be used: .*utf-8'):
        read_config(path, {})


def test_what_follows_from_a_frame_store_goes_behind_the_file(tmp_path):
    path = written(tmp_path, 'size: 64\n')
    assert read_config(path, {}, {'size': 96}).size == 64
    assert read_config(None, {}, {'size': 96}).size == 96
    assert read_config(None, {'size': 32}, {'size': 96}).size == 32


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"'.*nowhere\.yaml' cannot be read \(No such file"):
        read_config(tmp_path / 'nowhere.yaml', {})


def test_weights_not_stated_keep_the_objectives_own():
    config = TrainConfig(objective='temporal_transport', weights={'spread': 0.0})
    assert config.term_weights() == {'pixel': 1.0, 'spread': 0.0}


def test_a_checkpoint_keeps_every_setting():
    config = TrainConfig(keypoints=3, weights={'spread': 0.2}, objective_settings={'sigma': 0.2})
    assert from_values(to_values(config)) == config
    assert from_values(to_values(config), steps=7).steps == 7


def test_extra_keypoints_have_a_former_name(tmp_path):
    path = written(tmp_path, 'spare: 3\n')
    assert read_config(path, {}).extra_keypoints == 3
    assert read_config(path, {'extra_keypoints': 4}).extra_keypoints == 4
    values = to_values(TrainConfig(extra_keypoints=3))
    assert 'spare' not in values
    former = {{'extra_keypoints': 'spare'}.get(name, name): values[name] for name in values}
    assert from_values(former).extra_keypoints == 3


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_load(path, tmp_path):
    needs_labels = path.stem in ('supervised', 'semi_supervised')
    labels = tmp_path / 'labels.csv'
    labels.write_text('stamp_ns,keypoint,u,v\n1,hand,2,3\n')
    read_config(path, {'annotations': str(labels) if needs_labels else None})


def test_there_are_shipped_files():
    assert {path.stem for path in SHIPPED} >= {'temporal_transport', 'paper'}


def test_the_table_of_settings_is_in_the_documents():
    text = (SHIPPED[0].parents[2] / 'docs' / 'training.md').read_text(encoding='utf-8')
    assert f'\n\n{table(TrainConfig)}\n\n' in text
