"""The DCNv2 layer: its kernel, and its form in an exported graph."""
import pytest
import torch

import mmdet_centernet  # noqa: F401
from mmdet_centernet.models.layers.dcn import DCNv2


def make_layer(**settings):
    torch.manual_seed(0)
    layer = DCNv2(**{**dict(in_channels=8, out_channels=6, kernel_size=3, padding=1), **settings})
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.1)
    return layer.eval()


def operators(program):
    return {str(node.target) for node in program.graph.nodes if node.op == 'call_function'}


@pytest.mark.parametrize('settings', [
    dict(),
    dict(deform_groups=2, groups=2, stride=2, bias=False),
    dict(kernel_size=(3, 1), padding=(1, 0), dilation=(1, 2), out_channels=12),
], ids=['plain', 'groups', 'other kernel'])
@pytest.mark.parametrize('form', ['grid_sample', 'deform_conv'])
def test_exported_forms_equal_the_layer(form, settings):
    """At another size and batch than it was exported for."""
    layer = make_layer(**settings)
    dims = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with DCNv2.exported_as(form), torch.inference_mode():
        program = torch.export.export(
            layer, (torch.randn(2, 8, 10, 14), ), dynamic_shapes=(dims, ))
    assert DCNv2.export_form == 'grid_sample'
    one_node = 'mmdet_centernet.deform_conv2d.default' in operators(program)
    assert one_node == (form == 'deform_conv')
    for shape in (2, 8, 10, 14), (3, 8, 7, 12):
        x = torch.randn(shape)
        with torch.inference_mode():
            torch.testing.assert_close(program.module()(x), layer(x), rtol=1e-4, atol=1e-5)


def test_unknown_form_is_refused():
    with pytest.raises(ValueError, match="form = 'onnx' must be"), DCNv2.exported_as('onnx'):
        pass
