"""`manage.py doctor`: the set-up looked over, each finding with its cure. Nothing is changed, nothing is repaired."""
