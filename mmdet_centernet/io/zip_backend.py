"""Files inside zip archives, for everything that accepts MMEngine's ``backend_args``."""
import difflib
import os
import posixpath
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.fileio import BaseStorageBackend, LocalBackend, register_backend

from mmdet_centernet.errors import UserError

# Between the archive and the name of a file in it.
SEPARATOR = '.zip@/'


@register_backend('zip')
class ZipBackend(BaseStorageBackend):
    """Storage backend for paths such as ``data/coco/train2017.zip@/train2017/1.jpg``.

    ``backend_args=dict(backend='zip')`` selects it, for images, annotation files or both. The part
    after ``@/`` is the name in the archive. A path without ``.zip@/`` is a local file.

    Each process opens an archive for itself when it first reads from it, because workers that
    shared their parent's open file would change each other's position in it.

    Raises:
        UserError: naming the archive, if it is missing or broken, or has no such file (then with
            the most similar name that it has).
    """

    def __init__(self) -> None:
        self._local = LocalBackend()
        # Archive -> (process id, the archive that this process opened).
        self._archives: dict[str, tuple[int, zipfile.ZipFile]] = {}

    def get(self, filepath: str | os.PathLike[str]) -> bytes:
        """Return the bytes of a file."""
        archive, separator, member = str(filepath).partition(SEPARATOR)
        if not separator:
            data: bytes = self._local.get(filepath)
            return data
        archive += '.zip'
        opened = self._open(archive)
        try:
            return opened.read(member)
        except KeyError:
            raise UserError(
                f'{archive} has no file {member!r}; the nearest that it has is '
                f'{_nearest(member, opened.namelist())}') from None
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
            # Broken or truncated; RuntimeError: encrypted, or compressed in a way that Python
            # does not support.
            raise UserError(f'{member!r} in {archive} cannot be read: {error}') from None

    def get_text(self, filepath: str | os.PathLike[str], encoding: str = 'utf-8') -> str:
        """Return the text of a file."""
        return self.get(filepath).decode(encoding)

    @contextmanager
    def get_local_path(self, filepath: str | os.PathLike[str]) -> Iterator[str]:
        """Extract a file while the context lasts; yield the path of a local file unchanged."""
        if SEPARATOR not in str(filepath):
            yield str(filepath)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, posixpath.basename(str(filepath)))
            with open(path, 'wb') as file:
                file.write(self.get(filepath))
            yield path

    def _open(self, archive: str) -> zipfile.ZipFile:
        """Open an archive, once per process."""
        process, opened = self._archives.get(archive, (None, None))
        if opened is None or process != os.getpid():
            try:
                opened = zipfile.ZipFile(archive)
            except FileNotFoundError:
                raise UserError(
                    f'archive {archive} does not exist: check data_root and data_prefix of the '
                    'data set') from None
            except (zipfile.BadZipFile, OSError) as error:
                raise UserError(
                    f'archive {archive} cannot be read ({error}): copy it again') from None
            self._archives[archive] = os.getpid(), opened
        return opened


def _nearest(member: str, names: Sequence[str]) -> str:
    """Return the name most similar to a missing one, for an error message."""
    base = posixpath.basename(member)
    elsewhere = [name for name in names if posixpath.basename(name) == base and base]
    nearest = elsewhere[:1] or difflib.get_close_matches(member, names, n=1, cutoff=0)
    return repr(nearest[0]) if nearest else 'none at all'
