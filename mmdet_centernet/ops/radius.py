"""Radius of a box's Gaussian peak.

The radius is the largest shift of both corners of a box that still leaves an IoU of
``min_overlap`` with it (CornerNet, Sec. 3.2; adopted by Objects as Points, Sec. 3). Three
directions of the shifts give three quadratic equations; the smallest root is used. There are
two formulas, and a value of ``min_overlap`` is not portable between them: a box of 20 x 20 cells
has the radius 5.47 with ``official`` at 0.7, but 4.52 at 0.3 and 1.63 at 0.7 with ``corrected``.

The Gaussians of CenterNet's descendants have other sizes: :func:`area_radius` and
:func:`side_radii`.
"""
import torch
from torch import Tensor

RADIUS_FORMULAS = ('official', 'corrected')


def gaussian_radius(sizes: Tensor, formula: str, min_overlap: float) -> Tensor:
    """Return the radius of each box's Gaussian, not rounded.

    Args:
        sizes (Tensor[N, 2]): box width and height in feature cells (the formulas are
            symmetric, the order does not matter), >= 0.
        formula (str): ``'official'``, the original implementation's, which divides every root
            by 2 regardless of the leading coefficient; ``'corrected'``, the true roots (as in
            MMDetection).
        min_overlap (float): IoU in (0, 1) that the shifted box keeps.

    Returns:
        Tensor[N]: feature cells, float64, because the following truncation should not depend
        on rounding.

    Raises:
        ValueError: for an unknown formula or an overlap outside (0, 1).
    """
    if formula not in RADIUS_FORMULAS:
        raise ValueError(
            f"radius = '{formula}' is not a radius formula; choose one of {RADIUS_FORMULAS}."
        )
    if not 0 < min_overlap < 1:
        raise ValueError(f'min_overlap = {min_overlap} must lie between 0 and 1.')
    sizes = sizes.double()
    total = sizes.sum(dim=-1)
    area = sizes.prod(dim=-1)

    def root(a: float, b: Tensor, c: Tensor, sign: int) -> Tensor:
        divisor = 2 * a if formula == 'corrected' else 2
        return (b + sign * torch.sqrt((b**2 - 4 * a * c).clamp(min=0))) / divisor

    # Sign of the square root as in the two sources: the original adds it throughout,
    # the corrected formula takes the smaller root of the first two equations.
    small = 1 if formula == 'official' else -1
    one_in_one_out = root(1, total, area * (1 - min_overlap) / (1 + min_overlap), small)
    both_inside = root(4, 2 * total, area * (1 - min_overlap), small)
    both_outside = root(4 * min_overlap, -2 * min_overlap * total, area * (min_overlap - 1), 1)
    return torch.minimum(torch.minimum(one_in_one_out, both_inside), both_outside)


def area_radius(sizes: Tensor, min_overlap: float, min_radius: float) -> Tensor:
    """Return the radius of the Gaussian ``exp(-(d / radius) ** 2)`` of CenterNet* (CenterNet2).

    It grows with the square root of the box's area:
    ``radius ** 2 = 2 ((1 - min_overlap) / (1 + min_overlap)) ** 2 * w * h``.

    Args:
        sizes (Tensor[N, 2]): box width and height, cells, >= 0.
        min_overlap (float): in (0, 1).
        min_radius (float): the least radius, cells.

    Returns:
        Tensor[N]: cells.
    """
    delta = (1 - min_overlap) / (1 + min_overlap)
    return (2 * delta**2 * sizes.prod(dim=-1)).clamp(min=min_radius**2).sqrt()


def side_radii(sizes: Tensor, alpha: float) -> Tensor:
    """Return the radii [N, 2] (int64, xy, cells) of TTFNet's Gaussians: fractions of half sides.

    Args:
        sizes (Tensor[N, 2]): box width and height, cells, >= 0.
        alpha (float): the fraction.
    """
    return (sizes / 2 * alpha).floor().long()
