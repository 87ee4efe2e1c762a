"""``label``: ways to labels, each a verb of its own."""

from __future__ import annotations

from keypoint_perception.commands.label_robot import robot
import typer

label = typer.Typer(help='Make annotations, CSV stamp_ns,keypoint,u,v.')
label.command('robot')(robot)
