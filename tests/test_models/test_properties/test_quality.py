"""Quality of boxes: its target is the IoU of the model's own box."""
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from torch.nn import functional as F

from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import LTRB, Box, Depth, Quality

METAS = [dict(img_path='a.png'), dict(img_path='b.png')]
BOX = torch.tensor([[8.0, 8.0, 40.0, 24.0]])  # center in cell (6, 4) of stride 4
SHAPE = (2, 2, 9, 14)


def make_head(box, **options):
    return CenterHead(2, 4, 4, properties=[box, Quality(**options)],
                      test_cfg=dict(max_per_img=3, topk=5))


def make_instances():
    return [InstanceData(bboxes=BOX, labels=torch.tensor([1])),
            InstanceData(bboxes=BOX[:0], labels=torch.zeros(0, dtype=torch.long))]


@pytest.mark.parametrize('kind', ['ltrb', 'box'])
def test_loss_compares_with_the_iou_of_the_own_box(kind):
    head = make_head(LTRB(cells='center') if kind == 'ltrb' else Box(2, per_class=True))
    output = dict(heatmap=torch.zeros(SHAPE), quality=torch.randn(2, 1, 9, 14).requires_grad_())
    if kind == 'ltrb':
        # From the middle of the cell at (26, 18) px: the box [8, 8, 40, 20].
        sides = torch.tensor([18.0, 10.0, 14.0, 2.0]) / 4
        output['ltrb'] = sides[None, :, None, None].repeat(2, 1, 9, 14).requires_grad_()
    else:
        output['offset'] = torch.zeros(2, 2, 9, 14).requires_grad_()  # center (24, 16) px
        wh = torch.tensor([1.0, 1.0, 8.0, 2.0])  # of class 1: 32 x 8 px
        output['wh'] = wh[None, :, None, None].repeat(2, 1, 9, 14).requires_grad_()
    iou = 12 / 16 if kind == 'ltrb' else 8 / 16
    losses = head.loss_by_feat([output], make_instances(), METAS)
    expected = F.binary_cross_entropy_with_logits(
        output['quality'][0, 0, 4, 6], torch.tensor(iou))
    torch.testing.assert_close(losses['loss_box_quality'], expected, rtol=1e-3, atol=1e-3)
    losses['loss_box_quality'].backward()
    assert output['quality'].grad.count_nonzero() == 1
    assert all(output[name].grad is None or not output[name].grad.any()
               for name in ('ltrb', 'offset', 'wh') if name in output)


def make_output(probabilities, qualities):
    """Peaks of class 0 in every third cell of the first row."""
    output = dict(heatmap=torch.full((1, 2, 9, 14), -30.0),
                  quality=torch.full((1, 1, 9, 14), -30.0), ltrb=torch.ones(1, 4, 9, 14))
    for index, (p, q) in enumerate(zip(probabilities, qualities, strict=True)):
        output['heatmap'][0, 0, 0, 3 * index] = torch.tensor(p).logit()
        output['quality'][0, 0, 0, 3 * index] = torch.tensor(q).logit()
    return output


@pytest.mark.parametrize('exponent', [0.0, 0.4, 1.0])
def test_scores_are_mixed_and_sorted_with_what_belongs_to_them(exponent):
    p, q = [0.9, 0.8, 0.5, 0.3], [0.1, 0.9, 0.6, 0.95]
    head = make_head(LTRB(), exponent=exponent)
    found = head.decode(make_output(p, q))
    mixed = [a ** (1 - exponent) * b**exponent for a, b in zip(p, q)]
    order = sorted(range(4), key=lambda index: -mixed[index])
    torch.testing.assert_close(
        found['scores'][0, :4], torch.tensor([mixed[index] for index in order]))
    assert found['bboxes'][0, :4, 0].tolist() == [12 * index - 2 for index in order]
    results = head.predict_by_feat([make_output(p, q)], [dict(homography_matrix=np.eye(3))])
    assert results[0].bboxes[:, 0].tolist() == [12 * index - 2 for index in order[:3]]


def test_missing_peaks_keep_the_score_0():
    head = make_head(LTRB(), exponent=1.0)
    head.test_cfg = dict(topk=200)
    output = make_output([0.9], [0.5])
    output['heatmap'][:] = torch.arange(2 * 9 * 14).view(1, 2, 9, 14)  # one peak per class
    scores = head.decode(output)['scores'][0]
    assert (scores > 0).sum() == 2


def test_quality_needs_boxes_before_it():
    with pytest.raises(ValueError, match='Quality needs boxes'):
        CenterHead(2, 4, 4, properties=[Depth(), Quality()])
    with pytest.raises(ValueError, match='Quality needs boxes'):
        CenterHead(2, 4, 4, properties=[Quality(), LTRB()])


@pytest.mark.parametrize('exponent', [-0.1, 1.1])
def test_exponent_must_be_a_fraction(exponent):
    with pytest.raises(ValueError, match='must lie in'):
        Quality(exponent=exponent)


def test_without_an_exponent_qualities_are_for_training_alone():
    head = make_head(LTRB(), exponent=0)
    other = make_head(LTRB())
    other.load_state_dict(head.state_dict())
    features = [torch.randn(2, 4, 9, 14)]
    assert 'quality' in head(features)[0][0]
    assert 'box_quality' in head.encode(make_instances(), METAS, SHAPE)
    last = head.forward_last(features)
    assert set(last) == {'heatmap', 'ltrb'}
    decoded, mixed = head.decode(last), other.decode(other.forward_last(features))
    assert decoded.keys() == mixed.keys()
    # The scores are the probabilities, whose order the other's qualities changed.
    assert not torch.equal(decoded['scores'], mixed['scores'])
    plain = CenterHead(2, 4, 4, properties=[LTRB()], test_cfg=head.test_cfg)
    plain.load_state_dict(head.state_dict(), strict=False)
    torch.testing.assert_close(plain.decode(last), decoded)
