"""From which address somebody speaks: what goes into the record, and what a lock-out is for."""

from __future__ import annotations

import ipaddress

from django.http import HttpRequest

UNKNOWN = "0.0.0.0"


def client_address(request: HttpRequest) -> str:
    """The IP address, or `UNKNOWN` where the server named none that is one.

    Behind a web server on this machine the server has put the browser's address there; it believes
    no other sender's word about it (`mcc.site.serve`).
    """
    said = str(request.META.get("REMOTE_ADDR") or "")
    try:
        return str(ipaddress.ip_address(said.split("%", 1)[0]))
    except ValueError:
        return UNKNOWN
