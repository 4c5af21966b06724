#!/usr/bin/env python
"""Run Django's command line for this project."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    if sys.version_info[:2] != (3, 13):
        sys.exit("manage.py: Python 3.13 is needed, and this is " + sys.version.split()[0] + ": use .venv/bin/python")
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        # Counters are files from the moment they are declared.
        os.makedirs(os.environ["PROMETHEUS_MULTIPROC_DIR"], mode=0o700, exist_ok=True)
    if sys.argv[1:2] == ["demo"]:
        from orchestrator_site.demo import stand_in

        stand_in.begin()
    if sys.argv[1:2] in (["serve"], ["demo"]):
        # Before Django is loaded: what cannot work is said at once, and MongoDB starts meanwhile.
        from orchestrator_site import launch

        launch.begin(sys.argv[2:])
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from audit.context import acting
    from audit.ids import new_id

    try:
        with acting(trace_id=new_id()):  # what one command records belongs together
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # of the settings: a line, not a traceback
        print(f"manage.py: {error}", file=sys.stderr)
        sys.exit(2 if sys.argv[1:2] == ["doctor"] else 1)
