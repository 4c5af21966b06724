"""Put what a form says of a cell into a person's draft."""

from datetime import datetime
from typing import Any

from audit.transactions import write_transaction
from toolgate.editing.drafts import put_rule, remove_rule
from toolgate.matrix.cells import UNSET
from toolgate.matrix.reading import Inspection, Sight
from toolgate.models import PolicyDraft


def keep_cell(sight: Sight, inspection: Inspection, form: Any, *, author: str, now: datetime) -> PolicyDraft | None:
    """Keep what a valid form says of a cell, and return the draft; None if there was nothing to take away.

    "Default" takes out every rule of exactly the pair. Raises: PolicyInvalid, RuleMissing, DraftConflict.
    """
    if form.cleaned_data["effect"] == UNSET:
        draft: PolicyDraft | None = None
        with write_transaction():  # all of them, or none
            for rule in inspection.own:
                draft = remove_rule(author, rule.id, now=now)
        return draft
    rule = form.name_rule(one.id for one in sight.rules)
    return put_rule(author, rule, replaces=inspection.main.id if inspection.main else None, now=now)
