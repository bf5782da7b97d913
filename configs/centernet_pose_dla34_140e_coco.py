# Human pose with DLA-34, 8 GPUs x 16 images. Loss, optimizer, schedule and crop are the paper's,
# because nobody has published the pose of a CenterNet with others; normalization is that of
# centernet_dla34_140e_coco.py. It starts from ImageNet; to start from that config's detector,
# which is better: `--cfg-options load_from=work_dirs/centernet_dla34_140e_coco/epoch_140.pth`.
# Reference: 54.7 keypoint AP on COCO val2017 with flip, published by the original implementation
# for its own recipe, which starts from a detector (official/multi_pose_dla_1x.py).
_base_ = [
    './_base_/models/centernet_pose_dla34.py',
    './_base_/datasets/coco_pose.py',
    './_base_/schedules/adam_140e.py',
    './_base_/pose_runtime.py',
]
