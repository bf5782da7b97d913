# As kitti_3dop.py with SubCNN's split: data/kitti/ImageSets_subcnn/{train,val}.txt.
_base_ = './kitti_3dop.py'

train_dataloader = dict(dataset=dict(ann_file='ImageSets_subcnn/train.txt'))
val_dataloader = dict(dataset=dict(ann_file='ImageSets_subcnn/val.txt'))
test_dataloader = val_dataloader

val_evaluator = dict(split_file=_base_.data_root + 'ImageSets_subcnn/val.txt')
test_evaluator = val_evaluator
