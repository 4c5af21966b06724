"""Every address that Django answers. Streams, sockets and the scrape are in `routing`."""

from allauth.account import views as account
from django.contrib.auth.decorators import login_required
from django.urls import URLPattern, URLResolver, include, path

from orchestrator_site.accounts import change_password
from orchestrator_site.health import show_health, show_ready

# Only these of allauth's: the others need e-mail, or would let visitors make accounts.
ACCOUNT_URLS: list[URLPattern | URLResolver] = [
    path("login/", account.login, name="account_login"),
    path("logout/", login_required(account.logout), name="account_logout"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("password/change/", change_password, name="account_change_password"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("health", show_health),
    path("ready", show_ready),
    path("api/", include("orchestrator_site.api_urls")),
    path("accounts/", include(ACCOUNT_URLS)),
    path("", include("orchestrator_site.console_urls")),
]

handler400 = "orchestrator_site.errors.show_bad_request"
handler403 = "orchestrator_site.errors.show_forbidden"
handler404 = "orchestrator_site.errors.show_not_found"
handler500 = "orchestrator_site.errors.show_failure"
