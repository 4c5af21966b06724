"""django-prometheus's metrics of requests, with labels that nobody outside can add to.

By itself it labels with any method that was sent, and with every view that was asked for, allowed or not. Here a view
is named only for whom it let in, so strangers add no series; whatever they sent counts under no view's name.
"""

from http import HTTPStatus
from typing import Any, Final, override

from django.http import HttpRequest
from django_prometheus.middleware import PrometheusAfterMiddleware

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
OTHER_METHOD: Final = "other"
NO_VIEW: Final = "<unnamed view>"  # django-prometheus's word
_KEPT_OUT: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.METHOD_NOT_ALLOWED})


class BoundedMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]
    """Middleware: count requests by status, view and method, each of a closed set."""

    @override
    def process_view(self, request: HttpRequest, *view: Any) -> None:
        request.META["metrics.reached"] = True  # what is last has let it through; responses count it by view

    @override
    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: str) -> Any:
        if "method" in labels:
            labels["method"] = labels["method"] if labels["method"] in METHODS else OTHER_METHOD
        if "view" in labels and not _is_let_in(request, response):
            labels["view"] = NO_VIEW
        return super().label_metric(metric, request, response, **labels)


def _is_let_in(request: HttpRequest, response: Any) -> bool:
    status = getattr(response, "status_code", None)
    return "metrics.reached" in request.META and status not in _KEPT_OUT
