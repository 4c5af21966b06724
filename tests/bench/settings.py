"""The product's settings with one address more: the bare view that POST /api/tasks is compared with."""

from orchestrator_site.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.urls"
