"""Django's admin as part of this site, with our sign-in and roles. Each app decides what can be seen in it."""

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
    """Open to those who may read runs and to Django's own staff; each page checks its own permission."""

    site_header = "Trigger administration"
    site_title = "Trigger"
    index_title = "Administration"
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        user: User | AnonymousUser = request.user
        return user.is_active and (user.is_staff or is_allowed(Actor.of_user(user), Action.RUNS_READ))

    def login(self, request: HttpRequest, extra_context: object = None) -> HttpResponseRedirect:
        """Offers no second sign-in: the site asks first, so anyone here has already signed in."""
        if not self.has_permission(request):
            raise PermissionDenied("Your account has no role that opens the administration.")
        return redirect("admin:index")

    def password_change(  # type: ignore[override]  # the stubs name the answer's class
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        # The view's forms need the apps, and this module is imported before they are loaded.
        from apps.access.views import PasswordChange

        request.current_app = self.name
        context = {**self.each_context(request), **(extra_context or {})}
        url = reverse("admin:password_change_done", current_app=self.name)
        return PasswordChange.as_view(success_url=url, extra_context=context)(request)
