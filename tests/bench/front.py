"""Serve the project's views alone, without worker and sequencer: `python -m tests.bench.front wsgi|asgi PORT`."""

import asyncio
import sys

import django
import uvicorn
import uvloop
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application


def main(handler: str, port: int) -> None:
    """Serve through the WSGI bridge that the product uses, or through Django's own ASGI handler."""
    from orchestrator_site.front import BodyGuard
    from orchestrator_site.middleware import RequestIds
    from orchestrator_site.routing import bridge_to_wsgi

    inner = bridge_to_wsgi(get_wsgi_application()) if handler == "wsgi" else get_asgi_application()
    config = uvicorn.Config(
        RequestIds(BodyGuard(inner)),
        port=port,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    asyncio.run(uvicorn.Server(config).serve(), loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    django.setup()
    main(sys.argv[1], int(sys.argv[2]))
