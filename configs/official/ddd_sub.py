# The original implementation's ddd_sub: as ddd_3dop.py with SubCNN's split, whose image numbers
# are in data/kitti/ImageSets_subcnn/{train,val}.txt.
_base_ = [
    '../_base_/models/official_mono3d_dla34.py',
    '../_base_/datasets/kitti_3dop.py',
    '../_base_/schedules/adam_70e_kitti.py',
    '../_base_/mono3d_runtime.py',
]

train_dataloader = dict(dataset=dict(ann_file='ImageSets_subcnn/train.txt'))
val_dataloader = dict(dataset=dict(ann_file='ImageSets_subcnn/val.txt'))
test_dataloader = val_dataloader
val_evaluator = dict(split_file=_base_.data_root + 'ImageSets_subcnn/val.txt')
test_evaluator = val_evaluator
