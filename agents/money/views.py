"""Money, for people and for programs: parse, one call, respond."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.exceptions import CapRefused
from agents.money import costs
from agents.money.budget import FLEET
from agents.money.caps import find_cap, set_cap
from agents.wire import BudgetWire
from toolgate.reading import read_query


@require_safe
def show_costs(request: HttpRequest) -> HttpResponse:
    """Show the month's money: spent, held and free, by agent, model and day, and the caps."""
    return _show(request, asked={}, status=200)


def _show(request: HttpRequest, *, asked: Mapping[str, Any], status: int) -> HttpResponse:
    context = {
        "asked": asked,
        "costs": costs.read_costs(timezone.now()),
        "changes": costs.list_cap_changes(),
        "fleet_cap": find_cap(FLEET),
        "hard_cap": settings.COST_BUDGET_CAP,
        "rate": settings.USD_PER_GBP,
    }
    return render(request, "agents/cost_detail.html", context, status=status)


@require_POST
def change_cap(request: HttpRequest) -> HttpResponse:
    """Set the monthly cap of the fleet or of an agent, with a reason; what is refused stays in the form."""
    scope, reason = request.POST.get("scope", ""), request.POST.get("reason", "")
    user = request.user.get_username()
    try:
        set_cap(scope, read_pounds(request.POST.get("pounds", "")), author=user, reason=reason, now=timezone.now())
    except CapRefused as error:
        messages.error(request, str(error))
        return _show(request, asked=request.POST, status=422)
    messages.success(request, "The cap is set and in force. Calls that are under way are not touched.")
    return redirect("console:cost")


def read_pounds(text: str) -> Decimal:
    """Return an amount that a person wrote, not a number if it is none."""
    try:
        return Decimal(text.strip().removeprefix("£"))
    except InvalidOperation:
        return Decimal("NaN")


class Budget(APIView):
    """The budget."""

    required_scope = "budget:read"

    @extend_schema(operation_id="budget_get", responses=BudgetWire)
    def get(self, request: Request) -> Response:
        """Return this month's money, in millionths of a US dollar: spent, held and free, by agent, model and day."""
        read_query(request.query_params, ())
        return Response(costs.costs_to_wire(costs.read_costs(timezone.now())))
