"""A copy of an installation that another can be made of: `manage.py backup` and `manage.py restore`."""
