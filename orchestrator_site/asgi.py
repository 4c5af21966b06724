"""The ASGI application: streams and sockets on the loop, everything else on WSGI threads."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")

wsgi_application = get_wsgi_application()  # sets Django up: what follows needs it

from django.urls import get_resolver  # noqa: E402

from orchestrator_site.routing import build_application  # noqa: E402

get_resolver().url_patterns  # noqa: B018  (loads all views now, not under the first request)
application = build_application(wsgi_application)
