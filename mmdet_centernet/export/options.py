"""Options of an exported graph."""
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mmdet_centernet.errors import UserError

FORMATS = {'onnx': '.onnx', 'openvino': '.xml', 'pt2': '.pt2', 'aotinductor': '.pt2'}
ONNX_FORMATS = ('onnx', 'openvino')  # of a graph that is written as an ONNX model first
INPUT_KINDS = ('uint8', 'float')
DcnForm = Literal['grid_sample', 'deform_conv']
# The first operator set with the operators of the graph, and the last one that is written.
OPSETS = {'grid_sample': (18, 23), 'deform_conv': (19, 23)}
DEFAULT_OPSET = 20


@dataclass(frozen=True)
class ExportOptions:
    """Options of an exported graph; see :func:`mmdet_centernet.export.export.export`.

    Raises:
        UserError: if an option is wrong, or several are wrong together.
    """

    format: str = 'onnx'
    shape: tuple[int, int] | None = None
    dynamic: bool = False
    batch: int | None = 1
    kind: str = 'uint8'
    flip: bool = False
    raw: bool = False
    dcn: DcnForm = 'grid_sample'
    opset: int = DEFAULT_OPSET

    def __post_init__(self) -> None:
        for option, value, known in (('format', self.format, tuple(FORMATS)),
                                     ('input', self.kind, INPUT_KINDS),
                                     ('dcn', self.dcn, get_args(DcnForm))):
            if value not in known:
                raise UserError(f'--{option} {value} is unknown: give one of {", ".join(known)}')
        if self.dcn == 'deform_conv' and self.format != 'onnx':
            raise UserError('--dcn deform_conv is an operator of ONNX, which '
                            f'{self.format} does not have: use grid_sample')
        if self.format == 'aotinductor' and self.kind == 'uint8':
            raise UserError('--format aotinductor needs --input float: PyTorch 2.13 compiles '
                            'models of uint8 images to ones with other detections')
        first, last = OPSETS[self.dcn]
        if self.format in ONNX_FORMATS and not first <= self.opset <= last:
            raise UserError(f'--opset {self.opset} is not supported: with --dcn {self.dcn} it '
                            f'can be {first} to {last}')
        if self.shape is not None and self.dynamic:
            raise UserError('--shape gives one input size and --dynamic any: give one of them')
        if self.batch is not None and self.batch < 1:
            raise UserError(f'--batch {self.batch} must be at least 1, or dynamic')
        if self.flip and self.raw:
            raise UserError('--flip averages outputs before they are decoded, and --raw does not '
                            'decode: give one of them')


def choose_format(output: Path, format: str | None = None) -> str:
    """Return the format of a file.

    Args:
        output (Path): the file.
        format (str, optional): one of ``FORMATS``; None chooses by the file's extension.

    Raises:
        UserError: if its extension belongs to another format, or is unknown.
    """
    if format is None:
        format = next((name for name, extension in FORMATS.items()
                       if extension == output.suffix), None)
        if format is None:
            raise UserError(f'--output {output} has the extension {output.suffix or "(none)"}: '
                            'name it *.onnx, *.xml (OpenVINO) or *.pt2 (torch.export)')
    if format not in FORMATS:
        raise UserError(f'--format {format} is unknown: give one of {", ".join(FORMATS)}')
    if output.suffix != FORMATS[format]:
        raise UserError(f'--output {output} of format {format} must be named *{FORMATS[format]}')
    if output.is_dir():
        raise UserError(f'--output {output} is a folder: name a file')
    return format
