"""
Fuzzing, guided by coverage, of the readers that are our own.

    pip install atheris
    python -m torture.fuzz cdr|mcap|ros1|image|manifest|csv|yaml [-max_total_time=60] [CORPUS]

The options are those of libFuzzer. An input that ends in anything but the package's own errors is
kept in a file ``crash-...``, whose path it prints.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
import sys
import tempfile


def readers() -> dict[str, tuple[Callable[[bytes], object], list[bytes]]]:
    """Return, by name, functions that read bytes, and inputs to begin with."""
    from keypoint_perception.cdr import read_camera_info, read_compressed_image, read_image
    from keypoint_perception.compressed import open_compressed
    from keypoint_perception.frames.annotations import read_annotations
    from keypoint_perception.frames.source import read_frames
    from keypoint_perception.image_headers import read_image_header
    from keypoint_perception.manifest import parse_manifest
    from keypoint_perception.yaml_files import read_yaml_file
    from torture.bags import bag_subjects
    from torture.models import model_subjects

    seeds = Path(tempfile.mkdtemp(prefix='fuzz_'))
    bags = {s.name: s.original / s.damaged[0] for s in bag_subjects(seeds)}
    files = {
        s.name: s.original / s.damaged[0]
        for name in ('manifest', 'annotations', 'folder')
        for s in model_subjects(seeds / name, only=name)
    }

    def cdr(content: bytes) -> None:
        for read in (read_image, read_compressed_image, read_camera_info):
            _expecting_errors(lambda read=read: read(content))

    def image(content: bytes) -> None:
        read_image_header(content)
        open_compressed(content, 'jpeg').to_rgb()

    def frames(suffix: str) -> Callable[[bytes], object]:
        path = seeds / f'input{suffix}'
        return _through_file(path, lambda: list(read_frames([path], ['/camera/image_raw'])))

    manifest, table, yaml = seeds / 'manifest.json', seeds / 'labels.csv', seeds / 'values.yaml'
    images = [files[name].read_bytes() for name in ('image folder', 'JPEG folder')]
    return {
        'cdr': (cdr, []),
        'mcap': (frames('.mcap'), [bags[n].read_bytes() for n in ('bag mcap', 'bag mcap zstd')]),
        'ros1': (frames('.bag'), [bags[n].read_bytes() for n in ('bag ros1', 'bag ros1 bz2')]),
        'image': (image, images),
        'manifest': (
            _through_file(manifest, lambda: parse_manifest(seeds)),
            [files['model: manifest'].read_bytes()],
        ),
        'csv': (
            _through_file(table, lambda: read_annotations(table)),
            [files['annotations'].read_bytes()],
        ),
        'yaml': (_through_file(yaml, lambda: read_yaml_file(yaml)), [b'a: [1, {b: c}]\n']),
    }


def _through_file(path: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    def run(content: bytes) -> object:
        path.write_bytes(content)
        return read()

    return run


def _expecting_errors(read: Callable[[], object]) -> None:
    """Call a reader, which may raise the package's own errors, and ValueError with a reason."""
    from keypoint_perception.errors import PerceptionError

    with suppress(PerceptionError, ValueError):
        read()


def main() -> int:
    """Fuzz the reader that the command line names."""
    try:
        import atheris
    except ImportError:
        print('error: atheris is not installed; install it with `pip install atheris`')
        return 2
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    with atheris.instrument_imports(include=['keypoint_perception']):
        import keypoint_perception.cdr
        import keypoint_perception.frames.source
        import keypoint_perception.manifest  # noqa: F401
    known = readers()
    if name not in known:
        print(f'error: {name!r} is no reader; choose one of {", ".join(known)}')
        return 2
    read, seeds = known[name]
    corpus = Path(tempfile.mkdtemp(prefix=f'corpus_{name}_'))
    for number, content in enumerate(seeds):
        (corpus / f'seed{number}').write_bytes(content)
    options = [sys.argv[0], *sys.argv[2:], str(corpus)]
    atheris.Setup(options, lambda content: _expecting_errors(lambda: read(content)))
    atheris.Fuzz()
    return 0


if __name__ == '__main__':
    sys.exit(main())
