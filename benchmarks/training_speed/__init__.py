"""How fast nnU-Net and autoseg train the same network on the same data, side by side."""
