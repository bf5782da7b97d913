# Data loaders, and the paper's pipelines for boxes (Objects as Points, Sec. 5). Each file in
# datasets/ says which images there are and what differs from this.
#
# Training: random crop, scale and flip to 512 x 512, color jitter. Testing: at the image's own
# resolution (`keep_res`); for a fixed size replace CenterPad with
# dict(type='mmdet_centernet.CenterResize', size=(512, 512)).
backend_args = None
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'homography_matrix')

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.CenterAffine', crop_size=(512, 512)),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys)
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=backend_args),
    dict(type='mmdet_centernet.CenterPad', pad_mask=31),
    # After the padding, so that the boxes stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys)
]
# `--tta` tests with this pipeline and the `tta_model` of default_runtime.py, which flips the
# network's input itself: flip testing. Each image comes once; at several scales it would come
# once per scale (docs/recipes.md).
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]

# Batch size and workers are those of one process. With num_workers=0, set
# persistent_workers=False.
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
