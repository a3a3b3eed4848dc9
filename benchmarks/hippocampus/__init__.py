"""MSD Hippocampus against published nnU-Net, case by case."""
