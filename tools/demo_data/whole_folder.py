"""Data set folders that are complete or absent."""
import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from mmdet_centernet.errors import UserError

STAMP = 'made_by.json'


def run(make_dataset, arguments):
    """Make a data set as the command line says, and report an error in one line.

    Args:
        make_dataset (callable): of the tool.
        arguments (argparse.Namespace): its arguments, by name.

    Returns:
        int: the exit status.
    """
    try:
        make_dataset(**vars(arguments))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def has_stamp(folder, stamp):
    """Return whether a folder (Path) was made with the options of a stamp (dict)."""
    try:
        return json.loads((folder / STAMP).read_text()) == stamp
    except (OSError, ValueError):
        return False


def is_complete(folder, stamp, splits):
    """Return whether a folder is complete and was made with these options.

    Args:
        folder (Path): with ``annotations/<split>.json`` and ``<split>/<file_name>``.
        stamp (dict): what the folder's stamp must say.
        splits (Iterable[str]): their names.

    Returns:
        bool: also False if there is no such folder.
    """
    if not has_stamp(folder, stamp):
        return False
    try:
        for split in splits:
            content = json.loads((folder / 'annotations' / f'{split}.json').read_text())
            if not all((folder / split / image['file_name']).is_file()
                       for image in content['images']):
                return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _is_own(folder, tool):
    """Return whether deleting ``folder`` loses nothing but what ``tool`` wrote."""
    if not folder.is_dir():
        return False
    try:
        return json.loads((folder / STAMP).read_text())['tool'] == tool
    except FileNotFoundError:
        return not any(folder.iterdir())
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextlib.contextmanager
def whole_folder(out, stamp):
    """Make ``out`` anew in one step at the end, or leave everything as it was.

    A folder that carries the stamp of the same tool, or is empty, is replaced; any other is
    refused.

    Args:
        out (Path): the folder.
        stamp (dict): is written into it as ``made_by.json``; names the ``tool``.

    Yields:
        tuple[Path, Path]: an empty folder to fill, which becomes ``out`` if no error
        leaves the block, and one for files needed meanwhile.

    Raises:
        UserError: if ``out`` holds other files or cannot be written.
    """
    if out.exists() and not _is_own(out, stamp['tool']):
        raise UserError(
            f'{out} exists and was not made by this tool: move it away or choose another --out')
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the last step is a rename within one file system.
        work = Path(tempfile.mkdtemp(prefix=f'.{out.name}-', dir=out.parent))
    except OSError as error:
        raise UserError(f'cannot write to {out.parent} ({error.strerror})') from None
    try:
        new = work / 'new'
        new.mkdir()
        yield new, work
        (new / STAMP).write_text(json.dumps(stamp, indent=1) + '\n')
        if out.exists():
            os.replace(out, work / 'old')
        os.replace(new, out)
    except OSError as error:
        raise UserError(f'cannot write {out} ({error})') from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
