"""What every layer needs: errors, records, files, the workspace, progress and workers."""
