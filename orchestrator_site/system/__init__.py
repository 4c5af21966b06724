"""The system page: what the orchestrator depends on and how each part is, with the last good time of each figure."""
