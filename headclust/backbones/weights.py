"""Weight files: read without running anything in them, found in a cache, or downloaded."""

from __future__ import annotations

import hashlib
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
from headclust.progress import note

if TYPE_CHECKING:
    import torch

# Names under which training scripts keep the weights beside optimizer state and counters.
_WRAPPERS = ("state_dict", "model")
# What timm's repositories on the Hugging Face hub call their weights.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
# As open_clip calls whole models, image and text.
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_PROBE_SECONDS = 5
# The number that PyTorch's files before 1.6 start with, as pickle writes it.
_LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def read_state_dict(path: Path, *, wrapper: str = "") -> dict[str, torch.Tensor]:
    """The tensors in a weights file, by name.

    Args:
        path: `.safetensors`, or a PyTorch file of tensors (`.pth`, `.pt`, `.bin`), which may wrap them in `state_dict`
            or `model`. Nothing in the file is ever executed.
        wrapper: The key under which a training checkpoint keeps the tensors that are wanted, beside others.

    Raises:
        FileFormatError: Missing, unreadable, not of these formats, or holding more than tensors.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileFormatError(f"weights {path}: no such file.")
    try:
        found = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except FileFormatError:
        raise
    except pickle.UnpicklingError:
        raise FileFormatError(
            f"weights {path} hold more than tensors, or are damaged; running code from them is refused. "
            "Save its state_dict as safetensors."
        ) from None
    except Exception as error:  # of a damaged file the readers raise whatever they stumble over
        raise FileFormatError(f"weights {path} cannot be read: {one_line(error)}") from None
    if wrapper and not (isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping)):
        raise FileFormatError(f"weights {path}: expected the published checkpoint, with tensors under {wrapper!r}.")
    for key in (wrapper,) if wrapper else _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise FileFormatError(f"weights {path}: expected named tensors (a state_dict), found {type(found).__name__}.")
    if not found:
        raise FileFormatError(f"weights {path} hold no tensors.")
    return dict(found)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def difference(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str:
    """How two sets of named tensors differ: counts and the first names; empty when names and shapes agree."""
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    other = [
        f"{name} {tuple(found[name].shape)} for {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("not the model's", extra), ("of another shape", other))
        if names
    ]
    return f"of {len(wanted)} tensors {'; '.join(parts)}" if parts else ""


def _torch_load(path: Path) -> object:
    """What a PyTorch file holds, of either of its formats; others are refused before torch sees them."""
    import torch

    with path.open("rb") as file:
        start = file.read(32)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            is_program = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if is_program:  # of torch.jit, as OpenAI's own files of CLIP are
            raise FileFormatError(
                f"weights {path} are a TorchScript program; running code from them is refused. "
                "Save its state_dict as safetensors."
            )
    elif not (start.startswith(b"\x80") and _LEGACY in start):
        raise FileFormatError(
            f"weights {path} are not a PyTorch file; expected one of tensors, or a safetensors file named .safetensors."
        )
    return torch.load(path, "cpu", weights_only=True)


def is_installed(package: str) -> bool:
    """Whether a package with weights is there; it is not imported."""
    return importlib.util.find_spec(package) is not None


def is_cached(repo: str, filenames: Iterable[str]) -> bool:
    """Whether the Hugging Face cache on this machine has one of these files of a hub repository."""
    return _cached(repo, filenames) is not None


def is_downloaded(url: str) -> bool:
    """Whether torch's cache on this machine has the file behind a URL."""
    return _torch_file(url).is_file()


def hub_file(name: str, repo: str, filenames: Sequence[str], *, offline: bool) -> Path:
    """The weights file of a hub repository: from the cache, or else downloaded.

    Args:
        name: The model as the user called it, for errors.
        repo: "owner/name", or "owner/name@revision".
        filenames: In order of preference.
        offline: Forbids the network, as HF_HUB_OFFLINE=1 does.

    Raises:
        SettingError: Not in the cache, and the download is forbidden, fails, or holds no such file.
    """
    if (found := _cached(repo, filenames)) is not None:
        return found
    from huggingface_hub import constants

    origin = f"{constants.ENDPOINT}/{repo}"
    _refuse_unless_reachable(name, origin, offline)
    note(f"downloading the weights of {name} from {origin}")
    return _hub_download(name, repo, filenames, origin)


def url_file(name: str, url: str, *, offline: bool) -> Path:
    """The weights file behind a URL, kept in torch's cache as torch.hub does.

    Args:
        name: The model as the user called it, for errors.
        url: Where the file is. A hash at the end of its name (`-0123abcd.pth`) is checked.
        offline: Forbids the network, as HF_HUB_OFFLINE=1 does.

    Raises:
        SettingError: Not in the cache, and the download is forbidden or fails.
    """
    import torch

    path = _torch_file(url)
    if path.is_file():
        return path
    _refuse_unless_reachable(name, url, offline)
    note(f"downloading the weights of {name} from {url}")
    digest = path.stem.rpartition("-")[2]
    is_hash = len(digest) >= 8 and all(c in "0123456789abcdef" for c in digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest if is_hash else None, progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise _not_at_hand(name, url, one_line(error)) from None
    return path


def _torch_file(url: str) -> Path:
    """Where torch.hub keeps the file behind a URL; torch is asked only if it is loaded already."""
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
        found = try_to_load_from_cache(repo_id, filename, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def _hub_download(name: str, repo: str, filenames: Sequence[str], origin: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HTTPError, LocalEntryNotFoundError

    repo_id, _, revision = repo.partition("@")
    for filename in filenames:
        try:
            return Path(hf_hub_download(repo_id, filename, revision=revision or None))
        except LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError, but about the connection
            raise _not_at_hand(name, origin, one_line(error.__cause__ or error)) from None
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, HTTPError, OSError) as error:
            raise _not_at_hand(name, origin, one_line(error)) from None
    raise _not_at_hand(name, origin, f"it holds none of {', '.join(filenames)}")


def _refuse_unless_reachable(name: str, origin: str, offline: bool) -> None:
    if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise _not_at_hand(name, origin, "downloads are forbidden (--offline or HF_HUB_OFFLINE)")
    # The hub's client tries for a minute before it gives up; one question first keeps the error quick.
    try:
        with urllib.request.urlopen(urllib.request.Request(origin, method="HEAD"), timeout=_PROBE_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        error.close()  # it answers, and will say more when asked for the file
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the hub's client may trust other certificates
            raise _not_at_hand(name, origin, f"it cannot be reached ({error.reason})") from None
    except (OSError, HTTPException) as error:
        raise _not_at_hand(name, origin, f"it cannot be reached ({one_line(error)})") from None


def _not_at_hand(name: str, origin: str, reason: str) -> SettingError:
    return SettingError(
        f"the weights of {name!r} are not on this machine, and fetching them from {origin} failed: {reason}. "
        "Fetch them elsewhere and say --weights FILE, or choose a model whose weights are at hand (headclust models)."
    )
