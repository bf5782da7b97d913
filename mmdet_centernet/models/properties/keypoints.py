"""Keypoints of objects, of all classes or of some."""
from collections.abc import Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.box import L1
from mmdet_centernet.models.properties.branch import Branch, Config, flip_map, heatmap_branch
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.models.properties.target import CellTarget, HeatmapTarget
from mmdet_centernet.ops.heatmap import (
    cell_positions,
    draw_sparse_heatmap,
    find_cell_owners,
    find_channel_peaks,
    find_nearest_peaks,
)
from mmdet_centernet.ops.skeletons import are_same_pairs, find_labels, share_skeleton, swap_pairs
from mmdet_centernet.ops.transforms import add_padded, boxes_around
from mmdet_centernet.registry import TASK_UTILS


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
        UserError: for a second one of the same class.
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
        loss_displacement: Config | None = None,
        loss_heatmap: Config | None = None,
        loss_offset: Config | None = None,
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
            self.branches[self.offset] = Branch(
                2, loss_offset or L1, peaks=self.heatmap, official_name='hp_offset')

    def use_properties(self, earlier: Sequence[Property]) -> None:
        """Check that no class has the keypoints of two properties."""
        for each in earlier:
            if not isinstance(each, Keypoints):
                continue
            if self.classes is None or each.classes is None:
                raise UserError('the head has two properties Keypoints, of which one is for all '
                                'classes: give each its own classes')
            both = [name for name in self.classes if name in each.classes]
            if both:
                raise UserError(f'two properties Keypoints of the head have the class '
                                f'{both[0]!r}: a class has the keypoints of one of them')

    def use_dataset(self, metainfo: Config) -> None:
        """Look up the labels of ``classes``, and take the flip pairs of their skeleton.

        Args:
            metainfo (dict): see :func:`mmdet_centernet.ops.skeletons.share_skeleton`.

        Raises:
            UserError: if the classes or their keypoints are not those of the data set.
        """
        if self.classes is not None:
            self.labels = find_labels(metainfo, self.classes, self._title)
        count, pairs = share_skeleton(metainfo, self.classes, self._title) or (None, None)
        if count not in (None, self.num_keypoints):
            raise UserError(
                f'the data set has {count} keypoints, but {self._title} predicts '
                f'{self.num_keypoints}: set '
                f'{"model.bbox_head." if self.classes is None else "its "}num_keypoints={count}')
        if self.flip_pairs is None:
            self.flip_pairs = pairs

    def compare_pairs(self, metainfo: Config) -> None:
        """Raise a UserError if the flip pairs are not those of a data set that has some."""
        _, pairs = share_skeleton(metainfo, self.classes, self._title) or (None, None)
        if pairs is None or self.flip_pairs is None or are_same_pairs(pairs, self.flip_pairs):
            return
        ours = [tuple(pair) for pair in self.flip_pairs]
        setting = f'{self._title}.flip_pairs is {ours}: leave flip_pairs out of the model'
        raise UserError(
            f'the data set has the pairs of left and right keypoints {pairs}, but ' + (
                setting if self._gives_pairs else
                f'the one before it had {ours}: give both the same skeleton'))

    def check(self, instances: InstanceData, meta: Config, num_classes: int) -> None:
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
        positions, owner, weight, _ = find_cell_owners(
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
                keypoints, *find_channel_peaks(
                    outputs[self.heatmap], outputs.get(self.offset), peaks.scores.shape[1],
                    peaks.kernel),
                self.snap_score)
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
        self, fields: Fields, mine: Tensor, detections: Fields
    ) -> Fields:
        """Merge fields of the own classes [B, N] with those of other skeletons."""
        keypoints = torch.where(mine[..., None, None], fields['keypoints'], 0.0)
        scores = torch.where(mine[..., None], fields['keypoint_scores'], 0.0)
        if 'keypoints' in detections:  # where these are not 0, the others are
            keypoints = add_padded(keypoints, detections['keypoints'], dim=2)
            scores = add_padded(scores, detections['keypoint_scores'], dim=2)
        return dict(fields, keypoints=keypoints, keypoint_scores=scores)

    def describe(self) -> Config:
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
        return swap_pairs(self.flip_pairs, self.num_keypoints)
