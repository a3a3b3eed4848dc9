"""Everything the report is made of: what a workspace holds, charts, overlays, and HTML."""
