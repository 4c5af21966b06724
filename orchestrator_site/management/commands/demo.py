"""`manage.py demo`: the server with a scripted stand-in for the providers, as `make demo` starts it."""

import argparse
from typing import Any, override

from orchestrator_site.launch import get_launch
from orchestrator_site.management.commands import serve as serve_command


class Command(serve_command.Command):
    help = "Serve as `serve` does, with a scripted stand-in for the providers and three agent tasks; no key is needed."

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        launch = get_launch(argparse.Namespace(**options))
        from orchestrator_site import serve
        from orchestrator_site.demo.part import DemoPart

        serve.serve(launch, more=[DemoPart()])
