"""Check that a model fits into memory, before its weights are read or downloaded, and name the failure if not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headclust.errors import HeadclustError, SettingError, is_out_of_memory

# Largest measured memory of loading, as a multiple of the weights: the tensors of the file and those of the model.
PEAK = 2.0


def check_memory(name: str, weight_bytes: int) -> None:
    """Raise if this machine has too little memory to load a model.

    Args:
        name: The name given by the user.
        weight_bytes: Size of its weights in float32; 0 if unknown, which passes.

    Raises:
        SettingError: Loading needs more memory than is free.
    """
    from headclust.device import available_memory

    needed, free = PEAK * weight_bytes, available_memory()
    if needed > free:
        raise SettingError(
            f"model {name!r} takes {needed / 1e9:.1f} GB of memory to load, and {free / 1e9:.1f} GB are free: "
            "choose a smaller model (headclust models) or a larger machine."
        )


@contextmanager
def memory_errors(name: str) -> Iterator[None]:
    """Raise one error for lack of memory inside, instead of one that takes the model or its weights for unusable.

    Args:
        name: The name given by the user.

    Raises:
        SettingError: Memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError, HeadclustError) as error:
        if not is_out_of_memory(error):
            raise
        raise SettingError(
            f"model {name!r}: not enough memory to load it and to embed an image: free some, raise the limit of this "
            "process or container, or choose a smaller model (headclust models)."
        ) from None
