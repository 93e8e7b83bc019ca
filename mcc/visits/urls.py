"""The addresses under /visits/: the officer's telephone, and what has come from it."""

from __future__ import annotations

from django.urls import path

from mcc.visits import person_views, phone_views, views

urlpatterns = [
    path("phone/", phone_views.phone, name="visits-phone"),
    path("phone/sw.js", phone_views.worker, name="visits-worker"),
    path("phone/words.js", phone_views.words, name="visits-words"),
    # Outside of what the worker reaches: never answered from what is kept.
    path("me", phone_views.me, name="visits-me"),
    path("send", phone_views.send, name="visits-send"),
    path("", views.visits, name="visits"),
    path("follow-ups/", views.follow_ups, name="visits-follow-ups"),
    path("follow-ups/<int:pk>/done", views.follow_up_done, name="visits-follow-up-done"),
    path("coverage/", views.coverage, name="visits-coverage"),
    path("activity/", views.activity, name="visits-activity"),
    path("person/", person_views.look, name="visits-person"),
    path("person/export", person_views.export, name="visits-person-export"),
    path("person/remove", person_views.remove, name="visits-person-remove"),
    path("<uuid:pk>/", views.visit, name="visit"),
    path("<uuid:pk>/<slug:which>.jpg", views.picture, name="visit-picture"),
]
