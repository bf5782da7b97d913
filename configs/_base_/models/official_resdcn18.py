# ResNet-18 with DCNv2, trained and fed as in the paper's own code. Batch normalisation learns in
# the whole network.
_base_ = ['./centernet_r18_dcn.py', './official_recipe.py']

model = dict(
    data_preprocessor=_base_.official_preprocessor,
    neck=dict(conv_bias=True),
    bbox_head=_base_.official_head)
