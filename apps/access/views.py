"""Signing in by password or by a one-time link, and signing out."""

from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.access.forms import SignInForm
from apps.access.sign_in import user_of_link

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"

sign_in = LoginView.as_view(
    template_name="access/sign_in.html", authentication_form=SignInForm, redirect_authenticated_user=True
)


@never_cache
@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_by_link(request: HttpRequest, uidb64: str, token: str) -> HttpResponse:
    """A GET only shows a button, so that a mail scanner or a preview does not use the link up."""
    user = user_of_link(uidb64, token)
    if user is None:
        return render(request, "access/link_ended.html", status=410)
    if request.method == "POST":
        login(request, user, backend=MODEL_BACKEND)
        return redirect("runs:list")
    return render(request, "access/sign_in_link.html", {"username": user.get_username()})


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("access:sign-in")
