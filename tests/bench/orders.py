"""What the measurements order: a small, real piece of work for a pure skill."""

from typing import Any

NORMALISE: dict[str, Any] = {
    "agentId": "normalization-agent",
    "skillId": "normalizer",
    "input": {
        "data": {"issued": "3/2/2026", "amount": "£1,204.00", "contact": "Accounts@Northwind.example"},
        "schema": {"issued": {"type": "date"}, "amount": {"type": "currency"}, "contact": {"type": "email"}},
    },
}
