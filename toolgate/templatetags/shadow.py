"""What a shadow rule counts, where a page shows the rule."""

from django import template

from toolgate.policy import Rule, rule_digest
from toolgate.replay.shadow import COUNTED_UP_TO, count_flips

register = template.Library()


@register.simple_tag
def shadow_count(rule: Rule) -> str:
    """Return how many decisions a shadow rule would have turned: "12", "10,000+"."""
    count = count_flips(rule.id, rule_digest(rule))
    return f"{COUNTED_UP_TO:,}+" if count > COUNTED_UP_TO else f"{count:,}"
