"""The app of agents, skills and tasks."""

from django.apps import AppConfig


class AgentsConfig(AppConfig):
    name = "agents"

    def ready(self) -> None:
        from django.conf import settings

        from agents.gate_facts import RegisteredFleet
        from agents.money.pricing import use_own_prices
        from agents.receivers import move_parked_task
        from toolgate.fleet import set_fleet
        from toolgate.signals import approval_decided

        set_fleet(RegisteredFleet())
        use_own_prices(settings.MODEL_PRICES)
        approval_decided.connect(move_parked_task, dispatch_uid="agents.move_parked_task")
