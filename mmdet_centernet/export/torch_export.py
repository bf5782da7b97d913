"""``torch.export`` archives and AOTInductor packages of detectors."""
import zipfile
from pathlib import Path

import torch
from torch.export import ExportedProgram

from mmdet_centernet.errors import UserError
from mmdet_centernet.runtime.metadata import KEY


def write(program: ExportedProgram, place: Path, text: str, compiled: bool = False) -> None:
    """Write a program.

    Args:
        program (ExportedProgram): of the detector.
        place (Path): ``*.pt2``.
        text (str): metadata.
        compiled (bool): compile it with AOTInductor for this machine, which needs a C++
            compiler.

    Raises:
        UserError: if it cannot be compiled here.
    """
    if not compiled:
        torch.export.save(program, str(place), extra_files={f'{KEY}.json': text})
        return
    try:
        torch._inductor.aoti_compile_and_package(program, package_path=str(place))
    except Exception as error:  # AOTInductor's errors have no class in common
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError('AOTInductor cannot compile the model here, which needs a C++ compiler '
                        f'and the headers of Python: {reason[:200]}') from error
    with zipfile.ZipFile(place, 'a') as archive:
        folder = archive.namelist()[0].split('/')[0]
        archive.writestr(f'{folder}/extra/{KEY}.json', text)
