"""Workflows: the plan, its steps as child tasks, and the tree of a page."""
