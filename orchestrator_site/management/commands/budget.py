"""`manage.py budget [show|cap]`: what the month has cost and will cost, and the caps."""

from collections.abc import Iterator
from typing import Any, Final, override

from django.conf import settings
from django.utils import timezone

from agents.money.budget import AGENT_PREFIX, FLEET, write_pounds
from agents.money.caps import set_cap
from agents.money.costs import Account, Costs, costs_to_wire, read_costs
from agents.money.views import read_pounds
from orchestrator_site.roles import Permission
from orchestrator_site.templatetags.console import NOTHING
from orchestrator_site.templatetags.money import pounds
from orchestrator_site.terminal.acting import find_actor
from orchestrator_site.terminal.printing import Cell, Item, Table, Toned
from orchestrator_site.terminal.verbs import Answer, VerbCommand, add_verb

_HEADINGS: Final = ("ACCOUNT", "SPENT", "HELD", "CAP", "FREE", "OF THE CAP")


class Command(VerbCommand):
    """Show the month's money, and set caps."""

    help = (
        "Show what this month has cost, by agent, with forecast and caps; set the fleet's cap or an agent's, audited."
    )
    default_verb = "show"

    @override
    def add_verbs(self, verbs: Any) -> None:
        add_verb(verbs, "show", "spent, held, cap and forecast of this month, for the fleet and each agent")
        cap = add_verb(verbs, "cap", "set a monthly cap", target="account", needs=Permission.BUDGET_WRITE)
        cap.add_argument("pounds", help="such as 12.50; the fleet's at most COST_BUDGET_CAP")
        cap.add_argument("--reason", required=True, help="why; kept in the audit trail")

    def _show(self, options: dict[str, Any]) -> Answer:
        costs = read_costs(timezone.now())
        return Answer(wire=costs_to_wire(costs), lines=_describe(costs))

    def _cap(self, options: dict[str, Any]) -> Answer:
        author, account = find_actor(options["user"], Permission.BUDGET_WRITE), options["account"]
        scope, amount = account if account == FLEET else f"{AGENT_PREFIX}{account}", read_pounds(options["pounds"])
        set_cap(scope, amount, author=author.get_username(), reason=options["reason"], now=timezone.now())
        done = f"The cap of {account} is {write_pounds(amount)} a month and in force. Calls under way are not touched."
        return Answer(wire=costs_to_wire(read_costs(timezone.now())), lines=[done])


def _describe(costs: Costs) -> Iterator[Item]:
    yield f"{costs.month} (UTC), in pounds at {settings.USD_PER_GBP.usd_per_gbp} dollars of {settings.USD_PER_GBP.day}"
    yield Table(_HEADINGS, [_row(account) for account in (costs.fleet, *costs.agents)])
    hard = write_pounds(settings.COST_BUDGET_CAP)
    yield f"At this pace the month ends at {pounds(costs.forecast)}; COST_BUDGET_CAP is {hard}."
    if costs.old:
        yield Toned(f"{len(costs.old)} holds are older than any call should take: see the page Cost.", "warn")


def _row(account: Account) -> list[Cell]:
    if account.cap is None:
        return [account.name, pounds(account.spent), pounds(account.held), "the fleet's", NOTHING, NOTHING]
    share = f"{account.percent} %"
    used: Cell = Toned(f"{share}, refuses calls", "bad") if account.is_stopped else share
    if account.is_warning and not account.is_stopped:
        used = Toned(f"{share}, near", "warn")
    return [account.name, *(pounds(money) for money in (account.spent, account.held, account.cap, account.free)), used]
