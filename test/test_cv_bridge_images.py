"""cv_bridge converts what this package cannot, where there is one that works."""

import sys

from image_messages import open_image
from keypoint_perception.cv_bridge_images import find_cv_bridge
from keypoint_perception.errors import EncodingError
import numpy as np
import pytest

PICTURE = (np.arange(18, dtype=np.uint16) * 3000).reshape(2, 3, 3)
# As much of one as is needed, with the mistake that one on PyPI makes.
FAKE = """
import numpy as np
class CvBridge:
    def encoding_to_dtype_with_channels(self, encoding):
        return {'rgb16': ('uint16', 3), '8UC4': ('uint8', 4), '16UC3': ('uint8', 3),
                'mono10': ('uint16', 1)}[encoding]
    def imgmsg_to_cv2(self, message, encoding):
        kind = np.uint16 if message.encoding == 'mono10' else np.uint8
        grey = np.frombuffer(message.data, kind).reshape(message.height, message.width, 1)
        return np.repeat(grey >> 2 if kind is np.uint16 else grey, 3, axis=2).astype(np.uint8)
"""


def open_picture(encoding, pixels, *, padding=0, order='<'):
    rows = pixels.astype(pixels.dtype.newbyteorder(order)).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    fields = {'height': len(pixels), 'width': pixels.shape[1], 'step': rows.shape[1]}
    return open_image(encoding, rows.tobytes(), is_bigendian=order == '>', **fields)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a cv_bridge of some content."""

    def create(content):
        (tmp_path / 'cv_bridge.py').write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, 'cv_bridge', raising=False)
        find_cv_bridge.cache_clear()

    yield create
    sys.modules.pop('cv_bridge', None)
    find_cv_bridge.cache_clear()


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('padding', [0, 5])
def test_encodings_that_our_table_lacks_go_through_cv_bridge(install, caplog, order, padding):
    install(FAKE)
    for _ in range(2):
        image = open_picture('rgb16', PICTURE, padding=padding, order=order)
        np.testing.assert_array_equal(image.to_rgb(), PICTURE >> 8)
    np.testing.assert_array_equal(image.in_range((0, 51_000)).to_rgb()[1, 2], [225, 240, 255])
    bgra = np.dstack([PICTURE >> 8] * 2)[..., :4].astype(np.uint8)
    np.testing.assert_array_equal(
        open_picture('8UC4', bgra, padding=padding).to_rgb(), bgra[..., 2::-1]
    )
    grey = open_picture('mono10', PICTURE[..., 0] // 64, padding=padding, order=order)
    np.testing.assert_array_equal(grey.to_rgb()[..., 1], PICTURE[..., 0] // 256)
    assert caplog.text.count('Images in rgb16 are converted by cv_bridge') <= 1


def test_what_cv_bridge_cannot_convert_either_is_refused(install):
    install(FAKE)
    for encoding, reason in (
        ('nonsense', "KeyError: 'nonsense'"),
        ('16UC3', r'ValueError: uint8 with'),
        ('x' * 999, 'KeyError'),
    ):
        with pytest.raises(EncodingError, match=rf'and cv_bridge cannot .* \({reason}.*; set the'):
            open_picture(encoding, PICTURE)
    with pytest.raises(EncodingError, match='uint16 with a step of 4 bytes'):
        open_image('rgb16', bytes(99), height=2, width=3, step=4)
    with pytest.raises(EncodingError, match='size of buffer'):
        open_image('rgb16', bytes(9), height=2, width=3, step=18)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ('import os; os.abort()', '-6'),
        ('import numpy_of_another_age', 'ModuleNotFoundError: No module named'),
        (FAKE.replace("'rgb16': ('uint16', 3)", "'rgb16': ('uint16', 9)"), 'another OpenCV'),
    ],
)
def test_a_broken_cv_bridge_is_not_imported_here(install, content, reason):
    install(content)
    with pytest.raises(EncodingError, match=rf'is not supported, and the cv_bridge .*{reason}'):
        open_picture('rgb16', PICTURE)
    assert 'cv_bridge' not in sys.modules


@pytest.mark.parametrize(('encoding', 'order'), [('rgb16', [0, 1, 2]), ('bgr16', [2, 1, 0])])
def test_the_real_cv_bridge(encoding, order):
    works, problem = find_cv_bridge()
    if not works:
        pytest.skip(problem or 'cv_bridge is not installed')
    image = open_picture(encoding, PICTURE[..., order], padding=4)
    np.testing.assert_array_equal(image.to_rgb(), PICTURE >> 8)
    with pytest.raises(EncodingError, match='cv_bridge cannot convert'):
        open_picture('32SC1', np.ones((2, 3), np.int32))
