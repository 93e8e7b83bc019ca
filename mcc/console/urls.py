"""The console's addresses."""

from __future__ import annotations

from django.urls import path

from mcc.console import views
from mcc.console.stream import stream

urlpatterns = [
    path("", views.home, name="console"),
    path("phone/", views.phone, name="phone"),
    path("picture", views.picture, name="console-picture"),
    path("stream", stream, name="console-stream"),
    path("do", views.do, name="console-do"),
    path("screen", views.screen, name="console-screen"),
    path("case/<uuid:alarm_id>", views.case, name="console-case"),
    path("post/<slug:post>", views.card, name="console-card"),
    path("post/<slug:post>/photo", views.photo, name="console-photo"),
    path("map/areas", views.areas, name="console-areas"),
    path("map/tiles/<int:z>/<int:x>/<int:y>", views.tile, name="console-tile"),
    path("words.js", views.words, name="console-words"),
    path("language", views.language, name="console-language"),
]
