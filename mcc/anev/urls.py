"""The addresses of the weekly analysis."""

from __future__ import annotations

from django.urls import path

from mcc.anev import views

urlpatterns = [
    path("anev/", views.editions, name="anev"),
    path("anev/make", views.make, name="anev-make"),
    path("anev/<slug:week>/<int:number>/", views.edition, name="anev-edition"),
    path("anev/<slug:week>/<int:number>/events", views.events, name="anev-events"),
    path("anev/<slug:week>/<int:number>/plot/<slug:name>", views.plot, name="anev-plot"),
    path("anev/<slug:week>/<int:number>/file/<slug:kind>", views.file, name="anev-file"),
]
