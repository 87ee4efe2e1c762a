"""Advice on settings, weights and labels: who does what the sentence says has no error left."""

import re
import subprocess
import sys

from advice import LABELS, QUICK, sentence_of, words_of
import pytest


@pytest.mark.parametrize(
    ('settings', 'remedy', 'better'),
    [
        ('size: 100', r'for example (\d+) or', 'size: {}'),
        ('keypoints: 60', 'choose fewer --keypoints or a larger --size', 'size: 72'),
        ('min_gap_s: 30\nmax_gap_s: 40', 'a smaller min_gap_s', 'min_gap_s: 0.1'),
        ('objective: best', r'must be one of (\w+)', 'objective: {}'),
        (
            'objective: supervised',
            r'--annotations FILE\.csv',
            'annotations: {labels}\nkeypoints: 1',
        ),
        (
            'annotations: {labels}\nkeypoints: 1',
            'choose the objective supervised or semi_supervised',
            'objective: supervised',
        ),
        ('keypoint: 2', r'known: .*(keypoints)', '{}: 2'),
        (
            'objective: edge_linking\nextra_keypoints: 2',
            '(set keypoints) inst',
            'extra_keypoints: 0',
        ),
        ('objective: equivariance\nnetwork: paper', r'such as (\w+)', 'network: {}'),
    ],
)
def test_a_setting(learned, tmp_path, run_verb, settings, remedy, better):
    labels = learned / 'labels.csv'
    config = tmp_path / 'settings.yaml'
    train = ('train', learned / 'images', '--out', tmp_path / 'out', '--config', config)

    def run(text):
        values = dict(line.split(': ', 1) for line in text.splitlines() if line)
        config.write_text(''.join(f'{name}: {value}\n' for name, value in values.items()))
        return run_verb(*train)

    base = f'{QUICK}steps: 1\nsize: 64\nkeypoints: 2\n'
    text = (base + settings).format(labels=labels)
    found = re.search(remedy, sentence := sentence_of(run(text)))
    assert found, sentence
    change = better.format(*found.groups(), labels=labels)
    text = base if 'has no' in sentence else text  # an unknown name makes room for a known one
    code, _, err = run(f'{text}\n{change}')
    assert code == 0, err


def test_initial_weights(learned, model_of, train, tmp_path, run_verb):
    config = tmp_path / 'wide.yaml'
    run = ('train', learned / 'images', '--out', tmp_path / 'out', '--init', model_of())
    quick = QUICK.replace('width: 8\n', '') + 'steps: 1\nsize: 64\nkeypoints: 1\n'
    config.write_text(quick + 'width: 24\nnetwork: hourglass\n')
    sentence = sentence_of(run_verb(*run, '--config', config))
    assert 'omit network and width' in sentence
    config.write_text(quick)
    assert run_verb(*run, '--config', config)[0] == 0


def test_labels(learned, model_of, refused, accepted, tmp_path):
    path, model = tmp_path / 'labels.csv', model_of()
    fit = ('landmarks', model, learned / 'images', '--annotations', path)
    good = (learned / 'labels.csv').read_text()
    for text, remedy in (
        (good.replace(LABELS, 'stamp,keypoint,u,v\n'), f'expected the header {LABELS.strip()}'),
        ('\n'.join(good.splitlines()[:2]), 'label more frames'),
        ('\n'.join(good.splitlines()[:4]), 'label more frames'),
        (good + good.splitlines()[1], 'keep one row'),
        (good.replace('square', '', 1), 'expected one such as kp0'),
        (good.replace('000000', '111111'), "use the stamps of the images' headers"),
    ):
        path.write_text(text)
        assert remedy in refused(*fit)
    path.write_text(good)
    accepted(*fit)


def test_weights_in_a_pickle(tmp_path, learned, run_verb):
    import torch

    shapes = {'features.0.weight': (64, 3, 3, 3)}
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / 'it 7.pth')
    config = tmp_path / 'vgg.yaml'
    config.write_text(
        f'{QUICK}objective: conditional_generation\nobjective_settings:\n  compare: vgg16\n'
        f'  vgg16: {tmp_path}/it 7.pth\n'
    )
    run = ('train', learned / 'images', '--out', tmp_path / 'out', '--config', config)
    _, _, program = words_of('convert it to safetensors: (.+)[.]$', sentence_of(run_verb(*run)))
    subprocess.run((sys.executable, '-c', program), cwd=tmp_path, check=True)
    config.write_text(config.read_text().replace('.pth', '.safetensors'))
    assert 'does not hold VGG-16: features.0.bias' in sentence_of(run_verb(*run))
