"""Addresses of signing in and out."""

from django.urls import path

from apps.access import views

app_name = "access"

urlpatterns = [
    path("sign-in", views.sign_in, name="sign-in"),
    path("sign-in/<str:uidb64>/<str:token>", views.sign_in_by_link, name="sign-in-link"),
    path("sign-out", views.sign_out, name="sign-out"),
]
