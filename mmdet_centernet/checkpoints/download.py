"""Downloads. The readers of the files check their content."""
import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch

from mmdet_centernet.errors import UserError


def hub_folder() -> Path:
    """Return the folder of torch's hub cache that checkpoints are downloaded into."""
    return Path(torch.hub.get_dir(), 'checkpoints')


def download(url: str, path: Path, hash_prefix: str | None = None) -> None:
    """Download a file; a partial download is discarded.

    Args:
        url (str): ``http://`` or ``https://``.
        path (Path): Its folder is created if it is missing.
        hash_prefix (str, optional): Start of the SHA-256 that the file must have.

    Raises:
        OSError: If the download fails or the file has another hash.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # This writes to a file next to the path and renames it at the end.
        torch.hub.download_url_to_file(url, str(path), hash_prefix=hash_prefix)
    except (RuntimeError, ValueError) as error:  # a wrong hash, a malformed URL
        raise OSError(str(error)) from error


def fetch(url: str) -> Path:
    """Return the local copy of a file, downloaded unless torch's hub cache has it.

    MMEngine's own loader unpickles the file, which may run code, and uses any cached file of
    the same name. Here nothing is read, and the name of the copy holds a hash of the whole URL.

    Args:
        url (str): ``http://`` or ``https://``.

    Returns:
        Path: The complete copy.

    Raises:
        UserError: If the URL is of another kind, or cannot be downloaded.
    """
    parts = urlparse(url)
    if parts.scheme not in ('http', 'https'):
        raise UserError(f'{url} is neither a file nor an http(s) URL: download it by other '
                        'means and give the path of the file')
    name = PurePosixPath(parts.path)
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    path = hub_folder() / f'{name.stem}.{digest}{name.suffix}'
    if not path.is_file():
        try:
            download(url, path)
        except OSError as error:
            raise UserError(f'{url} cannot be downloaded ({error}): download it by other means '
                            'and give the path of the file') from error
    return path


def local_checkpoint(path: str) -> str:
    """Return a checkpoint as a local file.

    Args:
        path (str): A file, or its http(s) URL, which is downloaded first because MMEngine's own
            loader would run code in the file.

    Returns:
        str: The file. Other URLs (``pretrained://...``) are returned unchanged.
    """
    return str(fetch(path)) if path.startswith(('http://', 'https://')) else path
