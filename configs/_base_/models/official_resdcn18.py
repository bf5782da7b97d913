# ResNet-18 with DCNv2, fed and trained as in the original implementation: BGR with the
# statistics of COCO's pixels, its radius formula, every box counts where several share a cell,
# probabilities are kept 1e-4 away from 0 and 1. Batch normalization learns in the whole network.
_base_ = './centernet_r18_dcn.py'

model = dict(
    data_preprocessor=dict(
        # (0.40789654, 0.44719302, 0.47026115) and (0.28863828, 0.27408164, 0.27809835) x 255
        mean=[104.0136177, 114.0342201, 119.91659325],
        std=[73.6027614, 69.8908182, 70.91507925],
        bgr_to_rgb=False),
    neck=dict(conv_bias=True),
    bbox_head=dict(
        normalizer='objects',
        coder=dict(radius='official', min_overlap=0.7, shared_cells='all'),
        loss_center_heatmap=dict(min_probability=1e-4)))
