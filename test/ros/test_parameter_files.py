"""Parameter files that have nothing for a node are told."""

from types import SimpleNamespace

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.parameter_files import check_parameter_files
import pytest

NODE = '/robot1/perception_node'


@pytest.fixture
def told(tmp_path):
    """Return a function: what is said of the text of a parameter file."""

    def check(text: str, lacking: str = '') -> list[str]:
        (tmp_path / 'p.yaml').write_text(text)
        said = []
        node = SimpleNamespace(
            get_fully_qualified_name=lambda: NODE,
            get_logger=lambda: SimpleNamespace(warning=said.append),
        )
        arguments = ['--ros-args', '--params-file', str(tmp_path / 'p.yaml')]
        check_parameter_files(arguments, node, lacking)
        return said

    return check


@pytest.mark.parametrize(
    'text',
    [
        '/**: {ros__parameters: {}}',
        '**: {ros__parameters: {}}',
        '/*/perception_node: {ros__parameters: {}}',
        '/**/perception_node: {ros__parameters: {}}',
        '/robot1/perception_node: {ros__parameters: {}}',
        'robot1/perception_node: {ros__parameters: {}}',
        '/robot1: {perception_node: {ros__parameters: {}}}',
        'other: {ros__parameters: {}}\nrobot1: {"*": {ros__parameters: {}}}',
        '',
        'a: &b 1',
    ],
)
def test_files_for_the_node_are_silent(told, text):
    assert told(text, lacking='model') == []


@pytest.mark.parametrize(
    ('text', 'names'),
    [
        ('perception_node: {ros__parameters: {}}', '/perception_node'),
        ('/*: {ros__parameters: {}}', '/*'),
        ('/robot: {"**": {ros__parameters: {}}}', '/robot/**'),
        ('/robot1.perception_node: {ros__parameters: {}}', '/robot1.perception_node'),
        ('a: {ros__parameters: {}}\nb: {ros__parameters: {}}', '/a, /b'),
    ],
)
def test_files_for_others_are_told(told, text, names):
    (sentence,) = told(text)
    assert f"p.yaml' has parameters of {names}, but none of this node, which is {NODE}" in sentence
    with pytest.raises(ConfigError, match=r'^Parameter model is not set: .* or /.. for all nodes'):
        told(text, lacking='model')
