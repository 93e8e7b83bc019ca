"""Whether this process and its database answer: for a supervisor of processes, without login.

It says nothing of alarms and nothing that an outsider could use.
"""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db import Error
from django.http import HttpRequest, JsonResponse

from mcc.cases.models import Store


@login_not_required
def health(_request: HttpRequest) -> JsonResponse:
    """200 when the database can be read, else 503."""
    try:
        list(Store.objects.values_list("sequence"))
    except Error:
        return JsonResponse({"database": "does not answer"}, status=503)
    return JsonResponse({"database": "answers"})
