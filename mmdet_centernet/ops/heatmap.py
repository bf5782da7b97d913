"""Center heatmaps: drawing of Gaussian peaks, search of peaks, values at cells.

Convention: a heatmap is ``[B, C, H, W]``; positions are xy in feature cells, and a cell's index
is ``y * W + x``. The functions are independent of boxes, strides and tasks.
"""
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional as F

MIN_VALUE = 1e-4  # of Gaussians whose peak is not in the middle of a cell


class SparseHeatmap(NamedTuple):
    """Heatmap of Gaussian peaks, stored as the cells that a Gaussian reaches.

    A training target is zero almost everywhere: of the 21 million cells of a batch of sixteen
    512x512 images with 80 classes, only a few thousand are not.

    Attributes:
        positions (Tensor[M]): int64, ascending, positions of the cells in the flattened
            ``[B, C, H, W]``. A cell that several Gaussians reach occurs several times.
        value (Tensor[M]): in [0, 1], value of the cell (that of its largest Gaussian), the same
            for every entry of a cell.
        unique (Tensor[M]): bool, true for the first entry of each cell.
        shape (tuple[int, int, int, int]): (B, C, H, W).
    """

    positions: Tensor
    value: Tensor
    unique: Tensor
    shape: tuple[int, int, int, int]

    def num_peaks(self) -> Tensor:
        """Count the cells that are exactly 1, the objects' centers (0-d tensor, float)."""
        return ((self.value == 1) & self.unique).sum(dtype=self.value.dtype)

    def to_dense(self) -> Tensor:
        """Return the dense heatmap, ``Tensor[B, C, H, W]``."""
        dense = self.value.new_zeros(self.shape)
        dense.view(-1)[self.positions] = self.value
        return dense


class CellOwners(NamedTuple):
    """Cells that Gaussians reach, and the object that owns each.

    Attributes:
        positions (Tensor[M]): int64, positions of the cells in the flattened ``[B, H, W]``; a
            cell occurs once for each object that reaches it.
        owner (Tensor[M]): int64, index of an object that reaches the cell.
        value (Tensor[M]): in [0, 1], its Gaussian there if it owns the cell, else 0, so that a
            sum over entries counts each cell once.
        gaussian (Tensor[M]): in [0, 1], its Gaussian there.
    """

    positions: Tensor
    owner: Tensor
    value: Tensor
    gaussian: Tensor


class Gaussians(NamedTuple):
    """Gaussian peaks of N objects, each on the window of cells that it may reach.

    The value at a step ``d`` (cells, xy) from the center cell is
    ``exp(-sum(falloff * (d - shift) ** 2))``, and exactly 1 in the center cell.

    Attributes:
        centers (Tensor[N, 2]): int64, xy in cells, inside [0, W) x [0, H).
        half (Tensor[N, 2]): int64, half sides (xy) of the windows, cells; -1 in both for an
            object that is not drawn.
        falloff (Tensor[N, 2]): ``1 / (2 sigma ** 2)`` along x and y.
        shift (Tensor[N, 2], optional): from the middle of the center cell to the peak, cells.
        max_half (int, optional): an upper bound of ``half``. With it all objects share one
            window size and no value is read back from the device; without it objects are
            grouped by size, which is faster on a CPU.
        bounds (Tensor[N, 4], optional): xyxy in cells; an object reaches only cells whose
            index lies strictly inside.
    """

    centers: Tensor
    half: Tensor
    falloff: Tensor
    shift: Tensor | None = None
    max_half: int | None = None
    bounds: Tensor | None = None

    @classmethod
    def of_radius(
        cls, centers: Tensor, radii: Tensor, max_radius: int | None = None
    ) -> 'Gaussians':
        """Return Gaussians of integer radii [N]: ``sigma = (2 r + 1) / 6`` along both axes."""
        half = radii[:, None].expand(-1, 2)
        return cls(centers, half, 18 / (2 * half + 1) ** 2, max_half=max_radius)

    def only(self, drawn: Tensor) -> 'Gaussians':
        """Return these with only some [N] (bool) drawn."""
        return self._replace(half=torch.where(drawn[:, None], self.half, -1))

    def cat(self, others: 'Gaussians') -> 'Gaussians':
        """Return these, followed by others of the same kind on maps of the same size."""
        def join(one: Tensor | None, two: Tensor | None) -> Tensor | None:
            return None if one is None or two is None else torch.cat((one, two))

        return Gaussians(
            torch.cat((self.centers, others.centers)), torch.cat((self.half, others.half)),
            torch.cat((self.falloff, others.falloff)), join(self.shift, others.shift),
            self.max_half, join(self.bounds, others.bounds))

    def take(self, index: Tensor) -> 'Gaussians':
        """Return some [n] (int64) of these."""
        return Gaussians(
            self.centers[index], self.half[index], self.falloff[index],
            None if self.shift is None else self.shift[index], self.max_half,
            None if self.bounds is None else self.bounds[index])


def _window_entries(
    gaussians: Gaussians, planes: Tensor, half: int, feat_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return indices and values of the cells in the window of half side ``half`` of each object.

    A Gaussian is separable, the product of a row and a column, so that two ``[N, 2 * half + 1]``
    tables hold its values, and each cell needs one addition and one multiplication. Cells
    outside the map or beyond the object's own window get the value 0 and the index of some cell
    inside the map, where a 0 has no effect.
    """
    height, width = feat_size
    step = torch.arange(-half, half + 1, device=planes.device)
    tables, positions, inside = [], [], []
    for axis, size in ((0, width), (1, height)):
        distance: Tensor = step if gaussians.shift is None else (
            step - gaussians.shift[:, axis, None])
        gauss = torch.exp(-gaussians.falloff[:, axis, None] * distance**2)
        place = gaussians.centers[:, axis, None] + step
        reached = (step.abs() <= gaussians.half[:, axis, None]) & (place >= 0) & (place < size)
        if gaussians.bounds is not None:
            reached = (reached & (place > gaussians.bounds[:, axis, None])
                       & (place < gaussians.bounds[:, axis + 2, None]))
        tables.append(torch.where(reached, gauss, 0.0))
        positions.append(place.clamp(0, size - 1))
        inside.append(reached[:, half])
    first_of_row = planes[:, None] * (height * width) + positions[1] * width
    index = first_of_row[:, :, None] + positions[0][:, None, :]
    value = tables[1][:, :, None] * tables[0][:, None, :]
    if gaussians.shift is not None:
        value[:, half, half] = (inside[0] & inside[1]).to(value)
    return index.flatten(), value.flatten()


def draw_sparse_heatmap(
    centers: Tensor,
    radii: Tensor,
    planes: Tensor,
    shape: tuple[int, int, int, int],
    max_radius: int | None = None,
) -> SparseHeatmap:
    """Draw one Gaussian peak per object of a whole batch (Objects as Points, Sec. 3).

    ``Y[p, y, x] = max_n exp(-((x - x_n)^2 + (y - y_n)^2) / (2 s_n^2))`` over the objects
    of plane ``p``, truncated to the square of half-side ``r_n``; ``(x_n, y_n)`` is the integer
    center and ``s_n = (2 r_n + 1) / 6``.

    Args:
        centers (Tensor[N, 2]): int64, xy in cells, inside [0, W) x [0, H).
        radii (Tensor[N]): int64, cells, >= 0; an object of radius -1 is not drawn.
        planes (Tensor[N]): int64, ``image * C + label``, in [0, B * C).
        shape (tuple[int, int, int, int]): (B, C, H, W).
        max_radius (int, optional): an upper bound of ``radii``. With it all objects share one
            window size and no value is read back from the device; without it objects are
            grouped by radius, which is faster on a CPU.

    Returns:
        SparseHeatmap: float32 values.
    """
    return draw_gaussians(Gaussians.of_radius(centers, radii, max_radius), planes, shape)


def draw_gaussians(
    gaussians: Gaussians, planes: Tensor, shape: tuple[int, int, int, int]
) -> SparseHeatmap:
    """Draw Gaussian peaks; a cell gets the largest value, and 0 below 1e-4.

    Args:
        gaussians (Gaussians): N peaks.
        planes (Tensor[N]): int64, ``image * C + label``, in [0, B * C).
        shape (tuple[int, int, int, int]): (B, C, H, W).

    Returns:
        SparseHeatmap: float32 values.
    """
    entries = _sorted_entries(gaussians, planes, (shape[2], shape[3]))
    value = entries.largest[entries.cell]
    if gaussians.shift is not None:  # the other windows end before that
        value = value.masked_fill(value < MIN_VALUE, 0.0)
    return SparseHeatmap(entries.positions, value, entries.unique, shape)


class _Entries(NamedTuple):
    """Window entries of all objects, sorted by cell; M entries of n cells."""

    positions: Tensor  # [M] int64, ascending, cell in the flattened planes
    value: Tensor  # [M] the entry's own Gaussian
    order: Tensor  # [M] int64, index before sorting, object after object of each radius
    unique: Tensor  # [M] bool, first entry of its cell
    cell: Tensor  # [M] int64, number of its cell
    largest: Tensor  # [at least n] the largest Gaussian of each cell


def _same_windows(gaussians: Gaussians) -> list[tuple[Tensor, int]]:
    """Group objects by the half side of their windows.

    Returns:
        list[tuple[Tensor, int]]: indices [n] (int64) of a group's objects, and the half side.
        Objects of half side -1 are in no group unless all share ``max_half``.
    """
    half = gaussians.half.amax(dim=1)
    if gaussians.max_half is not None:
        return [(torch.arange(len(half), device=half.device), gaussians.max_half)]
    return [((half == side).nonzero().flatten(), int(side))
            for side in half[half >= 0].unique().tolist()]


def _sorted_entries(
    gaussians: Gaussians, planes: Tensor, feat_size: tuple[int, int]
) -> _Entries:
    index = [torch.zeros(0, dtype=torch.int64, device=planes.device)]
    value = [torch.zeros(0, device=planes.device)]
    for same, half in _same_windows(gaussians):
        entries = _window_entries(gaussians.take(same), planes[same], half, feat_size)
        index.append(entries[0])
        value.append(entries[1])
    # Sorting brings the entries of a cell together. (A scatter into a dense map would touch
    # memory all over the 80 MB of a batch's heatmap.)
    positions, order = torch.cat(index).sort()
    gaussian = torch.cat(value)[order]
    unique = torch.ones_like(positions, dtype=torch.bool)
    unique[1:] = positions[1:] != positions[:-1]
    cell = unique.cumsum(0) - 1
    largest = torch.zeros_like(gaussian).scatter_reduce_(0, cell, gaussian, 'amax')
    return _Entries(positions, gaussian, order, unique, cell, largest)


def find_cell_owners(
    centers: Tensor,
    radii: Tensor,
    images: Tensor,
    feat_size: tuple[int, int],
    max_radius: int | None = None,
) -> CellOwners:
    """Find which object's Gaussian, of any class, is largest at each cell of a batch.

    The last one of several equal objects owns a cell.

    Args:
        centers (Tensor[N, 2]): int64, xy in cells, inside [0, W) x [0, H).
        radii (Tensor[N]): int64, cells, >= 0; an object of radius -1 owns nothing.
        images (Tensor[N]): int64, the object's image in the batch.
        feat_size (tuple[int, int]): (H, W).
        max_radius (int, optional): see :func:`draw_sparse_heatmap`.

    Returns:
        CellOwners: float32 values.
    """
    return find_window_owners(
        Gaussians.of_radius(centers, radii, max_radius), images, feat_size, ties='last')


def find_window_owners(
    gaussians: Gaussians,
    images: Tensor,
    feat_size: tuple[int, int],
    priority: Tensor | None = None,
    ties: Literal['first', 'last'] = 'first',
) -> CellOwners:
    """Find which object owns each cell of a batch that is in an object's window.

    Args:
        gaussians (Gaussians): N peaks, of all classes.
        images (Tensor[N]): int64, the object's image in the batch.
        feat_size (tuple[int, int]): (H, W).
        priority (Tensor[N], optional): the object with the largest one owns a cell. By default
            that with the largest Gaussian there does.
        ties (str): which of several equal objects does.

    Returns:
        CellOwners: float32 values.
    """
    entries = _sorted_entries(gaussians, images, feat_size)
    objects = torch.cat([images.new_zeros(0)] + [
        same.repeat_interleave((2 * half + 1) ** 2)
        for same, half in _same_windows(gaussians)])[entries.order]
    reached, key, largest = entries.value > 0, entries.value, entries.largest
    if priority is not None:
        key = priority[objects].to(key).masked_fill(~reached, -torch.inf)
        largest = torch.full_like(largest, -torch.inf).scatter_reduce_(
            0, entries.cell, key, 'amax')
    best = reached & (key == largest[entries.cell])
    nobody = len(images) if ties == 'first' else -1
    owner = torch.full_like(entries.cell, nobody).scatter_reduce_(
        0, entries.cell, torch.where(best, objects, nobody), 'amin' if ties == 'first' else 'amax')
    owned = best & (owner[entries.cell] == objects)
    return CellOwners(entries.positions, objects, torch.where(owned, entries.value, 0.0),
                      entries.value)


def count_boxes(
    boxes: Tensor, planes: Tensor, valid: Tensor, shape: tuple[int, int, int, int]
) -> Tensor:
    """Count the boxes that cover each cell, by a 2D difference array.

    Each box adds +1 and -1 at its four corners; cumulative sums along both axes then give the
    counts.

    Args:
        boxes (Tensor[N, 4]): xyxy in cells, inside [0, W] x [0, H].
        planes (Tensor[N]): int64, ``image * C + label``, in [0, B * C).
        valid (Tensor[N]): bool, the boxes that count.
        shape (tuple[int, int, int, int]): (B, C, H, W).

    Returns:
        Tensor[B * C * H * W]: int32.
    """
    batch, num_classes, height, width = shape
    left, top, right, bottom = boxes.long().unbind(dim=1)
    # A box may end on the far edge of the map, outside the last cell.
    right, bottom = right.clamp(max=width - 1) + 1, bottom.clamp(max=height - 1) + 1
    corners = torch.zeros(
        (batch * num_classes, height + 1, width + 1), dtype=torch.int32, device=planes.device)
    one = valid.int()
    for y, x, sign in ((top, left, 1), (bottom, left, -1), (top, right, -1), (bottom, right, 1)):
        corners.index_put_((planes, y, x), sign * one, accumulate=True)
    counts = corners.cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
    return counts[:, :-1, :-1].flatten()


def draw_center_heatmap(
    centers: Tensor,
    radii: Tensor,
    labels: Tensor,
    num_classes: int,
    feat_size: tuple[int, int],
) -> Tensor:
    """Draw the center heatmap of one image (Objects as Points, Sec. 3).

    Args:
        centers (Tensor[N, 2]): xy in feature cells, inside [0, W) x [0, H); floored here.
        radii (Tensor[N]): feature cells, >= 0; floored here.
        labels (Tensor[N]): int64 in [0, num_classes).
        num_classes (int): C.
        feat_size (tuple[int, int]): (H, W).

    Returns:
        Tensor[C, H, W]: float32 in [0, 1]; exactly 1 at floored centers; zeros if N = 0.

    Raises:
        ValueError: if a center is outside the feature map, a radius is negative or a label is
            not a class.
    """
    height, width = feat_size
    size = torch.tensor([width, height], device=centers.device)
    outside = ((centers < 0) | (centers >= size) | ~torch.isfinite(centers)).any(dim=1)
    if outside.any():
        item = int(outside.nonzero()[0])
        raise ValueError(
            f'centers[{item}] = {centers[item].tolist()} (x, y) is outside the feature map of '
            f'width {width} and height {height}. Centers are in feature cells: divide input '
            "pixels by the head's stride and drop objects whose center was cropped away."
        )
    if not (radii >= 0).all():
        item = int((~(radii >= 0)).nonzero()[0])
        raise ValueError(
            f'radii[{item}] = {radii[item].item()} is negative or not a number. Radii are in '
            'feature cells, at least 0: check for boxes of negative size.'
        )
    unknown = (labels < 0) | (labels >= num_classes)
    if unknown.any():
        item = int(unknown.nonzero()[0])
        raise ValueError(
            f'labels[{item}] = {labels[item].item()} is not one of {num_classes} classes '
            f'(0 to {num_classes - 1}). Compare num_classes with the dataset.'
        )
    sparse = draw_sparse_heatmap(
        centers.floor().long(), radii.floor().long(), labels, (1, num_classes, height, width)
    )
    return sparse.to_dense()[0]


def local_maximum(heatmap: Tensor, kernel: int) -> Tensor:
    """Return the maximum in the ``kernel`` x ``kernel`` neighborhood of every cell.

    This equals ``max_pool2d`` of stride 1, but has no gradient. On a CPU, where that kernel
    takes most of the time of decoding, rows and columns are compared with shifted copies of
    themselves.
    """
    half = kernel // 2
    heatmap = heatmap.detach()  # in-place writes below are not allowed with gradients
    if heatmap.device.type != 'cpu' or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return F.max_pool2d(heatmap, kernel, stride=1, padding=half)
    for dim in (-1, -2):
        source = heatmap
        heatmap = source.clone()
        size = source.shape[dim]
        for shift in range(1, min(half, size - 1) + 1):
            for ahead, behind in ((shift, 0), (0, shift)):
                target = heatmap.narrow(dim, ahead, size - shift)
                torch.maximum(target, source.narrow(dim, behind, size - shift), out=target)
    return heatmap


def _at_most(topk: int, size: int) -> int:
    """Return ``min(topk, size)``.

    During export, where ``size`` may be symbolic, return ``topk`` if ``size >= topk`` is known.
    """
    return topk if statically_known_true(size >= topk) else min(topk, size)


def _divmod(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return quotient and remainder of int64 indices.

    ONNX export does not support a remainder by an unknown size.
    """
    quotient = index.div(size, rounding_mode='floor')
    return quotient, index - quotient * size


def find_peaks(
    heatmap: Tensor, topk: int, kernel: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the best local maxima of every image (Objects as Points, Sec. 3).

    The paper ("From points to bounding boxes") keeps the best 100 of all responses that are not
    below their 8-connected neighbors. The function works on logits as well as on probabilities.
    The ``topk`` rows with the largest maxima contain the ``topk`` best cells, so that only
    these rows are searched, and not a million scores are sorted.

    Args:
        heatmap (Tensor[B, C, H, W]): any monotonic score.
        topk (int): number of peaks over all classes; fewer if the map has fewer cells.
        kernel (int): odd side of the neighborhood; with 1 every cell is a peak.

    Returns:
        tuple[Tensor, Tensor, Tensor]: each [B, K], best first: ``scores`` (``-inf`` if an
        image has fewer than K peaks), ``cells`` (int64 ``y * W + x``), ``labels`` (int64).
    """
    if kernel % 2 == 0 or kernel < 1:
        raise ValueError(f'kernel = {kernel} of the peak search must be odd and at least 1.')
    batch, classes, height, width = heatmap.shape
    compiling = torch.compiler.is_compiling()
    # The maps of one image fit into the cache.
    if not compiling and batch > 1 and heatmap.device.type == 'cpu':
        parts = [find_peaks(image, topk, kernel) for image in heatmap.split(1)]
        scores, cells, labels = (torch.cat(part) for part in zip(*parts))
        return scores, cells, labels
    heatmap = heatmap.contiguous()
    peaks = heatmap.masked_fill(local_maximum(heatmap, kernel) > heatmap, float('-inf'))
    if compiling and not statically_known_true(classes * height >= topk):
        # The number of rows is not known, so that there may be too few.
        scores, place = peaks.flatten(1).topk(_at_most(topk, classes * height * width))
        labels, cells = _divmod(place, height * width)
        return scores, cells, labels
    rows = peaks.view(batch, classes * height, width)
    best_rows = rows.amax(dim=-1).topk(_at_most(topk, classes * height), dim=-1).indices
    candidates = rows.gather(1, best_rows[..., None].expand(-1, -1, width)).flatten(1)
    scores, order = candidates.topk(_at_most(topk, candidates.shape[1]), dim=-1)
    place, x = _divmod(order, width)
    labels, y = _divmod(best_rows.gather(1, place), height)
    return scores, y * width + x, labels


def gather_cells(features: Tensor, cells: Tensor) -> Tensor:
    """Gather the channels of a feature map at cells.

    Args:
        features (Tensor[B, C, H, W]): the map.
        cells (Tensor[B, K]): int64 ``y * W + x``.

    Returns:
        Tensor[B, K, C]: the channels at each cell.
    """
    channels = features.shape[1]
    index = cells[:, None].expand(-1, channels, -1)
    return features.flatten(2).gather(2, index).transpose(1, 2)


def read_cells(
    features: Tensor, images: Tensor, cells: Tensor, channels: Tensor | None = None
) -> Tensor:
    """Read a feature map at cells of any images.

    Args:
        features (Tensor[B, C, H, W]): the map.
        images (Tensor[M]): int64, in [0, B).
        cells (Tensor[M]): int64 ``y * W + x``.
        channels (Tensor[M, D], optional): int64, in [0, C); None for all.

    Returns:
        Tensor[M, D]
    """
    y, x = _divmod(cells, features.shape[-1])
    if channels is None:
        return features[images, :, y, x]
    return features[images[:, None], channels, y[:, None], x[:, None]]


def last_in_cells(places: Tensor, num_places: int, valid: Tensor) -> Tensor:
    """Return which of N valid entries is the last one at its place, [N] bool.

    Args:
        places (Tensor[N]): int64 in [0, num_places).
        num_places (int): number of places.
        valid (Tensor[N]): bool.
    """
    order = torch.arange(len(places), device=places.device)
    last = torch.full((num_places,), -1, device=places.device)
    last.scatter_reduce_(0, places, torch.where(valid, order, -1), 'amax')
    return last[places] == order


def cell_positions(cells: Tensor, width: int) -> Tensor:
    """Return the (x, y) coordinates of flat cell indices.

    Args:
        cells (Tensor[...]): int64 ``y * W + x``.
        width (int): W.

    Returns:
        Tensor[..., 2]: int64, xy.
    """
    y, x = _divmod(cells, width)
    return torch.stack((x, y), dim=-1)


def find_channel_peaks(
    heatmap: Tensor, offset: Tensor | None, topk: int, kernel: int = 3
) -> tuple[Tensor, Tensor]:
    """Find the best local maxima of every channel.

    Args:
        heatmap (Tensor[B, C, H, W]): logits.
        offset (Tensor[B, 2, H, W] | None): xy to add to a cell; 0.5 without it.
        topk (int): peaks of each channel, P; fewer if the map has fewer cells.
        kernel (int): see :func:`find_peaks`.

    Returns:
        tuple[Tensor, Tensor]: xy [B, C, P, 2] in cells, and scores [B, C, P] in [0, 1].
    """
    batch, channels = heatmap.shape[:2]
    logits, cells, _ = find_peaks(heatmap.flatten(0, 1)[:, None], topk, kernel)
    cells = cells.unflatten(0, (batch, channels))
    xy: Tensor = cell_positions(cells, heatmap.shape[-1])
    if offset is None:
        xy = xy + 0.5
    else:
        read = gather_cells(offset, cells.flatten(1)).float()
        xy = xy + read.unflatten(1, (channels, -1))
    return xy, logits.float().sigmoid().unflatten(0, (batch, channels))


def find_nearest_peaks(
    points: Tensor, peaks: Tensor, peak_scores: Tensor, min_score: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Find for each point the nearest peak that scores more than a threshold.

    It needs memory for B N K P distances.

    Args:
        points (Tensor[B, N, K, 2]): K kinds of points of N objects, xy in cells.
        peaks (Tensor[B, K, P, 2]): candidates of each kind, xy in cells.
        peak_scores (Tensor[B, K, P]): their scores.
        min_score (float): peaks must score more.

    Returns:
        tuple[Tensor, Tensor, Tensor]: the peaks [B, N, K, 2], their scores [B, N, K], and the
        distances [B, N, K] in cells, infinite if no peak scores enough.
    """
    points = points.transpose(1, 2)  # [B, K, N, 2]
    squared = (points[..., None, 0] - peaks[:, :, None, :, 0]).square_()
    squared += (points[..., None, 1] - peaks[:, :, None, :, 1]).square_()
    squared.masked_fill_((peak_scores <= min_score)[:, :, None], torch.inf)
    squared, index = squared.min(dim=-1)  # [B, K, N]
    scores = peak_scores.gather(2, index).transpose(1, 2)
    nearest = peaks.gather(2, index[..., None].expand(-1, -1, -1, 2)).transpose(1, 2)
    return nearest, scores, squared.sqrt().transpose(1, 2)
