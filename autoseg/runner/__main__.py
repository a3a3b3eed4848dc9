"""`python -m autoseg.runner EXPORTED INPUT.nii.gz OUTPUT.nii.gz`."""

import sys

from autoseg.runner.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
