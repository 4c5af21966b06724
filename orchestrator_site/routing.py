"""Which requests stay on the loop: sockets, event streams and the scrape; all others go to Django on WSGI threads."""

import asyncio
from typing import Any

from a2wsgi import WSGIMiddleware
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path, re_path

from audit.exploring.downloads import ExportDownload
from audit.live.consumers import ConsoleConsumer
from audit.live.streams import TaskEventsConsumer
from orchestrator_site.front import BodyGuard
from orchestrator_site.metrics import MetricsApp
from orchestrator_site.middleware import AsgiApp, RequestIds
from orchestrator_site.readers import check_metrics

# More threads than this only fight for the interpreter's lock and the database's write lock.
WSGI_THREADS = 4
TASK_EVENTS = r"^api/tasks/(?P<task_id>[a-zA-Z0-9._-]{1,64})/events$"

EXPORT = r"^audit/export/(?P<run_id>[0-9a-f]{32})/entries$"


def bridge_to_wsgi(application: Any) -> Any:
    """Return `application` as ASGI. No thread waits for a slow client: answers are bounded, so their queue is not."""
    return WSGIMiddleware(application, workers=WSGI_THREADS, send_queue_size=0)


def build_application(wsgi_application: Any) -> AsgiApp:
    """Return the ASGI application."""
    # Any: Channels routes to ASGI applications by what Django's annotations say is for views.
    events: Any = TaskEventsConsumer.as_asgi()
    metrics: Any = MetricsApp(check_metrics)
    django: Any = BodyGuard(bridge_to_wsgi(wsgi_application))
    refuse: Any = refuse_socket
    download: Any = AuthMiddlewareStack(ExportDownload.as_asgi())
    http = URLRouter(
        [re_path(TASK_EVENTS, events), re_path(EXPORT, download), path("metrics", metrics), re_path(r"", django)]
    )
    sockets = URLRouter([path("ws/console/", ConsoleConsumer.as_asgi()), re_path(r"", refuse)])
    guarded = AllowedHostsOriginValidator(AuthMiddlewareStack(sockets))
    return RequestIds(ProtocolTypeRouter({"http": http, "websocket": guarded}))


async def refuse_socket(scope: Any, receive: Any, send: Any) -> None:
    """Close a socket that was opened to no known address; without this the router raises."""
    await asyncio.wait_for(receive(), 5)
    await send({"type": "websocket.close", "code": 4404})
