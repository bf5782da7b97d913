"""Checkpoints in the work directory of a run."""
import os
import shutil
import time
from pathlib import Path

from mmdet_centernet.errors import UserError


def latest_checkpoint(work_dir: str | os.PathLike[str]) -> str | None:
    """Find the checkpoint that ``--resume`` continues from.

    Args:
        work_dir (str | PathLike): May have been moved since then: the file's name is looked up
            in it too.

    Returns:
        str | None: None if the folder has none.

    Raises:
        UserError: If the folder names a file that no longer exists.
    """
    pointer = Path(work_dir) / 'last_checkpoint'
    if not pointer.is_file():
        return None
    named = Path(pointer.read_text().strip())
    for path in (Path(work_dir) / named.name, named):
        if path.is_file():
            return str(path)
    raise UserError(f'{pointer} names {named.name}, which no longer exists: name the checkpoint '
                    'to continue from with --resume PATH')


def set_aside(
    work_dir: str | os.PathLike[str], keep: str | None = None, newer_than: float | None = None
) -> Path | None:
    """Move an earlier run's checkpoints into a separate folder, so that none is overwritten.

    Args:
        work_dir (str | PathLike): The work directory of the new run.
        keep (str, optional): A checkpoint to leave in place.
        newer_than (float, optional): Move only files changed after this time (seconds since
            the epoch).

    Returns:
        Path | None: The new folder; None if there was nothing to move.
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
