"""The composition root as a Django app: it wires what the apps below may not know of each other."""

import os

from django.apps import AppConfig


class OrchestratorSiteConfig(AppConfig):
    name = "orchestrator_site"
    verbose_name = "Orchestrator"

    def ready(self) -> None:
        from orchestrator_site import checks, login_audit  # noqa: F401  (both register themselves)

        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            from orchestrator_site.metrics import tidy_shared_folder

            tidy_shared_folder()
