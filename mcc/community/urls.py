"""The addresses of what the public reads, of posters, practice and false alarms."""

from __future__ import annotations

from django.urls import path

from mcc.community import public_views, views

urlpatterns = [
    path("info/", public_views.information, name="information"),
    path("info/sw.js", public_views.worker, name="information-worker"),
    path("info/post/<slug:post>", public_views.information, name="information-post"),
    path("posters/", views.posters, name="posters"),
    path("posters/file", views.poster_file, name="poster-file"),
    path("practice/", views.drills, name="drills"),
    path("practice/<int:pk>/", views.drill, name="drill"),
    path("practice/<int:pk>/open", views.drill_open, name="drill-open"),
    path("practice/<int:pk>/end", views.drill_end, name="drill-end"),
    path("practice/<int:pk>/names", views.drill_names, name="drill-names"),
    path("false-alarms/", views.false_alarms, name="false-alarms"),
    path("false-alarms/<slug:post>", views.false_alarms_of, name="false-alarms-of"),
    path("false-alarms/<slug:post>/decide", views.decide, name="decide"),
]
