"""``label robot``: labels from the robot's own joint states."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TYPE_CHECKING

from keypoint_perception.commands.options import Recording, Stamps, Topic
from keypoint_perception.commands.outputs import check_outputs
import typer

if TYPE_CHECKING:
    from keypoint_perception.robot.link_labels import LabelCounts


def robot(
    source: Recording,
    out: Annotated[Path, typer.Option(help='Annotations to write, CSV.')],
    topic: Topic = None,
    urdf: Annotated[
        Path | None, typer.Option(help='URDF of the robot; default: /robot_description.')
    ] = None,
    camera: Annotated[
        Path | None,
        typer.Option(help='Pose of the camera, YAML (docs/robot.md); default: tf.'),
    ] = None,
    links: Annotated[
        list[str] | None, typer.Option(help='Link to label; repeatable; default: all.')
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help='Further points fixed to links, YAML.')
    ] = None,
    delay: Annotated[
        float | None,
        typer.Option(
            min=-1e9,
            max=1e9,
            help='Stamp of an image minus the moment that it shows on the clock of the joints, s; '
            'default: stamp_delay_s of --camera, or 0.',
        ),
    ] = None,
    meshes: Annotated[
        list[Path] | None,
        typer.Option(help='Folder with the mesh files that the URDF names; repeatable.'),
    ] = None,
    joint_states: Annotated[
        str, typer.Option(help='Topic of the joint states, if there are several.')
    ] = '',
    stamps: Stamps = '',
) -> None:
    """Label the links of a robot in every image, from its joint states and the camera's pose."""
    inputs = {'the recording': source, '--urdf': urdf, '--camera': camera, '--points': points}
    check_outputs({'--out': out}, inputs)
    from keypoint_perception.frames.annotation_writer import write_annotations
    from keypoint_perception.robot.camera_pose import read_camera_pose
    from keypoint_perception.robot.robot_labelling import describe_robot, label_robot
    from keypoint_perception.robot.robot_recording import read_robot_recording

    pose = None if camera is None else read_camera_pose(camera)
    recording = read_robot_recording(source, topic, stamps=stamps, joint_topic=joint_states)
    labels = label_robot(
        recording,
        describe_robot(recording, urdf),
        pose=pose,
        links=links or [],
        points=points,
        delay_s=delay,
        meshes=[*(meshes or []), *([urdf.parent] if urdf else [])],
    )
    write_annotations(out, labels.names, labels.stamps_ns, labels.uv)
    print(f"camera's pose: {labels.place}")
    for line in _lines(labels.counts):
        print(line)
    print(f'wrote {out}')


def _lines(counts: LabelCounts) -> list[str]:
    """Return what became of images and points, a line each."""
    lines = [f'{counts.labels} labels in {counts.labelled} of {counts.images} images']
    left_out = {
        'images without joint states within 50 ms before and after': counts.gaps,
        'images for which tf has no pose of the camera': counts.no_pose,
        'points that joint states do not place': counts.unplaced,
        'points behind the camera': counts.behind,
        'points outside of the image': counts.outside,
        'points behind links': counts.hidden,
    }
    return lines + [f'  left out: {count} {what}' for what, count in left_out.items() if count]
