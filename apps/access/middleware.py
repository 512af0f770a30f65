"""Answers, on pages other than sign-in, those who must wait before their password is read."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin

from apps.access.errors import SignInBusy, TooManyTries


class WaitingAnswers(MiddlewareMixin):
    """Answers 429 or 503 with `Retry-After` instead of a broken page; the admin changes passwords too."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, TooManyTries | SignInBusy):
            return None
        status = 429 if isinstance(error, TooManyTries) else 503
        response = render(request, "access/wait.html", {"refusal": error}, status=status)
        response["Retry-After"] = str(error.retry_after_seconds)
        return response
