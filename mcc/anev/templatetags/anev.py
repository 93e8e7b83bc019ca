"""How the pages show numbers: each leads to the events behind it."""

from __future__ import annotations

from urllib.parse import urlencode

from django import template
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mcc.anev import words

register = template.Library()


@register.simple_tag(takes_context=True)
def number(context: Context, scope: str, name: str) -> str | SafeString:
    """A number of a scope, as a link to its events; nothing where there is no such number."""
    found = context["report"].number(scope, name)
    if found is None:
        return ""
    said = words.value(found)
    if not found.ids:
        return said
    query = urlencode({"scope": scope, "number": name})
    return format_html('<a href="{}?{}">{}</a>', context["events_url"], query, said)


@register.simple_tag(takes_context=True)
def number_label(context: Context, name: str) -> str:
    """What a number is called."""
    return words.label(name, context["report"].limits)
