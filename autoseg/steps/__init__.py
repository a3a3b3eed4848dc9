"""One file per verb; steps meet only through the files in the workspace."""
