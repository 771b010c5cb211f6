"""Files of weights: reading them without running code, finding them in a cache, downloading them."""

from __future__ import annotations

import importlib.util
import os
import pickle
import ssl
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from headclust.errors import FileFormatError, SettingError, one_line
from headclust.network import is_offline
from headclust.progress import note

if TYPE_CHECKING:
    import torch

# Keys under which training scripts store the weights, beside optimizer state and counters.
_WRAPPERS = ("state_dict", "model")
# File names of the weights in timm's repositories on the Hugging Face hub.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
# File names of open_clip's complete models, image and text.
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_PROBE_SECONDS = 5
# Magic number at the start of files of PyTorch before 1.6, as written by pickle.
_LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def read_state_dict(path: Path, *, wrapper: str = "") -> dict[str, torch.Tensor]:
    """The tensors in a weights file, by name.

    Args:
        path: `.safetensors`, or a PyTorch file of tensors (`.pth`, `.pt`, `.bin`), which may hold them under
            `state_dict` or `model`. No code in the file is run.
        wrapper: Key of a training checkpoint that holds the tensors to read.

    Raises:
        FileFormatError: The file is missing, unreadable, of another format, or holds more than tensors.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileFormatError(f"weights {path}: no such file.")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except FileFormatError:
        raise
    except pickle.UnpicklingError:
        raise FileFormatError(
            f"weights {path} hold more than tensors, or are damaged; running code from them is refused. "
            "Save its state_dict as safetensors."
        ) from None
    except Exception as error:  # on damaged files, the readers raise errors of many types
        raise FileFormatError(f"weights {path} cannot be read: {one_line(error)}") from None
    if wrapper and not (isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping)):
        raise FileFormatError(f"weights {path}: expected the published checkpoint, with tensors under {wrapper!r}.")
    for key in (wrapper,) if wrapper else _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise FileFormatError(f"weights {path}: expected named tensors (a state_dict), found {type(content).__name__}.")
    if not content:
        raise FileFormatError(f"weights {path} hold no tensors.")
    return dict(content)


def describe_difference(tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str:
    """Number and first names of the tensors that differ in name or shape from the expected ones; empty if none does."""
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    other = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("not the model's", extra), ("of another shape", other))
        if names
    ]
    return f"of {len(expected)} tensors {'; '.join(parts)}" if parts else ""


def _torch_load(path: Path) -> object:
    """The content of a PyTorch file of either format; raise for other files before torch reads them."""
    import torch

    with path.open("rb") as file:
        start = file.read(32)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            is_program = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if is_program:  # of torch.jit, like OpenAI's files of CLIP
            raise FileFormatError(
                f"weights {path} are a TorchScript program; running code from them is refused. "
                "Save its state_dict as safetensors."
            )
    elif not (start.startswith(b"\x80") and _LEGACY in start):
        raise FileFormatError(
            f"weights {path} are not a PyTorch file; expected a PyTorch file of tensors, or a .safetensors file."
        )
    return torch.load(path, "cpu", weights_only=True)


def is_installed(package: str) -> bool:
    """True if a package is installed; it is not imported."""
    return importlib.util.find_spec(package) is not None


def is_cached(repo: str, filenames: Iterable[str]) -> bool:
    """True if the Hugging Face cache on this machine has one of these files of a hub repository."""
    return _cached(repo, filenames) is not None


def is_downloaded(url: str) -> bool:
    """True if torch's cache on this machine has the file of a URL."""
    return _torch_file(url).is_file()


def hub_file(name: str, repo: str, filenames: Sequence[str], *, offline: bool) -> Path:
    """The file of weights of a hub repository, from the cache or downloaded.

    Args:
        name: Name of the model given by the user, for errors.
        repo: "owner/name", or "owner/name@revision".
        filenames: File names in order of preference.
        offline: Forbid the network, like HF_HUB_OFFLINE=1.

    Raises:
        SettingError: The file is not in the cache, and the download is forbidden or fails, or the repository has no
            such file.
    """
    if (path := _cached(repo, filenames)) is not None:
        return path
    from huggingface_hub import constants

    origin = f"{constants.ENDPOINT}/{repo}"
    _check_reachable(name, origin, offline)
    note(f"downloading the weights of {name} from {origin}")
    return _hub_download(name, repo, filenames, origin)


def url_file(name: str, url: str, *, offline: bool) -> Path:
    """The file of weights at a URL, stored in torch's cache as by torch.hub.

    Args:
        name: Name of the model given by the user, for errors.
        url: URL of the file. A hash at the end of its name (`-0123abcd.pth`) is checked.
        offline: Forbid the network, like HF_HUB_OFFLINE=1.

    Raises:
        SettingError: The file is not in the cache, and the download is forbidden or fails.
    """
    import torch

    path = _torch_file(url)
    if path.is_file():
        return path
    _check_reachable(name, url, offline)
    note(f"downloading the weights of {name} from {url}")
    digest = path.stem.rpartition("-")[2]
    is_hash = len(digest) >= 8 and all(c in "0123456789abcdef" for c in digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest if is_hash else None, progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise _unavailable(name, url, one_line(error)) from None
    return path


def _torch_file(url: str) -> Path:
    """Path of the file of a URL in the cache of torch.hub; torch is not imported for this."""
    if (torch := sys.modules.get("torch")) is not None:
        folder = Path(torch.hub.get_dir())
    else:
        cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        folder = Path(os.environ.get("TORCH_HOME", f"{cache}/torch"), "hub").expanduser()
    return folder / "checkpoints" / url.rpartition("/")[2]


def _cached(repo: str, filenames: Iterable[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repo_id, _, revision = repo.partition("@")
    for filename in filenames:
        path = try_to_load_from_cache(repo_id, filename, revision=revision or None)
        if isinstance(path, str):
            return Path(path)
    return None


def _hub_download(name: str, repo: str, filenames: Sequence[str], origin: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HTTPError, LocalEntryNotFoundError

    repo_id, _, revision = repo.partition("@")
    for filename in filenames:
        try:
            return Path(hf_hub_download(repo_id, filename, revision=revision or None))
        except LocalEntryNotFoundError as error:  # a subclass of EntryNotFoundError, but about the connection
            raise _unavailable(name, origin, one_line(error.__cause__ or error)) from None
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, HTTPError, OSError) as error:
            raise _unavailable(name, origin, one_line(error)) from None
    raise _unavailable(name, origin, f"it holds none of {', '.join(filenames)}")


def _check_reachable(name: str, origin: str, offline: bool) -> None:
    if is_offline(offline):
        raise _unavailable(name, origin, "downloads are forbidden (--offline or HF_HUB_OFFLINE)")
    # The hub's client retries for a minute; a short request before it gives a quick error.
    try:
        with urllib.request.urlopen(urllib.request.Request(origin, method="HEAD"), timeout=_PROBE_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        error.close()  # the host answers; the download will give the precise error
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the hub's client may trust other certificates
            raise _unavailable(name, origin, f"it cannot be reached ({error.reason})") from None
    except (OSError, HTTPException) as error:
        raise _unavailable(name, origin, f"it cannot be reached ({one_line(error)})") from None


def _unavailable(name: str, origin: str, reason: str) -> SettingError:
    return SettingError(
        f"the weights of {name!r} are not on this machine, and downloading them from {origin} failed: {reason}. "
        "Download them elsewhere and use --weights FILE, or choose a model with weights on this machine (headclust "
        "models)."
    )
