# DLA-34 with deep aggregation by DCNv2 (Objects as Points, Sec. 5), trained and fed as in the
# paper's own code.
_base_ = ['./centernet_dla34.py', './official_recipe.py']

model = dict(
    data_preprocessor=_base_.official_preprocessor,
    neck=dict(conv_bias=True),
    bbox_head=_base_.official_head)
