"""nnU-Net's own records, as parsed JSON, to ours and back. Pure: whoever calls reads and writes the files."""
