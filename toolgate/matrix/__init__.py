"""The permissions as people see and edit them: a grid of agents and skills, one cell, one rule."""
