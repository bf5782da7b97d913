# Monocular 3D boxes on KITTI with DLA-34, 16 images a step. Loss, optimizer, schedule and crop are
# the paper's, because nobody has published a CenterNet's 3D boxes with others; normalization is
# that of centernet_dla34_140e_coco.py. Reference, published by the original implementation for
# its own recipe (official/ddd_3dop.py), cars, easy / moderate / hard, 11 recall points: BEV AP
# at IoU 0.5 34.0 / 30.5 / 26.8.
_base_ = [
    './_base_/models/centernet_mono3d_dla34.py',
    './_base_/datasets/kitti_3dop.py',
    './_base_/schedules/adam_70e_kitti.py',
    './_base_/mono3d_runtime.py',
]
