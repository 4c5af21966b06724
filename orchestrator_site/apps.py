"""The composition root as a Django app: it wires what the apps below may not know of each other."""

import os

from django.apps import AppConfig


class OrchestratorSiteConfig(AppConfig):
    name = "orchestrator_site"
    verbose_name = "Orchestrator"

    def ready(self) -> None:
        from agents.bulk import running
        from audit import access
        from orchestrator_site import checks, readers, user_audit  # noqa: F401  (some register themselves)
        from orchestrator_site.entering import checks as entering_checks  # noqa: F401
        from orchestrator_site.entering import factor_audit, login_audit  # noqa: F401

        user_audit.watch_saves()
        factor_audit.watch_saves()
        access.admit(
            readers=readers.may_follow,
            payloads=readers.may_read_payload,
            exporters=readers.may_export,
            streams=readers.check_stream,
        )
        running.admit(readers.may_change_tasks)

        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            from orchestrator_site.metrics import tidy_shared_folder

            tidy_shared_folder()
