"""The composition root as a Django app: it wires what the apps below may not know of each other."""

import os
import sys

from django.apps import AppConfig


class OrchestratorSiteConfig(AppConfig):
    name = "orchestrator_site"
    verbose_name = "Orchestrator"

    def ready(self) -> None:
        from prometheus_client import disable_created_metrics

        from agents.bulk import running
        from audit import access
        from orchestrator_site import checks, readers, tracing, user_audit  # noqa: F401  (some register themselves)
        from orchestrator_site.entering import checks as entering_checks  # noqa: F401
        from orchestrator_site.entering import factor_audit, login_audit  # noqa: F401
        from orchestrator_site.logs import SERVICES, log_crashes

        user_audit.watch_saves()
        factor_audit.watch_saves()
        access.admit(
            readers=readers.may_follow,
            payloads=readers.may_read_payload,
            exporters=readers.may_export,
            streams=readers.check_stream,
        )
        running.admit(readers.may_change_tasks)
        # When a counter was made is a sample more for each, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]

        if SERVICES.intersection(sys.argv[1:2]):
            log_crashes()
        tracing.begin()
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            from orchestrator_site.metrics import tidy_shared_folder

            tidy_shared_folder()
