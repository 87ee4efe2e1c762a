"""``report.html`` in a real browser: it shows what it should, and asks nobody for anything."""

from collections.abc import Callable
import fcntl
import json
import os
from pathlib import Path
import re
import select
import shutil
import subprocess

import cv2
from keypoint_perception.evaluation.training_page import write_training_page
from keypoint_perception.manifest import read_manifest
import numpy as np
import pytest

NAMES = ('chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome', 'chrome')
# The page is a file of ours; as root, as in containers, there is no sandbox to be had.
OPTIONS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-dev-shm-usage',
    '--remote-debugging-pipe',
)
# The browser reads commands from one descriptor and writes answers to the other.
COMMANDS, ANSWERS = 3, 4
# How long to wait for an answer before the test fails; never how long a test takes.
PATIENCE_S = 60.0


def find_browser() -> str | None:
    """Return the path of a Chromium on the PATH."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """
    One tab of a headless browser, as a context manager.

    :ivar events: what the browser told of, in order
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.events: list[dict] = []
        self._program, self._profile = program, profile
        self._number = 0
        self._rest = b''
        self._session: str | None = None

    def __enter__(self) -> 'Browser':
        # numbers above those that the browser wants, so that none is closed by taking its place
        theirs, self._write = _high_pipe()
        self._read, answers = _high_pipe()

        def connect() -> None:
            os.dup2(theirs, COMMANDS)
            os.dup2(answers, ANSWERS)

        self._process = subprocess.Popen(
            [self._program, *OPTIONS, f'--user-data-dir={self._profile}'],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(answers)
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Network', 'Log'):
            self.call(f'{domain}.enable')
        return self

    def __exit__(self, *_error) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def open(self, address: str, *, width: int, height: int = 800) -> None:
        """Load a page on a screen of this size, as a phone does."""
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=True,
        )
        self.call('Page.navigate', url=address)
        self.wait(lambda event: event.get('method') == 'Page.loadEventFired')

    def value(self, script: str):
        """Return what an expression of the page comes to, or what its promise does."""
        answer = self.call(
            'Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True
        )
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')

    def call(self, method: str, **parameters) -> dict:
        """Return the answer to a command."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        answer = self.wait(lambda event: event.get('id') == self._number)
        assert 'error' not in answer, answer['error']
        return answer['result']

    def wait(self, wanted: Callable[[dict], bool]) -> dict:
        """Return the next message that is wanted; all of them are kept."""
        while True:
            while b'\0' not in self._rest:
                ready, _, _ = select.select([self._read], [], [], PATIENCE_S)
                assert ready, 'the browser is silent'
                data = os.read(self._read, 1 << 16)
                assert data, 'the browser has gone'
                self._rest += data
            line, self._rest = self._rest.split(b'\0', 1)
            event = json.loads(line)
            self.events.append(event)
            if wanted(event):
                return event


def _high_pipe() -> tuple[int, int]:
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high


@pytest.fixture
def browser(tmp_path):
    program = find_browser()
    if program is None:
        pytest.skip(f'no browser on the PATH (looked for {", ".join(NAMES)})')
    with Browser(program, tmp_path / 'profile') as opened:
        yield opened


@pytest.fixture
def report(run_verb, model, bag, tmp_path, positions, stamps_ns):
    """Return the page of an evaluation with labels, of a model that a run has left."""
    labels = tmp_path / 'labels.csv'
    rows = [f'{s},hand,{u + 2},{v}' for s, (u, v) in zip(stamps_ns, positions, strict=True)]
    labels.write_text('\n'.join(['stamp_ns,keypoint,u,v', *rows]) + '\n')
    leave_run(model)
    code, _, err = run_verb(
        'evaluate', model, bag, '--annotations', labels, '--out', tmp_path / 'report.json'
    )
    assert code == 0, err
    return tmp_path / 'report.html'


def leave_run(model):
    """Leave behind what a training run leaves."""
    state = {
        'objective': 'temporal_transport',
        'config': {'keypoints': 2, 'objective_settings': {'sigma': 0.1}},
        'sources': [{'name': 'a <bag>', 'topics': ['/camera'], 'frames': 20}],
        'metrics': {'steps': 30, 'minutes': 0.5, 'complaint': None},
    }
    (model / 'checkpoint').mkdir()
    (model / 'checkpoint' / 'training.json').write_text(json.dumps(state))
    curve = [f'{step},{1 / step}' for step in range(1, 30)]
    (model / 'history.csv').write_text('\n'.join(['step,loss', *curve]) + '\n')
    shades = np.random.default_rng(0).integers(0, 255, (30, 80, 3), np.uint8)
    cv2.imwrite(str(model / 'reconstruction.png'), shades)
    (model / 'overlays').mkdir()
    cv2.imwrite(str(model / 'overlays' / 'step_0000030.png'), shades)


# What a reader sees: pictures that are there, a film that runs, nothing wider than the screen.
LOOK = """
(async () => {
  const images = [...document.images];
  await Promise.all(images.map(image => image.decode()));
  const video = document.querySelector('video');
  if (video) {
    await video.play();
    while (video.currentTime === 0) await new Promise(done => setTimeout(done, 20));
  }
  return {
    images: images.length,
    empty: images.filter(image => image.naturalWidth === 0).length,
    film: video && [video.videoWidth, video.videoHeight, video.duration],
    headings: [...document.querySelectorAll('h2')].map(heading => heading.textContent),
    tracks: document.querySelectorAll('svg .track').length,
    widest: document.documentElement.scrollWidth,
    text: document.body.innerText,
  };
})()
"""
# Press the first keypoint's name: its own two tracks stay, the others fade.
PRESS = """
document.querySelector('.chips button').click();
[...document.querySelectorAll('svg .track')].filter(t => !t.classList.contains('off')).length
"""


def complaints(events) -> list[str]:
    """Return what the console says of errors."""
    said = []
    for event in events:
        method, values = event.get('method'), event.get('params', {})
        bad = method == 'Runtime.exceptionThrown'
        bad |= method == 'Log.entryAdded' and values['entry']['level'] == 'error'
        bad |= method == 'Runtime.consoleAPICalled' and values['type'] in ('error', 'assert')
        if bad:
            said.append(json.dumps(values))
    return said


def asked_for(events) -> set[str]:
    """Return the addresses that were asked for, but for those that hold their own content."""
    requests = [e['params']['request'] for e in events if 'requestWillBeSent' in str(e['method'])]
    return {r['url'] for r in requests if not r['url'].startswith(('data:', 'blob:'))}


def test_page_of_an_evaluation_on_a_phone(browser, report):
    browser.open(report.as_uri(), width=360)
    seen = browser.value(LOOK)
    assert seen['headings'] == [
        'Overlay',
        'What each keypoint follows',
        'Trajectories',
        'Confidence over time',
        'Labelled points',
        'Tracking: precision / recall',
        'Other measures with labels',
        'Confidence reliability',
        'Keypoints predicted from labels',
        'Measures without labels',
        'Reconstruction',
        'Learning curve',
        'Training recordings',
        'Training run',
        'Evaluation details',
    ]
    # the crops of two keypoints, the confidence, the reconstruction
    assert (seen['images'], seen['empty']) == (4, 0)
    width, height, seconds = seen['film']
    assert (width, height) == (11 * 32, 11 * 24)  # the whole multiple nearest to 360 px
    assert seconds == pytest.approx(1.0, abs=0.1)  # 20 frames at 20 Hz
    assert seen['tracks'] == 4
    assert seen['widest'] <= 360
    assert 'a <bag>' in seen['text']
    assert browser.value(PRESS) == 2
    events = [event for event in browser.events if 'method' in event]
    assert complaints(events) == []
    assert asked_for(events) == {report.as_uri()}


def test_page_of_a_run_on_a_phone(browser, model):
    leave_run(model)
    page = write_training_page(model)
    browser.open(page.as_uri(), width=360)
    seen = browser.value(LOOK)
    assert seen['headings'][:3] == [
        'Overlay on training frames',
        'Reconstruction',
        'Learning curve',
    ]
    assert (seen['images'], seen['empty'], seen['film']) == (2, 0, None)
    assert seen['widest'] <= 360
    events = [event for event in browser.events if 'method' in event]
    assert complaints(events) == []
    assert asked_for(events) == {page.as_uri()}


def test_keypoints_of_a_run_are_those_that_were_kept(model):
    leave_run(model)
    assert '<b>2</b>' in write_training_page(model).read_text()
    path = model / 'checkpoint' / 'training.json'
    state = json.loads(path.read_text())
    state['metrics']['health'] = {'keypoints': 1}
    path.write_text(json.dumps(state))
    assert '<b>1</b>' in write_training_page(model).read_text()


def test_the_page_of_a_run_says_how_the_camera_moved(model):
    leave_run(model)
    path = model / 'checkpoint' / 'training.json'
    state = json.loads(path.read_text())
    state['metrics']['camera'] = ['The camera moves: by up to 30 px & more.']
    path.write_text(json.dumps(state))
    assert (
        '>The camera moves: by up to 30 px &amp; more.</p>'
        in write_training_page(model).read_text()
    )


def test_the_browser_tells_of_errors(browser, tmp_path):
    page = tmp_path / 'bad.html'
    page.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("no")</script>')
    browser.open(page.as_uri(), width=360)
    events = [event for event in browser.events if 'method' in event]
    assert any('"no"' in complaint for complaint in complaints(events))
    assert 'http://127.0.0.1:9/x.png' in asked_for(events)


def test_page_needs_nothing_from_outside(report):
    text = report.read_text()
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert 'http' not in re.sub(r'base64,[A-Za-z0-9+/=]+', '', text)


def test_model_holds_the_page_and_can_be_loaded(report, model):
    assert (model / 'report.html').read_bytes() == report.read_bytes()
    assert 'report.html' in read_manifest(model).files
