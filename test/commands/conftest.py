"""A model that finds the brightest pixel, and a recording in which one walks about."""

from contextlib import suppress
from pathlib import Path
import shutil

from advice import LABELS, QUICK, sentence_of
import cv2
from keypoint_perception.commands.program import main
from keypoint_perception.inference.synthetic_model import write_synthetic_model
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

FIRST_NS = 1_700_000_000_000_000_000
FRAME_NS = 50_000_000
HEIGHT, WIDTH = 24, 32
IMAGE_TYPE = 'sensor_msgs/msg/Image'


def spot_positions(count: int) -> np.ndarray:
    """Return where the bright pixel is in each frame, (count, 2) px."""
    generator = np.random.default_rng(0)
    return np.stack([generator.integers(0, side, count) for side in (WIDTH - 4, HEIGHT)], axis=-1)


def image_message(typestore, stamp_ns: int, uv) -> object:
    """Return an image that is grey but for one white pixel."""
    types = typestore.types
    pixels = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    pixels[uv[1], uv[0]] = 255
    stamp = types['builtin_interfaces/msg/Time'](*divmod(int(stamp_ns), 10**9))
    return types[IMAGE_TYPE](
        header=types['std_msgs/msg/Header'](stamp=stamp, frame_id='camera'),
        height=HEIGHT,
        width=WIDTH,
        encoding='rgb8',
        is_bigendian=0,
        step=3 * WIDTH,
        data=pixels.reshape(-1),
    )


@pytest.fixture
def model(tmp_path) -> Path:
    """Return a model directory with keypoints kp0 and kp1, the size of the images."""
    write_synthetic_model(tmp_path / 'model', keypoints=2, input_hw=(HEIGHT, WIDTH))
    return tmp_path / 'model'


@pytest.fixture
def broken_model(tmp_path) -> Path:
    """Return a model directory whose kp1 is NaN."""
    write_synthetic_model(
        tmp_path / 'nan', keypoints=2, input_hw=(HEIGHT, WIDTH), nan_keypoints=(1,)
    )
    return tmp_path / 'nan'


@pytest.fixture
def make_bag(tmp_path):
    """Return a function that writes a bag; by default 20 frames of one camera, in order."""

    def make(*, topics=('/camera/image',), order=range(20)) -> Path:
        path = tmp_path / 'bag'
        typestore = get_typestore(Stores.ROS2_JAZZY)
        positions = spot_positions(max(order) + 1)
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            cameras = [
                writer.add_connection(topic, IMAGE_TYPE, typestore=typestore) for topic in topics
            ]
            for arrival, index in enumerate(order):
                stamp_ns = FIRST_NS + index * FRAME_NS
                message = image_message(typestore, stamp_ns, positions[index])
                data = typestore.serialize_cdr(message, IMAGE_TYPE)
                for camera in cameras:
                    writer.write(camera, FIRST_NS + arrival * FRAME_NS, data)
        return path

    return make


@pytest.fixture
def bag(make_bag) -> Path:
    return make_bag()


@pytest.fixture
def run_verb(capsys):
    """Return a function that runs the program and returns exit code, stdout and stderr."""
    from keypoint_perception.commands.program import main

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return stopped.value.code, printed.out, printed.err

    return run


@pytest.fixture
def positions():
    """Return where the bright pixel is in frames 0 to 19, (20, 2) px."""
    return spot_positions(20)


@pytest.fixture
def stamps_ns():
    """Return the stamps of frames 0 to 19."""
    return FIRST_NS + FRAME_NS * np.arange(20)


def write_circle(folder):
    """Write 40 images, 64 x 48, in which a square goes round, and return its labels."""
    folder.mkdir()
    rows = []
    for i in range(40):
        image = np.full((48, 64, 3), 60, np.uint8)
        u, v = 28 + round(18 * np.cos(i / 4)), 20 + round(12 * np.sin(i / 4))
        image[v : v + 9, u : u + 9] = (30, 60, 240)
        stamp_ns = 10**18 + i * 33_333_333
        cv2.imwrite(str(folder / f'{stamp_ns}.png'), image)
        rows.append(f'{stamp_ns},square,{u + 4},{v + 4}\n')
    return rows


@pytest.fixture(scope='session')
def learned(tmp_path_factory):
    """Return a directory with images/, labels.csv and a trained model/."""
    place = tmp_path_factory.mktemp('learned')
    (place / 'labels.csv').write_text(LABELS + ''.join(write_circle(place / 'images')))
    (place / 'quick.yaml').write_text(QUICK + 'learning_rate: 0.01\n')
    words = f'train {place}/images --out {place}/model --config {place}/quick.yaml --steps 60'
    words += f' --size 64 --objective supervised --annotations {place}/labels.csv --keypoints 1'
    with suppress(SystemExit):
        main(words.split())
    return place


@pytest.fixture
def model_of(learned, tmp_path):
    """Return a function that copies the trained model, into a name that a shell would split."""

    def copy(name='my model'):
        return shutil.copytree(learned / 'model', tmp_path / name)

    return copy


@pytest.fixture
def folder(tmp_path):
    """Return a folder of 40 images, 64 x 48, in which a square goes round."""
    write_circle(tmp_path / 'images')
    return tmp_path / 'images'


@pytest.fixture
def train(run_verb, tmp_path):
    """Return a function that trains for one step."""

    def train(*arguments, out='trained', keypoints=2):
        config = tmp_path / 'quick.yaml'
        config.write_text(QUICK)
        common = ('--config', config, '--steps', 1, '--keypoints', keypoints)
        return run_verb('train', *arguments, '--out', tmp_path / out, *common)

    return train


@pytest.fixture
def refused(run_verb):
    """Return a function that runs a verb which must fail, and returns its one sentence."""

    def refused(*arguments):
        return sentence_of(run_verb(*arguments))

    return refused


@pytest.fixture
def accepted(run_verb):
    """Return a function that runs a verb which must work, and returns what it printed."""

    def accepted(*arguments):
        code, out, err = run_verb(*arguments)
        assert (code, 'Traceback' in err) == (0, False), err
        return out + err

    return accepted
