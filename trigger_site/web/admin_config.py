"""Installs Django's admin with the site in `admin_site.py` instead of its own."""

from django.contrib.admin.apps import AdminConfig


class TriggerAdminConfig(AdminConfig):
    default_site = "trigger_site.web.admin_site.TriggerAdminSite"
