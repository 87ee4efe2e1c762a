"""
Which points of a robot its own links hide from the camera.

A link's origin lies inside of the arm, so what is before it within the arm's thickness does not
hide it. A point that was given lies on a surface.
"""

from __future__ import annotations

from collections.abc import Mapping

from keypoint_perception.robot.convex_shape import length_hidden
from keypoint_perception.robot.link_shapes import LinkShapes
from keypoint_perception.robot.rigid_transforms import inverse
import numpy as np

# In radii of the arm, how far before a point a body may begin without hiding it.
INSIDE, INSIDE_ASSUMED, ON_SURFACE = 2.0, 1.4, 0.3


def hidden_by_links(
    links: Mapping[str, np.ndarray],
    bodies: LinkShapes,
    eyes: np.ndarray,
    points: np.ndarray,
    *,
    inside: bool,
) -> np.ndarray:
    """
    Return whether links are before a point, (N,).

    :param links: transforms of links by name, (N, 4, 4) m
    :param eyes: places of the camera, (N, 3) m in the frame of the links
    :param points: (N, 3) m in the same frame
    :param inside: whether the point lies inside of the arm
    """
    hidden = np.zeros(len(points), bool)
    for link, shapes in bodies.shapes.items():
        if link not in links:
            continue
        if link in bodies.assumed:
            slack = INSIDE_ASSUMED * bodies.radius
        else:
            slack = (INSIDE if inside else ON_SURFACE) * bodies.radius
        for shape in shapes:
            to_body = inverse(links[link] @ shape.origin)
            rotation, translation = to_body[:, :3, :3], to_body[:, :3, 3]
            eye, point = ((rotation @ p[..., None])[..., 0] + translation for p in (eyes, points))
            with np.errstate(invalid='ignore'):
                hidden |= length_hidden(shape, eye, point) > slack
    return hidden
