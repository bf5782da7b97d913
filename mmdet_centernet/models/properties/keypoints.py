"""Keypoints of objects, of all classes or of some."""
from collections.abc import Iterable, Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional as F

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.box import L1
from mmdet_centernet.models.properties.branch import Branch, flip_map, heatmap_branch
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import (
    Fields,
    Instances,
    Metas,
    Property,
    Targets,
)
from mmdet_centernet.models.properties.target import CellTarget, HeatmapTarget
from mmdet_centernet.ops.heatmap import (
    cell_positions,
    draw_sparse_heatmap,
    find_cell_owners,
    find_nearest_peaks,
    find_peaks,
    gather_cells,
)
from mmdet_centernet.ops.transforms import boxes_around
from mmdet_centernet.registry import TASK_UTILS

ONE_SKELETON_EACH = ('compose mmdet_centernet.CenterHead with Keypoints for each skeleton, which '
                     'have classes and names of their own')


@TASK_UTILS.register_module()
class Keypoints(Property):
    """Keypoints: displacements from the center, refined by heatmap peaks (Sec. 4.2).

    Several of them with different ``classes`` and names give a model with several skeletons;
    the fields of the detections then have as many keypoints as the largest skeleton.

    Encoded, for ``name='keypoint'``:

    - ``keypoint_displacement`` [N, K, 2]: keypoint minus the cell of its object's center, cells.
    - ``keypoint_heatmap`` [B, K, H, W]: 1 at the keypoints.
    - ``keypoint_offset`` [N * K, 2]: keypoint minus its cell, cells.

    Decoded: ``keypoints`` [B, N, K, 2] in input pixels and ``keypoint_scores`` [B, N, K]: the
    score of the keypoint's peak, or that of the center where it was regressed; 0 for objects of
    other classes. Without a box, ``bboxes`` are the boxes around the keypoints.

    Args:
        num_keypoints (int): K.
        name (str): prefix of the branches.
        classes (Sequence[str], optional): names of the classes that have these keypoints. None:
            all. The names are those of the data set.
        flip_pairs (list[tuple[int, int]], optional): keypoints that trade places in a flipped
            image. None: those of the data set; only flip testing needs them.
        with_heatmap (bool): have the keypoint heatmap. Without it keypoints stay where they are
            regressed, and there is no keypoint offset either.
        with_offset (bool): have the keypoint offset. Without it keypoints snap to mid-cell.
        loss_displacement, loss_heatmap, loss_offset (dict, optional): losses of the branches, in
            cells.
        dense_displacement (bool): train displacements at every cell that a Gaussian of a center
            reaches, from that cell; of several objects that have the keypoint the one with the
            largest Gaussian counts. (In the original implementation also those that do not
            have it, which leaves a target of 0 for the others there.)
        snap_score (float): keypoints snap to heatmap peaks that score more.
        snap_distance (float): and that are at most this far from the regressed keypoint, in
            longer sides of the box.

    Raises:
        ValueError: for a negative threshold, or pairs that are not pairs of keypoints.
    """

    needs = dict.fromkeys(('keypoints', 'keypoints_visible'), (
        'train on a mmdet_centernet.CocoPoseDataset, with mmdet_centernet.LoadKeypoints and '
        'mmdet_centernet.PackInputs in its pipeline'))
    points = ('keypoints',)
    task = 'pose'

    def __init__(
        self,
        num_keypoints: int = 17,
        name: str = 'keypoint',
        classes: Sequence[str] | None = None,
        flip_pairs: list[tuple[int, int]] | None = None,
        with_heatmap: bool = True,
        with_offset: bool = True,
        loss_displacement: dict | None = None,
        loss_heatmap: dict | None = None,
        loss_offset: dict | None = None,
        dense_displacement: bool = False,
        snap_score: float = 0.1,
        snap_distance: float = 0.3,
    ) -> None:
        super().__init__()
        if snap_score < 0 or snap_distance < 0:
            raise ValueError(f'snap_score = {snap_score} and snap_distance = {snap_distance} '
                             'must not be negative.')
        self.num_keypoints = num_keypoints
        self.classes = None if classes is None else tuple(classes)
        self.labels: tuple[int, ...] | None = None
        self._title = ('model.bbox_head' if classes is None  # in error messages
                       else f'Keypoints(classes={list(classes)})')
        self.flip_pairs = flip_pairs
        self._gives_pairs = flip_pairs is not None
        self.dense_displacement = dense_displacement
        self.snap_score = snap_score
        self.snap_distance = snap_distance
        self.displacement, self.heatmap, self.offset = (
            f'{name}_{part}' for part in ('displacement', 'heatmap', 'offset'))
        if flip_pairs is not None:
            self._flip_indices()
        self.branches[self.displacement] = Branch(
            2 * num_keypoints, loss_displacement or L1, flip=self._flip_displacement,
            official_name='hps')
        if with_heatmap:
            self.branches[self.heatmap] = heatmap_branch(
                num_keypoints, loss_heatmap, self._flip_heatmap, official_name='hm_hp')
        if with_heatmap and with_offset:
            self.branches[self.offset] = Branch(2, loss_offset or L1, official_name='hp_offset')

    def use_dataset(self, metainfo: dict) -> None:
        """Look up the labels of ``classes``, and take the flip pairs of their skeleton.

        Pairs that are known stay; :meth:`compare_pairs` compares them.

        Args:
            metainfo (dict): ``classes``, and of data with keypoints ``skeletons``, from names of
                classes to skeletons (``num_keypoints``, ``flip_pairs``), or one skeleton for all
                without it.

        Raises:
            UserError: if the data set does not have a class, or no keypoints for it; if it has
                several skeletons, or another number of keypoints.
        """
        names = list(metainfo.get('classes') or ())
        for name in self.classes or ():
            if name not in names:
                raise UserError(
                    f'{self._title} names the class {name!r}, which the data set does not have: '
                    f'its classes are {names}')
        if self.classes is not None:
            self.labels = tuple(names.index(name) for name in self.classes)
        skeletons = self._select_skeletons(metainfo)
        counts = {name: each['num_keypoints'] for name, each in skeletons.items()}
        if len(set(counts.values())) > 1:
            raise UserError(
                f'the classes of the data set have different numbers of keypoints, {counts}, but '
                f'{self._title} predicts {self.num_keypoints} for all: {ONE_SKELETON_EACH}')
        for count in counts.values():
            if count != self.num_keypoints:
                raise UserError(
                    f'the data set has {count} keypoints, but {self._title} predicts '
                    f'{self.num_keypoints}: set '
                    f'{"model.bbox_head." if self.classes is None else "its "}'
                    f'num_keypoints={count}')
        pairs = self._read_pairs(metainfo)
        if self.flip_pairs is None:
            self.flip_pairs = pairs

    def compare_pairs(self, metainfo: dict) -> None:
        """Compare the flip pairs with those of a data set, if it has some.

        Raises:
            UserError: if they differ.
        """
        pairs = self._read_pairs(metainfo)
        if pairs is None or self.flip_pairs is None or (
                _unordered(pairs) == _unordered(self.flip_pairs)):
            return
        setting = ('model.bbox_head.flip_pairs' if self.classes is None
                   else f'flip_pairs of {self._title}')
        ours = [tuple(pair) for pair in self.flip_pairs]
        raise UserError(
            f'the data set has the pairs of left and right keypoints {pairs}, but ' + (
                f'{setting} is {ours}: leave flip_pairs out of the model' if self._gives_pairs else
                f'the one before it had {ours}: give both the same skeleton'))

    def _read_pairs(self, metainfo: dict) -> list[tuple[int, int]] | None:
        """Return the flip pairs of the own classes; None if the data set has none."""
        pairs = {name: each['flip_pairs']
                 for name, each in self._select_skeletons(metainfo).items()
                 if each.get('flip_pairs') is not None}
        if len(set(map(_unordered, pairs.values()))) > 1:
            raise UserError(
                'the classes of the data set have different pairs of left and right keypoints, '
                f'{pairs}, but {self._title} has one list for all: {ONE_SKELETON_EACH}')
        return next(([tuple(pair) for pair in theirs] for theirs in pairs.values()), None)

    def _select_skeletons(self, metainfo: dict) -> dict[str, dict]:
        """Return the skeletons of the own classes by name; empty if the data has no keypoints."""
        skeletons = metainfo.get('skeletons')
        if skeletons is None:
            return {'all': metainfo} if 'num_keypoints' in metainfo else {}
        if self.classes is None:
            return skeletons
        for name in self.classes:
            if name not in skeletons:
                raise UserError(
                    f'{self._title} is for the class {name!r}, which has no keypoints in the '
                    f'data set: those with keypoints are {list(skeletons)}')
        return {name: skeletons[name] for name in self.classes}

    def check(self, instances: InstanceData, meta: dict, num_classes: int) -> None:
        """Check the number of keypoints."""
        shape = tuple(instances.keypoints.shape)
        if shape[1:] != (self.num_keypoints, 2) and (
                self.classes is None or shape[1] < self.num_keypoints):
            raise UserError(
                f'{meta.get("img_path", "an image")} has keypoints of shape {shape}, not '
                f'[N, {self.num_keypoints}, 2]: set num_keypoints of model.bbox_head to the '
                'number in the data')

    def _has_keypoints(self, labels: Tensor) -> Tensor | None:
        """Return which objects [...] belong to ``classes``; None if all do."""
        if self.classes is None:
            return None
        if self.labels is None:
            raise UserError(
                f'{self._title} does not know the labels of its classes: call model.bbox_head.'
                "use_dataset(dict(classes=[...])) with the data set's class names, or train with "
                'the mmdet_centernet.SkeletonHook')
        return torch.stack([labels == label for label in self.labels]).any(dim=0)

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode keypoints. They are trained if they are labeled and inside the map.

        On rotated images, whose boxes are only trusted for the size of the keypoints'
        Gaussians, heatmap and offset alone are trained. (The original implementation writes
        0.9999 everywhere into the center heatmap of a rotated image, which costs less than
        1e-15 per cell.)
        """
        batch, _, height, width = centers.shape
        count = self.num_keypoints
        points = centers.cat(batch_gt_instances, 'keypoints')[:, :count].float() / centers.stride
        labeled = centers.cat(batch_gt_instances, 'keypoints_visible')[:, :count] > 0
        mine = self._has_keypoints(centers.labels)
        if mine is not None:
            labeled = labeled & mine[:, None]
        size = torch.tensor([width, height], device=points.device)
        inside = ((points >= 0) & (points < size)).all(dim=2) & labeled & centers.present[:, None]
        points = torch.where(inside[..., None], points, 0.0)
        xy = points.long()
        plane = centers.images[:, None] * count + torch.arange(count, device=points.device)
        plane = plane.flatten()
        weight = inside * centers.weight[:, None]
        displacement = points - centers.xy[:, None]
        targets: Targets = {}
        targets[self.displacement] = self._dense(
            centers, displacement, weight, plane) if self.dense_displacement else (
            centers.at_centers(displacement, weight))
        if self.heatmap in self.branches:
            targets[self.heatmap] = HeatmapTarget(draw_sparse_heatmap(
                xy.flatten(0, 1), torch.where(inside, centers.radius[:, None], -1).flatten(),
                plane, (batch, count, height, width), centers.max_radius))
        if self.offset in self.branches:
            weight = inside.to(points.dtype).flatten()
            targets[self.offset] = CellTarget(
                centers.images.repeat_interleave(count),
                (xy[..., 1] * width + xy[..., 0]).flatten(), (points - xy).flatten(0, 1),
                weight, centers.count_of(weight), centers.eps)
        return targets

    def _dense(
        self, centers: Centers, displacement: Tensor, weight: Tensor, plane: Tensor
    ) -> CellTarget:
        """Return the target of the displacements at all cells that Gaussians reach.

        Args:
            centers (Centers): N objects.
            displacement (Tensor[N, K, 2]): from the centers, cells.
            weight (Tensor[N, K]): at the centers.
            plane (Tensor[N * K]): int64 ``image * K + keypoint``.
        """
        height, width = centers.shape[2:]
        count = self.num_keypoints
        positions, owner, weight = find_cell_owners(
            centers.xy.repeat_interleave(count, dim=0),
            torch.where(weight > 0, centers.radius[:, None], -1).flatten(),
            plane, (height, width), centers.max_radius)
        plane = positions.div(height * width, rounding_mode='floor')
        cells = positions - plane * (height * width)
        image = plane.div(count, rounding_mode='floor')
        step = cell_positions(cells, width) - centers.xy.repeat_interleave(count, dim=0)[owner]
        channels = 2 * (plane - image * count)[:, None] + torch.arange(2, device=plane.device)
        return CellTarget(image, cells, displacement.flatten(0, 1)[owner] - step, weight,
                          weight.sum(), 1e-4, channels)

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode keypoints at the peaks (Objects as Points, Sec. 4.2).

        A keypoint is where its displacement says, unless its heatmap has a peak that scores
        more than ``snap_score``, is the nearest such one, inside the box, and near enough: then
        it is there. Several objects may share a peak, as in the original implementation.
        """
        displacement = peaks.read(outputs[self.displacement])
        keypoints = peaks.xy[:, :, None] + displacement.unflatten(-1, (-1, 2))
        has_box = 'bboxes' in detections
        boxes = detections['bboxes'] / peaks.stride if has_box else boxes_around(keypoints)
        scores = peaks.scores[..., None].expand(keypoints.shape[:-1])
        if self.heatmap in self.branches:
            nearest, nearest_scores, distance = find_nearest_peaks(
                keypoints, *self._candidates(outputs, peaks), self.snap_score)
            longer = (boxes[..., 2:] - boxes[..., :2]).amax(dim=-1)
            near = distance <= self.snap_distance * longer[..., None]
            if has_box:
                near &= ((nearest >= boxes[:, :, None, :2]) & (
                    nearest <= boxes[:, :, None, 2:])).all(dim=-1)
            keypoints = torch.where(near[..., None], nearest, keypoints)
            scores = torch.where(near, nearest_scores, scores)
        fields = dict(keypoints=keypoints * peaks.stride, keypoint_scores=scores)
        if not has_box:
            fields['bboxes'] = boxes_around(fields['keypoints'])
        mine = self._has_keypoints(peaks.labels)
        return fields if mine is None else self._merge(fields, mine, detections)

    def _merge(
        self, fields: dict[str, Tensor], mine: Tensor, detections: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Merge fields of the own classes [B, N] with those of other skeletons."""
        keypoints = torch.where(mine[..., None, None], fields['keypoints'], 0.0)
        scores = torch.where(mine[..., None], fields['keypoint_scores'], 0.0)
        if 'keypoints' in detections:
            missing = detections['keypoints'].shape[2] - self.num_keypoints
            parts = []
            for own, other, dims in ((keypoints, detections['keypoints'], (0, 0)),
                                     (scores, detections['keypoint_scores'], ())):
                own = F.pad(own, (*dims, 0, max(missing, 0)))
                other = F.pad(other, (*dims, 0, max(-missing, 0)))
                parts.append(own + other)  # one of them is 0
            keypoints, scores = parts
        return dict(fields, keypoints=keypoints, keypoint_scores=scores)

    def _candidates(self, outputs: dict[str, Tensor], peaks: Peaks) -> tuple[Tensor, Tensor]:
        """Return peaks of each keypoint, [B, K, P, 2] cells, and their scores [B, K, P]."""
        heatmap = outputs[self.heatmap]
        batch, count = heatmap.shape[:2]
        logits, cells, _ = find_peaks(
            heatmap.flatten(0, 1)[:, None], peaks.scores.shape[1], peaks.kernel)
        cells = cells.unflatten(0, (batch, count))
        xy = cell_positions(cells, heatmap.shape[-1])
        if self.offset in self.branches:
            offset = gather_cells(outputs[self.offset], cells.flatten(1)).float()
            xy = xy + offset.unflatten(1, (count, -1))
        else:
            xy = xy + 0.5
        return xy, logits.float().sigmoid().unflatten(0, (batch, count))

    def describe(self) -> dict:
        """Return the number of keypoints, and the classes that have them."""
        classes = {} if self.classes is None else dict(classes=list(self.classes))
        return dict(super().describe(), num_keypoints=self.num_keypoints, **classes)

    def _flip_heatmap(self, values: Tensor) -> Tensor:
        return flip_map(values)[:, self._flip_indices()]

    def _flip_displacement(self, values: Tensor) -> Tensor:
        swapped = flip_map(values).unflatten(1, (-1, 2))[:, self._flip_indices()]
        return (swapped * swapped.new_tensor([-1, 1])[:, None, None]).flatten(1, 2)

    def _flip_indices(self) -> list[int]:
        """Return the index that each keypoint has in a flipped image."""
        if self.flip_pairs is None:
            raise UserError(
                'flip testing needs to know which keypoints are left and right of each other: '
                'test on a data set with a skeleton (mmdet_centernet.CocoPoseDataset, with the '
                'SkeletonHook), or set flip_pairs of model.bbox_head')
        indices = list(range(self.num_keypoints))
        paired = [keypoint for pair in self.flip_pairs for keypoint in pair]
        if len(set(paired)) < len(paired) or not set(paired) <= set(indices):
            raise ValueError(
                f'flip_pairs = {self.flip_pairs} must be pairs of different keypoints of '
                f'{self.num_keypoints} (0 to {self.num_keypoints - 1}), none of them twice.')
        for left, right in self.flip_pairs:
            indices[left], indices[right] = right, left
        return indices


def _unordered(pairs: Iterable[Sequence[int]]) -> frozenset[frozenset[int]]:
    """Return pairs without their order, to be compared."""
    return frozenset(frozenset(pair) for pair in pairs)
