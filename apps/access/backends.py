"""The only check of passwords at sign-in; forms reach it through `django.contrib.auth.authenticate`."""

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest

from apps.access import brake
from apps.access.errors import SignInBusy
from apps.access.hashing import hashing_slot
from apps.access.peers import UNKNOWN, peer_of


class PasswordBackend(ModelBackend):
    """Django's check behind the brake: raises TooManyTries before hashing anything, SignInBusy without counting."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        if username is None or password is None:
            return None
        one = brake.take_try(brake.Subjects.of(username, UNKNOWN if request is None else peer_of(request)))
        try:
            with hashing_slot():
                user = super().authenticate(request, username=username, password=password)
        except SignInBusy:
            brake.give_back(one)
            raise
        if user is None:
            brake.note_failure(one, username)
            return None
        brake.note_success(one)
        return user if isinstance(user, User) else None

    async def aauthenticate(self, request: HttpRequest | None, *args: Any, **kwargs: Any) -> User | None:
        return await sync_to_async(self.authenticate)(request, *args, **kwargs)
