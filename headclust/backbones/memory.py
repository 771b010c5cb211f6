"""Check that a model fits into memory, before its weights are read or downloaded."""

from __future__ import annotations

from headclust.errors import SettingError

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
