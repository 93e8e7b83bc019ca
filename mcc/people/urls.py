"""The addresses of accounts and shifts."""

from __future__ import annotations

from django.urls import path

from mcc.people import views

urlpatterns = [
    path("login/", views.sign_in, name="people-sign-in"),
    path("logout/", views.sign_out, name="people-sign-out"),
    path("code/", views.code, name="people-code"),
    path("code/app/", views.code_app, name="people-code-app"),
    path("password/", views.Password.as_view(), name="people-password"),
]
