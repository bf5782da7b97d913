"""Files inside zip archives, for everything that takes MMEngine's ``backend_args``."""
import difflib
import os
import posixpath
import tempfile
import zipfile
import zlib
from contextlib import contextmanager

from mmengine.fileio import BaseStorageBackend, LocalBackend, register_backend

from mmdet_centernet.errors import UserError

# Between the archive and the name of a file in it.
SEPARATOR = '.zip@/'


@register_backend('zip')
class ZipBackend(BaseStorageBackend):
    """Read ``data/coco/train2017.zip@/train2017/1.jpg`` without unpacking the archive.

    ``backend_args=dict(backend='zip')`` selects it, for images, annotation files or both. What
    stands after ``@/`` is the name in the archive. A path without ``.zip@/`` is a local file.

    Each process opens an archive for itself when it first reads from it: workers that shared
    their parent's open file would move each other's place in it.

    Raises:
        UserError: naming the archive, if it is missing or broken, or has no such file (then
            with the nearest name that it has).
    """

    def __init__(self):
        self._local = LocalBackend()
        # Archive -> (process, its open archive).
        self._archives = {}

    def get(self, filepath):
        """Return the bytes of a file."""
        archive, separator, member = str(filepath).partition(SEPARATOR)
        if not separator:
            return self._local.get(filepath)
        archive += '.zip'
        opened = self._open(archive)
        try:
            return opened.read(member)
        except KeyError:
            raise UserError(
                f'{archive} has no file {member!r}; the nearest that it has is '
                f'{_nearest(member, opened.namelist())}') from None
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
            # Broken or cut short; RuntimeError: locked with a password, or packed in a way
            # that Python does not know.
            raise UserError(f'{member!r} in {archive} cannot be read: {error}') from None

    def get_text(self, filepath, encoding='utf-8'):
        """Return the text of a file."""
        return self.get(filepath).decode(encoding)

    @contextmanager
    def get_local_path(self, filepath):
        """Unpack a file for as long as the context lasts; a local one stays where it is."""
        if SEPARATOR not in str(filepath):
            yield str(filepath)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, posixpath.basename(str(filepath)))
            with open(path, 'wb') as file:
                file.write(self.get(filepath))
            yield path

    def _open(self, archive):
        """This process's own open archive."""
        process, opened = self._archives.get(archive, (None, None))
        if process != os.getpid():
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


def _nearest(member, names):
    """The name most like one that is not there, for a sentence."""
    base = posixpath.basename(member)
    elsewhere = [name for name in names if posixpath.basename(name) == base and base]
    nearest = elsewhere[:1] or difflib.get_close_matches(member, names, n=1, cutoff=0)
    return repr(nearest[0]) if nearest else 'none at all'
