"""
Random images, requests and models for a live node, which has to stay alive and as small as it was.

    python -m torture.node_campaign [--images 20000] [--calls 2000] [--exchanges 200] [--seed 0]

The exit status is 1 if the node ended or did not answer, or has more threads, files or memory.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from random import Random
import re
import sys
import tempfile
import time
from typing import Any

from torture.hostile_messages import HostileImages, RandomRequests
from torture.hostile_models import write_models
from torture.live_node import LiveNode, NODE, NodeError

MOST_GROWTH_MB = 20.0
BURST = 20
# No shutdown, which ends the node as it should.
TRANSITIONS = (1, 2, 3, 4, 1, 3, 3, 10, 11, 99, 255, 0)
DIRECTORIES = ('/proc/x', '/dev/null', 'x' * 5000, '')


class NodeCampaign:
    """
    What a node is given.

    :param folder: for models, bags and the log
    :param transport: of the images: raw or compressed
    """

    def __init__(self, folder: Path, seed: int, transport: str) -> None:
        self._chance = Random(f'{seed}/node')
        self._folder = folder
        (folder / 'models').mkdir()
        self._good, self._bad = write_models(folder / 'models')
        self.live = LiveNode(folder, self._good[0], transport)
        self._images = HostileImages(self._chance, transport)

    def check(self) -> dict[str, float]:
        """Return the node's measures, after it has answered a good image."""
        self.live.activate()
        self.live.answer_an_image(self._chance.randrange(10**9))
        return self.live.measure()

    def send_images(self, count: int) -> str:
        """Publish serialised images, all of which the node must have counted at the end."""

        def received() -> int:
            return int(live.values.get('images received', 0))

        live = self.live
        live.until(live.images.get_subscription_count, 'subscription')
        live.until(lambda: live.values, 'diagnosis')
        before, sent = received(), 0
        while sent < count:
            for _ in range(min(BURST, count - sent)):
                content = self._images.draw()
                live.images.publish(content)
                sent += 1
            live.depths.publish(content)
            live.infos.publish(content)
            live.answer_an_image(sent)  # the node has then taken the others from its queue
        live.until(lambda: received() - before >= sent, f'{sent} images counted')
        return f'{sent} images, all counted'

    def call_services(self, count: int) -> str:
        """Call all services with random requests, most often those that change something."""
        from keypoint_perception.ros.perception.node_parameters import PARAMETERS

        # other cameras would publish on other topics than those that are checked
        names = [name for name in PARAMETERS if name != 'cameras']
        texts = [*names, *names, 'use_sim_time', 'onnxruntime', 'auto', 'torch']
        texts += [str(model) for model in self._good + self._bad]
        requests = RandomRequests(self._chance, texts)
        kinds = self._service_kinds()
        changing = [n for n in kinds if 'set_parameters' in n or 'change_state' in n]
        answers: Counter[str] = Counter()
        for number in range(count):
            name = self._chance.choice([*kinds, *4 * changing])
            request = requests.fill(kinds[name].Request())
            self._make_plausible(request, names)
            self.live.call(kinds[name], name, request)
            answers[name.rpartition('/')[2]] += 1
            if number % 100 == 99:
                self.live.activate()
        return f'{answers.total()} calls of {len(answers)} services, all answered'

    def _service_kinds(self) -> dict[str, Any]:
        kinds = {}
        for name, (kind,) in self.live.node.get_service_names_and_types_by_node(NODE[1:], '/'):
            package, _, leaf = kind.split('/')
            kinds[name] = getattr(__import__(f'{package}.srv', fromlist=[leaf]), leaf)
        return kinds

    def _make_plausible(self, request: Any, names: list[str]) -> None:
        """Name parameters and transitions that there are, so that requests get further."""
        chance = self._chance
        if hasattr(request, 'transition'):
            request.transition.id = chance.choice(TRANSITIONS)
            request.transition.label = chance.choice(['', '', '', 'configure', 'nothing'])
        for parameter in getattr(request, 'parameters', []):
            if chance.random() < 0.7:
                parameter.name = chance.choice(names)
                parameter.value.type = chance.randrange(10)
            if parameter.name == 'record_directory' and parameter.value.type == 4:
                directories = (str(self._folder / 'bags'), *DIRECTORIES)
                parameter.value.string_value = chance.choice(directories)

    def exchange_models(self, count: int) -> str:
        """Set good and bad models in turn; each is refused, set back, or in use."""
        live, outcomes, used = self.live, Counter[str](), self._good[0]
        live.set(model=str(used))
        live.until(lambda: live.values.get('model', '').startswith(f'{used} '), 'first model')
        for number in range(count):
            good = number % 2 == 0
            others = [model for model in self._good if model != used] if good else self._bad
            model = self._chance.choice(others)
            at = live.log_path.stat().st_size
            if not live.set(model=str(model)).successful:
                outcomes['refused'] += 1
                if good:
                    raise NodeError(f'the good model {model} was refused')
                continue
            end = re.compile(rf'{re.escape(str(model))}\b.* (is now in use|is not used)')
            live.until(lambda end=end, at=at: end.search(self._said_since(at)), f'end of {model}')
            taken = 'is now in use' in end.search(self._said_since(at))[0]
            used = model if taken else used
            outcomes['in use' if taken else 'set back'] += 1
        return f'{count} exchanges: ' + ', '.join(f'{n} {kind}' for kind, n in outcomes.items())

    def _said_since(self, at: int) -> str:
        with self.live.log_path.open('rb') as file:
            file.seek(at)
            return file.read().decode(errors='replace')


def run_campaign(folder: Path, options: argparse.Namespace) -> bool:
    """Return whether the node lived through everything unchanged."""
    campaign = NodeCampaign(folder, options.seed, options.transport)
    try:
        campaign.exchange_models(6)  # libraries that are imported when they are needed first
        campaign.send_images(300)
        campaign.call_services(100)
        rows = [('start', campaign.check())]
        for run, count in (
            (campaign.send_images, options.images),
            (campaign.call_services, options.calls),
            (campaign.exchange_models, options.exchanges),
        ):
            began = time.monotonic()
            what = run(count)
            rows.append((f'{what} ({time.monotonic() - began:.0f} s)', campaign.check()))
            print(f'{rows[-1][0]}: {rows[-1][1]}', flush=True)
        code = campaign.live.stop()
    except NodeError as error:
        print(f'error: {error}')
        return False
    finally:
        campaign.live.kill()
    said = campaign.live.log_path.read_text(errors='replace')
    first, last = rows[0][1], rows[-1][1]
    print(f'start: {first}; end: {last}; exit {code}, tracebacks {said.count("Traceback")}, '
          f'bugs {said.count("is a bug")}')  # fmt: skip
    same = all(first[name] == last[name] for name in ('threads', 'files'))
    clean = not code and 'Traceback' not in said and 'is a bug' not in said
    return same and clean and last['MB'] - first['MB'] <= MOST_GROWTH_MB


def main() -> int:
    """Run the campaign and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--images', type=int, default=20_000)
    parser.add_argument('--calls', type=int, default=2_000)
    parser.add_argument('--exchanges', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--transport', default='raw', choices=['raw', 'compressed'])
    options = parser.parse_args()
    from keypoint_perception.ros.installation import find_ros

    find_ros()
    with tempfile.TemporaryDirectory(prefix='torture_node_') as directory:
        return 0 if run_campaign(Path(directory), options) else 1


if __name__ == '__main__':
    sys.exit(main())
