"""What the pages about entering need: allauth's scripts, and the other provider."""

import json

from django import template
from django.conf import settings
from django.utils.html import json_script
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def onload(function: str, **ids: str) -> SafeString:
    """Return what allauth's scripts are told when the page is there: data, which the policy lets stand in a page.

    `ids` are the ids of the elements that the function works on.
    """
    block = json_script({"ids": ids})
    return SafeString(block.replace("<script ", f"<script data-allauth-onload={json.dumps(function)} ", 1))


@register.simple_tag
def provider_name() -> str:
    """Return what the other provider is called, empty if none is set up."""
    return settings.OIDC_NAME if settings.OIDC_ISSUER else ""
