# The original's ddd_sub: as ddd_3dop.py, the split of SubCNN.
_base_ = [
    '../_base_/models/official_mono3d_dla34.py',
    '../_base_/datasets/kitti_sub.py',
    '../_base_/schedules/adam_70e_kitti.py',
    '../_base_/mono3d_runtime.py',
]
