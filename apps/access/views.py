"""Signs users in by password or one-time link, and out."""

from typing import Any

from django.contrib.auth import logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.access import audit
from apps.access.errors import SignInBusy, TooManyTries
from apps.access.forms import PasswordForm, SignInForm
from apps.access.guards import actor_of
from apps.access.sessions import announce_ended
from apps.access.sign_in import begin_session, use_link, user_of_link


class SignIn(LoginView):
    """Django's view; a user who must wait is told how long (429, 503), in words and in `Retry-After`."""

    template_name = "access/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True
    http_method_names = ("get", "head", "post")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().post(request, *args, **kwargs)
        except TooManyTries as refusal:
            return self._refuse(refusal, 429)
        except SignInBusy as refusal:
            return self._refuse(refusal, 503)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        begin_session(self.request, form.get_user(), by="password")
        return HttpResponseRedirect(self.get_success_url())

    def get_redirect_url(self, request: HttpRequest | None = None) -> str:
        """Returns `next` if it is another page of this site: returning to sign-in or sign-out would be a loop."""
        url: str = super().get_redirect_url()
        circles = (resolve_url("access:sign-in"), reverse("access:sign-out"))
        return "" if url.partition("?")[0].partition("#")[0].startswith(circles) else url

    def _refuse(self, refusal: TooManyTries | SignInBusy, status: int) -> HttpResponse:
        # An unbound form: a bound one would check the password again to show its errors.
        form = self.authentication_form(self.request)
        context = self.get_context_data(form=form, refusal=refusal.detail)
        response = render(self.request, self.template_name, context, status=status)
        response["Retry-After"] = str(refusal.retry_after_seconds)
        return response


sign_in = SignIn.as_view()


class PasswordChange(PasswordChangeView):
    """The signed-in user's own password; every other session of theirs ends."""

    form_class = PasswordForm

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}

    def form_valid(self, form: Any) -> HttpResponse:
        audit.record(actor_of(self.request), "sign_in.change_password", form.user.get_username()[:128])
        response = super().form_valid(form)
        announce_ended()
        return response


@never_cache
@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_by_link(request: HttpRequest, uidb64: str, token: str) -> HttpResponse:
    """Signs in on POST; a GET only shows a button, so that mail scanners and previews do not use the link up."""
    user = (use_link if request.method == "POST" else user_of_link)(uidb64, token)
    if user is None:
        return render(request, "access/link_ended.html", status=410)
    if request.method == "POST":
        begin_session(request, user, by="link")
        return redirect("runs:list")
    return render(request, "access/sign_in_link.html", {"username": user.get_username()})


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    announce_ended()
    return redirect("access:sign-in")
