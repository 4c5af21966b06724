"""Every address that Django answers. Streams, sockets and the scrape are in `routing`."""

from django.urls import URLPattern, URLResolver, include, path

from orchestrator_site.entering.raw_data import site as raw_data
from orchestrator_site.health import show_health, show_ready

urlpatterns: list[URLPattern | URLResolver] = [
    path("health", show_health),
    path("ready", show_ready),
    path("api/", include("orchestrator_site.api_urls")),
    path("accounts/", include("orchestrator_site.entering.urls")),
    path("admin/", raw_data.urls),
    path("", include("orchestrator_site.console_urls")),
]

handler400 = "orchestrator_site.errors.show_bad_request"
handler403 = "orchestrator_site.errors.show_forbidden"
handler404 = "orchestrator_site.errors.show_not_found"
handler500 = "orchestrator_site.errors.show_failure"
