"""What a replay of a draft came to, where a page shows the draft."""

from django import template

from toolgate.matrix.what_if import Note, read_note
from toolgate.models import WhatIf

register = template.Library()


@register.simple_tag
def replay_note(what_if: WhatIf) -> Note:
    """Return a replay as one line says it."""
    return read_note(what_if)
