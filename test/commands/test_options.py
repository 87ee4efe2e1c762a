"""Options that are generated from settings."""

from dataclasses import dataclass
from typing import Annotated

from keypoint_perception.commands.options import options_of
from keypoint_perception.settings import setting, Settings
import pytest
import typer
from typer.testing import CliRunner


@dataclass(frozen=True)
class Limits(Settings):
    max_count: int = setting(3, low=0, help='Count.')
    only_some: bool = setting(False, help='Some.')


@pytest.fixture
def run():
    """Return a function that runs a verb with options and returns its result."""
    app = typer.Typer()

    @app.command()
    @options_of(Limits)
    def verb(out: Annotated[str, typer.Option(help='Out.')], **values):
        print(out, Limits(**values))

    return lambda *arguments: CliRunner().invoke(app, ['--out', 'x', *arguments])


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ((), Limits()),
        (('--max-count', '5'), Limits(max_count=5)),
        (('--only-some',), Limits(only_some=True)),
    ],
)
def test_settings_are_options(run, arguments, expected):
    assert run(*arguments).stdout == f'x {expected}\n'


def test_switches_have_no_negation(run):
    assert run('--no-only-some').exit_code == 2
    assert 'Count.' in run('--help').stdout
