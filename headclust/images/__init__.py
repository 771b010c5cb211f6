"""Images: where they come from (`datasets`), how they are decoded (`decoding`) and varied (`augment`)."""
