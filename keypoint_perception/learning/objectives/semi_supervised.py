"""
Learn labelled points from few labels and from all frames without: a mean teacher.

Tarvainen and Valpola: Mean teachers are better role models, 2017,
https://arxiv.org/abs/1703.01780. The teacher is the moving average of the network's weights. It
sees frames as they are, and the network the same frames under random warps g and colours. With
p_k the network's maps, and t_k(x) the bump at x of standard deviation ``sigma`` that sums to one,
as in :mod:`.supervised`::

    map, point    = those of `supervised`, for labelled points
    carried       = mean_k KL(t_k(g(c_k)) || p_k)        c_k a label that optical flow brought
    agree         = mean_k s_k m_k KL(t_k(g(q_k)) || p_k)  q_k the point in the maps of the teacher
    m_k           = max(0, (confidence of q_k - gate) / (1 - gate))

over the points with a label, with a carried label and no label, and without either. The ramp
r = exp(-5 (1 - done / ramp)^2) rises to one over the first share ``ramp`` of the budget: first
the labels are learned, then what the teacher makes of the other frames.

A run that starts from a model learned without labels knows more of a point than its heatmap: the
keypoints of that model predict it, by a linear map fitted to the same labels
(:mod:`..data.landmark_priors`). With p' the teacher's map, l_k the prediction, and d_k its
standard deviation in cross-validation, the maps of the teacher are::

    q_k(u)  proportional to  p'_k(u)^r exp(-|u - l_k|^2 / (2 d_k^2)),   s_k = 1
    q_k(u)  proportional to  p'_k(u),                                   s_k = r  without an l_k

so that the teacher starts as the prediction and then refines it, each as sure as it is.

Departures, with their reasons:

- The paper compares classes, by the squared difference of two softmaxes that are both perturbed.
  A map that is wrong by some cells is nearly as far from the right one as any other, so the
  network learns the bump at the teacher's point, as it learns a label.
- What the teacher is unsure of is not learned (``gate``), as in FixMatch (Sohn et al. 2020,
  https://arxiv.org/abs/2001.07685): with ten labels it is wrong in many frames at first.
- The prediction from other keypoints is not in the paper; without it a teacher that has seen ten
  frames takes one end of an animal for the other in whole clips.
- Labels are carried to neighbouring frames by optical flow (:mod:`..data.carried_labels`).
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from keypoint_perception.keypoints import cells_to_network, network_to_cells
from keypoint_perception.learning.loss_terms import masked_mean
from keypoint_perception.learning.objectives.supervised import Supervised, SupervisedConfig
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.heatmaps import softmax_2d, windowed_expectation
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import Keypointer, NetworkConfig
from keypoint_perception.settings import setting
import torch
from torch import Tensor


@dataclass(frozen=True)
class SemiSupervisedConfig(SupervisedConfig):
    """Settings of learning from few labels and many frames."""

    angle: float = 90.0
    scale: float = 0.2
    bend: float = 0.04
    colour: float = 0.2
    gate: float = setting(
        0.5, low=0, high=0.99, help='What the teacher is less confident of is not learned.'
    )
    ramp: float = setting(
        0.4, above=0, high=1, help='Share of the budget over which the teacher gains weight.'
    )


class SemiSupervised(Supervised):
    """Labelled points, and those of a mean teacher in the frames without labels."""

    Config = SemiSupervisedConfig
    weights = {'map': 1.0, 'point': 1.0, 'carried': 0.5, 'agree': 1.0}  # noqa: RUF012
    needs: tuple[str, ...] = ('carried_labels', 'landmark_priors')

    config: SemiSupervisedConfig

    def __init__(
        self,
        config: SemiSupervisedConfig,
        network: NetworkConfig,
        statistics: DatasetStatistics,
    ) -> None:
        super().__init__(config, network, statistics)
        self._ramp = 1.0
        # in a tuple, because a module would be learned and stored as a part of this one
        self._teacher: tuple[Keypointer, ...] = ()

    def advance(self, done: float) -> None:
        """Follow the share of the budget that is used up."""
        short = 1 - min(1.0, done / self.config.ramp)
        self._ramp = math.exp(-5 * short**2)

    def learn_from(self, average: Keypointer) -> None:
        """Take the averaged network for the teacher; until then it is the network itself."""
        self._teacher = (average,)

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,)."""
        extra = batch.extra
        labels = torch.cat([extra['labels0'], extra['labels1']])
        carried = torch.cat([extra['carried0'], extra['carried1']])
        taught, sure = self._teach(batch)
        labelled, near = labels.isfinite().all(dim=-1), carried.isfinite().all(dim=-1)
        near &= ~labelled
        targets = torch.where(labelled[..., None], labels, taught)
        targets = torch.where(near[..., None], carried, targets)
        stacks, targets = self._augment(batch, targets)
        shown = targets.isfinite().all(dim=-1)  # (2B, L)
        xy = network_to_cells(targets, batch.network.stride)
        xy = torch.where(shown[..., None], xy, 0.0)
        found = [self._terms(maps, xy) for maps in stacks]
        errors = {name: torch.stack([f[name] for f in found]).mean(dim=0) for name in found[0]}
        taught_here = sure * (shown & ~labelled & ~near)
        return {
            'map': _pair_mean(errors['map'], shown & labelled),
            'point': _pair_mean(errors['point'], shown & labelled),
            'carried': _pair_mean(errors['map'], shown & near),
            'agree': _halves(errors['map'] * taught_here).mean(dim=1),
        }

    @torch.no_grad()
    def _teach(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Return the teacher's points (2B, L, 2) network px, and how sure it is, (2B, L)."""
        teacher = self._teacher[0] if self._teacher else batch.network
        logits = teacher.logits(batch.images)
        prior, known = _prior(batch, *map_size(logits))
        tempered = torch.where(known[..., None, None], self._ramp * logits + prior, logits)
        xy, mass = windowed_expectation(softmax_2d(tempered), teacher.config.window)
        gate = self.config.gate
        sure = ((mass - gate) / (1 - gate)).clamp(min=0)
        return cells_to_network(xy, teacher.stride), torch.where(known, 1.0, self._ramp) * sure


def _prior(batch: PairBatch, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the priors, (2B, L, h, w), and where there are any, (2B, L)."""
    extra, stride = batch.extra, batch.network.stride
    place = torch.cat([extra['prior0'], extra['prior1']])
    spread = torch.cat([extra['spread0'], extra['spread1']])[..., None, None] / stride
    known = place.isfinite().all(dim=-1)
    cells = network_to_cells(torch.where(known[..., None], place, 0.0), stride)
    x = torch.arange(width, device=cells.device) - cells[..., 0:1]
    y = torch.arange(height, device=cells.device) - cells[..., 1:2]
    square = x.square()[..., None, :] + y.square()[..., :, None]
    return -square / (2 * spread.square()), known


def _halves(values: Tensor) -> Tensor:
    """Return the values of both frames of a pair side by side, (2B, L) -> (B, 2 L)."""
    return torch.cat(values.chunk(2), dim=1)


def _pair_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the masked points of both frames of a pair, (2B, L) -> (B,)."""
    return masked_mean(_halves(values), _halves(mask))
