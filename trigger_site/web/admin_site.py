"""Django's admin as a part of this site: our sign-in and our roles. What can be seen in it is each app's own."""

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

from apps.access.permissions import Action, Actor, is_allowed


class TriggerAdminSite(AdminSite):
    """Open to whoever may read runs, beside Django's own staff; each page asks for its own permission."""

    site_header = "Trigger administration"
    site_title = "Trigger"
    index_title = "Administration"
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        user: User | AnonymousUser = request.user
        return user.is_active and (user.is_staff or is_allowed(Actor.of_user(user), Action.RUNS_READ))

    def login(self, request: HttpRequest, extra_context: object = None) -> HttpResponseRedirect:
        """Who gets here has signed in, because the site asks first: there is no second sign-in to offer."""
        if not self.has_permission(request):
            raise PermissionDenied("Your account has no role that opens the administration.")
        return redirect("admin:index")

    def password_change(  # type: ignore[override]  # the stubs name the answer's class
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        # The view's forms need the apps, and this module is read before there are any.
        from apps.access.views import PasswordChange

        request.current_app = self.name
        context = {**self.each_context(request), **(extra_context or {})}
        url = reverse("admin:password_change_done", current_app=self.name)
        return PasswordChange.as_view(success_url=url, extra_context=context)(request)
