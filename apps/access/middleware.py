"""Answers for whoever has to wait before a password of theirs is read, on pages other than the sign-in's own."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin

from apps.access.errors import SignInBusy, TooManyTries


class WaitingAnswers(MiddlewareMixin):
    """429 or 503 with `Retry-After` in place of a broken page; the administration changes passwords too."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, TooManyTries | SignInBusy):
            return None
        status = 429 if isinstance(error, TooManyTries) else 503
        response = render(request, "access/wait.html", {"refusal": error}, status=status)
        response["Retry-After"] = str(error.retry_after_seconds)
        return response
