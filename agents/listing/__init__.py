"""The list of tasks: what it is narrowed to, and the page."""
