# The original implementation's ddd_3dop: monocular 3D boxes on KITTI, 3DOP's split. Published for
# cars (easy / moderate / hard, 11 recall points, IoU 0.7 in the image, 0.5 in bird's-eye view): 2D
# AP 96.9 / 87.8 / 79.2, AOS 93.9 / 84.3 / 75.7, BEV AP 34.0 / 30.5 / 26.8. Two GPUs, 7 and 9
# images.
_base_ = [
    '../_base_/models/official_mono3d_dla34.py',
    '../_base_/datasets/kitti_3dop.py',
    '../_base_/schedules/adam_70e_kitti.py',
    '../_base_/mono3d_runtime.py',
]
