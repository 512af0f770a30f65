"""Dead letters in Django's admin: list, filters, search, and the verbs as actions. Nothing is edited here.

Who may see and do what is asked of our own roles (`access.permissions`); every change is a verb's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.access.guards import actor_of
from apps.access.permissions import Action, is_allowed
from apps.checkpoints.resume import LATEST, ORIGINAL
from apps.queues.dead_letters.admin_filters import LIST_FILTERS
from apps.queues.dead_letters.many import Moved, Selection, discard_many, requeue_many
from apps.queues.dead_letters.one import NOTE_MAX_LENGTH
from apps.queues.dead_letters.selection import MANY_LIMIT, with_errors
from apps.queues.errors import NoteInvalid
from apps.queues.models import DeadLetter
from apps.runs.models import RunValue
from apps.runs.run_page.failures import Failure
from apps.runs.values.text import pretty
from apps.runs.values.tree import parse, printable
from apps.storage.ids import parse_public_id

if TYPE_CHECKING:
    PaginatorBase = Paginator[DeadLetter]
    AdminBase = admin.ModelAdmin[DeadLetter]
else:
    PaginatorBase = Paginator  # generic in the stubs alone
    AdminBase = admin.ModelAdmin

PAGE_SIZE = 50
COUNT_LIMIT = 2000
"""Counted so far, and paged so far: beyond it the filters help, and counting millions would not."""

EXCERPT_LENGTH = 200
NOTHING = "\N{EN DASH}"
PAYLOAD_SHOWN = 20_000
REASONS_SHOWN = 5


class BoundedPaginator(PaginatorBase):
    """Pages of a table whose rows are never all counted."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_LIMIT].count())


class DeadLetterAdmin(AdminBase):
    list_display = ("run", "task_id", "queue", "error_type", "error_message", "attempts_used", "finished_at")
    list_display_links = ("run",)
    list_filter = LIST_FILTERS
    list_per_page = PAGE_SIZE
    list_max_show_all = PAGE_SIZE
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("id",)
    search_help_text = "The id of a run, a tag, or a part of the error's message"
    actions = ("requeue_original", "requeue_newest", "discard_with_note")
    fields = readonly_fields = (
        "page", "task_id", "queue", "concurrency_key", "tags", "deployment", "error_type", "error_message",
        "error_reason", "stack", "payload", "tries", "created_at", "finished_at",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        rows: Any = DeadLetter.objects.dead_letters()
        found: QuerySet[DeadLetter] = with_errors(rows).select_related("deployment").defer("deployment__archive")
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], search_term: str
    ) -> tuple[QuerySet[DeadLetter], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        run_id = parse_public_id("run", term)
        wanted = Q(id=run_id) if run_id else Q(tags__contains=[term]) | Q(value__error__message__icontains=term)
        return queryset.filter(wanted), False

    # Permissions: ours stand in for Django's.

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: DeadLetter | None = None) -> bool:
        return is_allowed(actor_of(request), Action.RUNS_READ)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: DeadLetter | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: DeadLetter | None = None) -> bool:
        return False

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        return is_allowed(actor_of(request), Action.RUNS_REQUEUE)

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return is_allowed(actor_of(request), Action.RUNS_DISCARD)

    # Actions

    @admin.action(description="Requeue on the original deployment", permissions=["requeue"])
    def requeue_original(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        self._requeue(request, queryset, ORIGINAL)

    @admin.action(description="Requeue on the newest deployment", permissions=["requeue"])
    def requeue_newest(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        self._requeue(request, queryset, LATEST)

    def _requeue(self, request: HttpRequest, queryset: QuerySet[DeadLetter], deployment: str) -> None:
        if selection := _selected(queryset):
            self._tell(request, requeue_many(selection, deployment=deployment, actor=actor_of(request)), "requeued")

    @admin.action(description="Discard with a note", permissions=["discard"])
    def discard_with_note(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        """Asks for the note on a page of its own, which posts the same action again."""
        note, refusal = request.POST.get("note"), ""
        if note is not None:
            try:
                if selection := _selected(queryset):
                    self._tell(request, discard_many(selection, note=note, actor=actor_of(request)), "discarded")
            except NoteInvalid as error:
                refusal = error.errors[0].message
            else:
                return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Discard dead letters",
            "opts": self.opts,
            "count": queryset.order_by()[:MANY_LIMIT].count(),
            "selected": request.POST.getlist("_selected_action"),
            "is_across": request.POST.get("select_across") == "1",
            "note": note or "",
            "note_limit": NOTE_MAX_LENGTH,
            "refusal": refusal,
        }
        return TemplateResponse(request, "queues/dead_letters/admin_discard.html", context)

    def _tell(self, request: HttpRequest, result: Moved, done: str) -> None:
        if result.moved_count:
            noun = "dead letter was" if result.moved_count == 1 else "dead letters were"
            self.message_user(request, f"{result.moved_count:,} {noun} {done}.", messages.SUCCESS)
        if result.refused:
            reasons = list(dict.fromkeys(each.reason for each in result.refused))
            more = f" … and {len(reasons) - REASONS_SHOWN} other reasons" if len(reasons) > REASONS_SHOWN else ""
            text = f"{len(result.refused):,} stay as they are: {' · '.join(reasons[:REASONS_SHOWN])}{more}"
            self.message_user(request, text, messages.WARNING)

    # Columns and fields

    @admin.display(description="run")
    def run(self, obj: DeadLetter) -> str:
        return obj.public_id

    @admin.display(description="error")
    def error_type(self, obj: Any) -> str:
        return obj.error_type or NOTHING

    @admin.display(description="message")
    def error_message(self, obj: Any) -> str:
        text = obj.error_message or NOTHING
        return text if len(text) <= EXCERPT_LENGTH else text[:EXCERPT_LENGTH] + "…"

    @admin.display(description="why no attempt follows")
    def error_reason(self, obj: Any) -> str:
        return obj.error_reason or NOTHING

    @admin.display(description="attempts")
    def attempts_used(self, obj: DeadLetter) -> int:
        return obj.attempt_count

    @admin.display(description="run")
    def page(self, obj: DeadLetter) -> SafeString:
        address = reverse("runs:detail", args=[obj.public_id])
        return format_html('<a href="{}">{}</a>, with its checkpoints and its log', address, obj.public_id)

    @admin.display(description="stack")
    def stack(self, obj: DeadLetter) -> SafeString:
        failure = Failure.of(RunValue.objects.values_list("error", flat=True).get(run_id=obj.pk))
        return format_html("<pre>{}</pre>", (failure and failure.stack) or NOTHING)

    @admin.display(description="payload")
    def payload(self, obj: DeadLetter) -> SafeString:
        text = RunValue.objects.values_list("payload", flat=True).get(run_id=obj.pk)
        shown = printable(pretty(parse(text))) if len(text) <= PAYLOAD_SHOWN else text
        cut = "" if len(shown) <= PAYLOAD_SHOWN else f"\n… {len(shown) - PAYLOAD_SHOWN:,} characters more"
        return format_html("<pre>{}{}</pre>", shown[:PAYLOAD_SHOWN], cut)

    @admin.display(description="attempts")
    def tries(self, obj: DeadLetter) -> SafeString:
        attempts = obj.attempts.defer("answer", "token").order_by("number")
        return format_html_join("", "<div>{}</div>", ((_attempt_line(each),) for each in attempts))


def _selected(queryset: QuerySet[DeadLetter]) -> Selection | None:
    """The first 10,000 of what was chosen; None where others moved them all meanwhile."""
    run_ids: Sequence[Any] = list(queryset.values_list("id", flat=True)[:MANY_LIMIT])
    return Selection(ids=run_ids) if run_ids else None


def _attempt_line(attempt: Any) -> str:
    failure = Failure.of(attempt.error)
    error = f": {failure.type}: {failure.message}" if failure else ""
    origin = f"from {attempt.resumed_from}" if attempt.resumed_from else "from the start"
    return f"{attempt.number}. {attempt.get_outcome_display() or 'running'}, {origin}{error[:EXCERPT_LENGTH]}"
