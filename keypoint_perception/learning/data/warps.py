"""
Random warps of images, with exact maps of points in both directions.

A warp maps each position v of the warped image to the position g(v) of the image that it shows: a
thin-plate spline, then a similarity. With D the spline through the displacements of 5 x 5 control
points, R a rotation, s a scale and t a shift::

    g(v) = R (v + D(v)) / s + t

so that sampling the image needs no inverse. Internally, positions are in half image sides (the
longer one) from the image centre, hence a warp fits images and maps of any resolution with the
same aspect ratio. Public functions take cells of a map or pixels of an image, where integers are
centres, as in :mod:`keypoint_perception.keypoints`. The spline is linear in the random values, so
that a whole batch is one product with a cached table.

Why not Kornia: on one core its spline (0.9.0) takes 0.9 s for 32 images of 128 x 128 and this
0.02 s, of a training step of 0.2 s; and its splines map points in one direction only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import math

from keypoint_perception.errors import ConfigError
from keypoint_perception.model.layers import map_size
from keypoint_perception.settings import setting, Settings
import torch
from torch import Tensor
from torch.nn import functional

# Control points along a side of the square that the longer image side spans.
CONTROLS = 5
# The spline cannot fold the image up to 0.095: at every place and in every direction e, the
# displacements that are worst for it change e . D by less than 10.5 times their size.
MAX_BEND = 0.09
# Newton steps of the inverse; they bring the strongest warp to float32's own precision.
NEWTON_STEPS = 5


@dataclass(frozen=True)
class WarpConfig(Settings):
    """The largest warps of images; every value is drawn uniformly up to its limit."""

    angle: float = setting(20.0, low=0, high=180, help='Rotation in either direction, degrees.')
    scale: float = setting(
        0.2, low=0, high=2, help='Scaling; 0.2 draws from 1 / 1.2 to 1.2 times the size.'
    )
    shift: float = setting(
        0.1,
        low=0,
        high=1,
        help='Shift in either direction along each axis, in half image sides of that axis.',
    )
    # beyond MAX_BEND the image may fold
    bend: float = setting(
        0.08,
        low=0,
        high=MAX_BEND,
        help="Displacement of the spline's control points along each axis, in half of the longer "
        'image side; stronger ones may fold the image.',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.shift + self.bend) * (1 + self.scale) < 1:
            msg = (
                f'shift: (shift + bend) * (1 + scale) must be below 1, or the centre of the image '
                f'may leave it; got shift {self.shift}, bend {self.bend} and scale {self.scale}.'
            )
            raise ConfigError(msg)


class Warp:
    """
    A batch of warps, one per image.

    :param coefficients: of the radial terms, if there are any, then of 1, x and y, (B, C, 2)
        float32
    """

    def __init__(self, coefficients: Tensor) -> None:
        self.coefficients = coefficients

    def images(self, images: Tensor) -> Tensor:
        """Return the warped images or maps, (B, C, H, W), with the border repeated outside."""
        hw = map_size(images)
        halves = torch.tensor([hw[1], hw[0]], device=images.device) / max(hw)
        grid = self._sources(hw) / halves  # in half sides of each axis, as for grid_sample
        warped = functional.grid_sample(
            images.float(), grid, mode='bilinear', padding_mode='border', align_corners=False
        )
        return warped.to(images.dtype)

    def seen(self, hw: tuple[int, int]) -> Tensor:
        """Return which cells of the warped image show the image, (B, 1, h, w) bool."""
        return _inside(self.sources(hw), hw)[:, None]

    def sources(self, hw: tuple[int, int]) -> Tensor:
        """Return the position that each cell of a warped map shows, (B, h, w, 2) cells."""
        return _from_half_sides(self._sources(hw), hw)

    def back(self, xy: Tensor, hw: tuple[int, int]) -> Tensor:
        """
        Return the positions in the image of points of the warped image.

        :param xy: (B, N, 2) cells of a map, or pixels of an image, of ``hw``
        """
        with torch.autocast(xy.device.type, enabled=False):
            terms = _terms(to_half_sides(xy, hw), self._is_bent)
            return _from_half_sides(terms @ self.coefficients, hw)

    def points(self, xy: Tensor, hw: tuple[int, int]) -> Tensor:
        """
        Return the positions in the warped image of points of the image, the inverse of ``back``.

        It is found by Newton's method; its gradient is the exact one.
        """
        with torch.autocast(xy.device.type, enabled=False):
            wanted = to_half_sides(xy, hw)
            with torch.no_grad():
                # the inverse of the part without a bend
                constant, linear = self.coefficients[:, -3:-2], self.coefficients[:, -2:]
                found = (wanted - constant) @ torch.linalg.inv(linear)
                for _ in range(NEWTON_STEPS):
                    found = found - self._step(found, wanted)
            return _from_half_sides(found - self._step(found, wanted), hw)

    def inside(self, xy: Tensor, hw: tuple[int, int]) -> Tensor:
        """Return which points of the image are visible in the warped image, (B, N) bool."""
        return _inside(self.points(xy, hw), hw)

    @property
    def _is_bent(self) -> bool:
        return self.coefficients.shape[1] > 3

    def _sources(self, hw: tuple[int, int]) -> Tensor:
        """Return g of every cell's centre, (B, h, w, 2) in half image sides."""
        table = _table(tuple(hw), self._is_bent, self.coefficients.device)
        # one product for the whole batch: a batch of products takes twenty times as long
        rows = self.coefficients.transpose(1, 2).flatten(0, 1)  # (2B, C)
        with torch.autocast(rows.device.type, enabled=False):
            return (rows @ table).view(-1, 2, *hw).permute(0, 2, 3, 1)

    @torch.no_grad()
    def _slopes(self, v: Tensor) -> Tensor:
        """Return dg/dv, (B, N, 2 of g, 2 of v)."""
        slopes = self.coefficients[:, None, -2:].expand(-1, v.shape[1], -1, -1)
        if self._is_bent:
            away = v[:, :, None] - _controls(v.device)  # (B, N, C, 2)
            square = away.square().sum(dim=-1, keepdim=True).clamp(min=1e-12)
            radial = 2 * away * (square.log() + 1)
            slopes = slopes + torch.einsum('bncj,bci->bnji', radial, self.coefficients[:, :-3])
        return slopes.transpose(-1, -2)

    def _step(self, v: Tensor, wanted: Tensor) -> Tensor:
        """Return Newton's step from v; the slopes are constants for the gradient."""
        error = _terms(v, self._is_bent) @ self.coefficients - wanted
        (x_x, x_y), (y_x, y_y) = (row.unbind(-1) for row in self._slopes(v).unbind(-2))
        x, y = error.unbind(-1)
        determinant = x_x * y_y - x_y * y_x
        step = torch.stack([y_y * x - x_y * y, x_x * y - y_x * x], dim=-1)
        return step / determinant[..., None]


def random_warp(
    batch: int,
    hw: tuple[int, int],
    config: WarpConfig,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = 'cpu',
) -> Warp:
    """
    Draw a batch of warps for images of a shape; on the CPU, hence the same for every device.

    :param generator: torch's default generator if None
    """
    drawn = 2 * torch.rand(batch, 4 + 2 * CONTROLS**2, generator=generator) - 1
    angle = math.radians(config.angle) * drawn[:, 0]
    scale = torch.exp(math.log1p(config.scale) * drawn[:, 1])
    halves = torch.tensor([hw[1], hw[0]]) / max(hw)
    shift = config.shift * drawn[:, 2:4] * halves
    bend = config.bend * drawn[:, 4:].view(batch, CONTROLS**2, 2)
    return make_warp(angle, scale, shift, bend if config.bend else None, device=device)


def make_warp(
    angle: Tensor,
    scale: Tensor,
    shift: Tensor,
    bend: Tensor | None = None,
    *,
    device: torch.device | str = 'cpu',
) -> Warp:
    """
    Return warps with given parameters.

    :param angle: rotation of what is shown, clockwise on the screen, (B,) rad
    :param scale: size of what is shown to its size before, (B,)
    :param shift: position that is shown in the middle, (B, 2) half image sides (x, y)
    :param bend: displacements of the control points, row by row, (B, 25, 2) half image sides
    """
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # points are rows: g = (v + D) @ linear + shift, with the inverse rotation transposed
    linear = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], dim=-2)
    coefficients = torch.cat([shift[:, None], linear], dim=1)
    if bend is not None:
        with torch.autocast('cpu', enabled=False):
            spline = (_solution() @ bend) @ linear
        coefficients = torch.cat([spline[:, :-3], spline[:, -3:] + coefficients], dim=1)
    return Warp(coefficients.to(device))


def to_half_sides(xy: Tensor, hw: tuple[int, int]) -> Tensor:
    """Return positions in cells as half image sides from the image centre, (..., 2)."""
    middle = torch.tensor([hw[1] - 1, hw[0] - 1], device=xy.device) / 2
    return (xy - middle) / (max(hw) / 2)


def _from_half_sides(xy: Tensor, hw: tuple[int, int]) -> Tensor:
    middle = torch.tensor([hw[1] - 1, hw[0] - 1], device=xy.device) / 2
    return xy * (max(hw) / 2) + middle


def _inside(xy: Tensor, hw: tuple[int, int]) -> Tensor:
    x, y = xy.unbind(-1)
    return (x >= -0.5) & (x <= hw[1] - 0.5) & (y >= -0.5) & (y <= hw[0] - 0.5)


def _terms(v: Tensor, bent: bool) -> Tensor:
    """Return the terms that the coefficients multiply, (..., N, 2) -> (..., N, C)."""
    affine = torch.cat([torch.ones_like(v[..., :1]), v], dim=-1)
    if not bent:
        return affine
    square = (v[..., None, :] - _controls(v.device)).square().sum(dim=-1).clamp(min=1e-12)
    return torch.cat([square * square.log(), affine], dim=-1)


@lru_cache(maxsize=8)
def _table(hw: tuple[int, int], bent: bool, device: torch.device) -> Tensor:
    """Return the terms of every cell's centre, (C, h w)."""
    return _terms(to_half_sides(cell_centres(hw), hw), bent).T.contiguous().to(device)


def cell_centres(hw: tuple[int, int]) -> Tensor:
    """Return the centres of all cells, row by row, (h w, 2) float32 cells (x, y)."""
    return torch.cartesian_prod(*(torch.arange(side) for side in hw)).flip(-1).float()


@lru_cache(maxsize=8)
def _controls(device: torch.device) -> Tensor:
    """Return the control points row by row, (C, 2) half image sides (x, y)."""
    side = torch.linspace(-1, 1, CONTROLS)
    return torch.cartesian_prod(side, side).flip(-1).to(device)


@lru_cache(maxsize=1)
def _solution() -> Tensor:
    """Return the map from displacements of the control points to coefficients, (C + 3, C)."""
    controls = _controls(torch.device('cpu')).double()
    terms = _terms(controls, bent=True)  # (C, C + 3)
    count = len(controls)
    system = torch.zeros(count + 3, count + 3, dtype=torch.float64)
    system[:count], system[count:, :count] = terms, terms[:, count:].T
    solution: Tensor = torch.linalg.inv(system)[:, :count].float()
    return solution
