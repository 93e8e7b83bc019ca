"""The addresses of accounts and shifts."""

from __future__ import annotations

from django.urls import path

from mcc.people import shift_views, views

urlpatterns = [
    path("login/", views.sign_in, name="people-sign-in"),
    path("logout/", views.sign_out, name="people-sign-out"),
    path("code/", views.code, name="people-code"),
    path("code/app/", views.code_app, name="people-code-app"),
    path("password/", views.Password.as_view(), name="people-password"),
    path("shift/", shift_views.shift, name="people-shift"),
    path("shift/begin", shift_views.begin, name="people-shift-begin"),
    path("shift/end", shift_views.end, name="people-shift-end"),
    path("shift/take", shift_views.take, name="people-shift-take"),
]
