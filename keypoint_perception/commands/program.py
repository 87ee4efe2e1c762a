"""The program ``keypoint_perception``: its verbs, and how its errors reach the user."""

from __future__ import annotations

import sys

from keypoint_perception.commands.doctor import doctor
from keypoint_perception.errors import PerceptionError
import typer

# One line a verb, in the order in which a user meets them.
VERBS = (doctor,)

app = typer.Typer(
    name='keypoint_perception',
    help='From an unlabelled rosbag to live keypoints on a robot.',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for verb in VERBS:
    app.command()(verb)


def main(arguments: list[str] | None = None) -> None:
    """
    Run one verb and exit: 0 on success, 2 with one sentence for what the user can mend.

    :param arguments: command line without the program's name, by default the process's own
    """
    try:
        app(args=arguments)
    except PerceptionError as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from error
