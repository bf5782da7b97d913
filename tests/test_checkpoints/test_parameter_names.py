"""Tables of parameter names, which follow the records of the heads' branches."""
import pytest

from mmdet_centernet.checkpoints.parameter_names import (
    NameTable,
    hourglass_table,
    mmdetection_table,
    official_branches,
    published_branches,
    resnet_table,
)
from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.properties.depth import Depth
from mmdet_centernet.models.properties.keypoints import Keypoints


def test_published_branches_are_those_of_the_originals_tasks():
    assert published_branches() == {
        'hm': 'heatmap', 'wh': 'wh', 'reg': 'offset', 'hps': 'keypoint_displacement',
        'hm_hp': 'keypoint_heatmap', 'hp_offset': 'keypoint_offset', 'dep': 'depth',
        'rot': 'orientation', 'dim': 'dims'}


def test_tables_follow_the_branches_of_a_composed_head():
    head = CenterHead(2, 8, 8, [Depth(), Keypoints(4, name='left', with_heatmap=False)])
    branches = official_branches(head)
    assert branches == {'hm': 'heatmap', 'dep': 'depth', 'hps': 'left_displacement'}
    ours = 'bbox_head.stacks.0.left_displacement.2.bias'
    for make_table, theirs in (
            (resnet_table, 'hps.2.bias'), (hourglass_table, 'hps.0.1.bias'),
            (mmdetection_table, 'bbox_head.left_displacement_head.2.bias')):
        table = make_table(branches)
        assert table.to_ours(theirs) == ours, theirs
        assert table.to_theirs(ours) == theirs
        assert table.to_theirs(ours.replace('left_displacement', 'wh')) is None


def test_of_two_branches_with_one_official_name_the_first_has_it():
    head = CenterHead(2, 8, 8, [
        Keypoints(4, name=name, classes=[name]) for name in ('left', 'right')])
    table = resnet_table(official_branches(head))
    assert table.to_ours('hps.0.weight') == 'bbox_head.stacks.0.left_displacement.0.weight'
    assert table.to_theirs('bbox_head.stacks.0.right_displacement.0.weight') is None


@pytest.mark.parametrize('theirs, ours', [
    ('deconv.3.weight', 'layers.1.up.weight'), ('deconv.4.bias', 'layers.1.bn.bias'),
    ('deconv.5.weight', None), ('deconv.1.0.weight', None), ('base.a.0.b', 'backbone.a.0.b')])
def test_name_table_fields(theirs, ours):
    table = NameTable([
        ('deconv.<3k>.<leaf>', 'layers.<k>.up.<leaf>'),
        ('deconv.<3k+1>.<leaf>', 'layers.<k>.bn.<leaf>'), ('base.<*>', 'backbone.<*>')])
    assert table.to_ours(theirs) == ours
    if ours is not None:
        assert table.to_theirs(ours) == theirs
