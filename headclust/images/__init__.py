"""Images: their sources (`datasets`), decoding in worker processes (`decoding`) and augmentation (`augment`)."""
