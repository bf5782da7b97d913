"""Checkpoints in the work directory of a run."""
import os
import shutil
import time
from pathlib import Path

from mmdet_centernet.errors import UserError


def latest_checkpoint(work_dir):
    """The checkpoint that ``--resume`` goes on from.

    Args:
        work_dir (str): May have been moved since: the file's name is looked for in it too.

    Returns:
        str | None: None if the folder has none.

    Raises:
        UserError: If the folder names one that is gone.
    """
    pointer = Path(work_dir) / 'last_checkpoint'
    if not pointer.is_file():
        return None
    named = Path(pointer.read_text().strip())
    for path in (Path(work_dir) / named.name, named):
        if path.is_file():
            return str(path)
    raise UserError(f'{pointer} names {named.name}, which is gone: give the checkpoint to go on '
                    'from as --resume PATH')


def set_aside(work_dir, keep=None, newer_than=None):
    """Move an earlier run's checkpoints into a folder of their own, so that none is overwritten.

    Args:
        work_dir (str): Of the run that begins.
        keep (str, optional): A checkpoint that stays.
        newer_than (float, optional): Only files changed after this time (seconds).

    Returns:
        Path | None: The new folder, None if there was nothing to move.
    """
    folder = Path(work_dir)
    files = [f for f in sorted(folder.glob('*.pth'))
             if (keep is None or not os.path.samefile(f, keep))
             and (newer_than is None or f.stat().st_mtime > newer_than)]
    if not files:
        return None
    stamp = time.strftime('%Y%m%d_%H%M%S', time.localtime(max(f.stat().st_mtime for f in files)))
    target = folder / f'earlier_{stamp}'
    number = 1
    while target.exists():
        number += 1
        target = folder / f'earlier_{stamp}_{number}'
    target.mkdir()
    pointer = folder / 'last_checkpoint'
    for file in [*files, *([pointer] if keep is None and pointer.is_file() else [])]:
        shutil.move(str(file), target / file.name)
    return target
