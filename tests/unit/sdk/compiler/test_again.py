"""`# trigger: again`: what is made again, for which checkpoints and in which order; what is refused and proposed."""

import textwrap
from collections.abc import Callable
from types import ModuleType

import pytest
from trigger_sdk.errors import RegistrationError
from trigger_sdk.tasks import registry

from tests.unit.sdk.in_process import run
from tests.unit.sdk.sources import effects

Load = Callable[[str], ModuleType]
HEAD = """\
import logging, sqlite3, tempfile, threading
from pathlib import Path
from tests.unit.sdk.sources import effect, effects

class Client:
    def __init__(self, url="u"):
        self.url = effect(url)
    def get(self):
        return effect("get")
    def __enter__(self): return self
    def __exit__(self, *_): pass

@task('t')
"""


def source(body: str, head: str = "def t(a=1):") -> str:
    return HEAD + head + "\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n"


def crashed(load: Load, body: str, after: str) -> list[object]:
    """The effects of a run that is killed after a checkpoint and resumed."""
    run(load(source(body)).t, {}, crash_after=after)

    return list(effects)


def refusals(load: Load, body: str) -> list[tuple[str, str]]:
    with pytest.raises(RegistrationError) as refused:
        load(source(body))
    return [(problem.code, problem.message) for problem in refused.value.problems]


def test_client_is_made_again_for_the_code_behind_a_checkpoint(load: Load) -> None:
    body = """
        client = Client()  # trigger: again
        rows = client.get()
        checkpoint('k', rows=rows)
        return client.get() + rows
    """

    assert crashed(load, body, "k") == ["u", "get", "u", "get"]


def test_nothing_is_made_again_for_code_that_does_not_read_it(load: Load) -> None:
    body = """
        first = Client("first")  # trigger: again
        first.get()
        checkpoint('k')
        second = Client("second")  # trigger: again
        checkpoint('m')
        return second.get()
    """

    assert crashed(load, body, "k") == ["first", "get", "second", "get"]
    assert registry["t"].points[0].again == ()
    assert registry["t"].points[1].again == ("second",)


def test_marked_lines_run_in_order_after_restored_names_and_read_each_other(load: Load) -> None:
    body = """
        import math
        url = effect("made") + str(math.floor(a))
        client: Client = Client(
            url,
        )  # trigger: again
        pool, other = [Client(client.url + "!"), 2]  # trigger: again
        def use(): return pool.url
        checkpoint('k', url=url)
        return use()
    """

    assert crashed(load, body, "k") == ["made", "made1", "made1!", "made1", "made1!"]


def test_marked_line_in_a_branch_serves_the_checkpoints_of_that_branch(load: Load) -> None:
    body = """
        if a:
            client = Client()  # trigger: again
            checkpoint('k')
            client.get()
        checkpoint('m')
        return effect("end")
    """

    assert crashed(load, body, "k") == ["u", "u", "get", "end"]
    effects.clear()
    registry.clear()
    assert crashed(load, body, "m") == ["u", "get", "end"]


def test_marked_line_with_await(load: Load) -> None:
    body = HEAD + (
        "async def t():\n"
        "    async def connect(): return Client()\n"
        "    client = await connect()  # trigger: again\n"
        "    await checkpoint('k')\n"
        "    return client.get()\n"
    )
    module = load(body)

    run(module.t, {}, crash_after="k")

    assert effects == ["u", "u", "get"]


def test_handler_of_what_is_made_again_has_its_names(load: Load) -> None:
    body = """
        try:
            note = effect("note")
            client = Client()  # trigger: again
            checkpoint('k')
        except ValueError:
            print(note)
        return client.get()
    """

    assert "lost_name" in [code for code, _ in refusals(load, body)]


def test_words_in_a_text_are_no_mark(load: Load) -> None:
    codes = [code for code, _ in refusals(load, "c = Client('# trigger: again')\ncheckpoint('k')\nc.get()")]

    assert codes == ["lost_name"]


REFUSED = {
    "in a loop": ("for i in (1, 2):\n  c = Client()  # trigger: again\ncheckpoint('k')", "again_place"),
    "in a handler": ("try: a()\nexcept E:\n  c = 1  # trigger: again\ncheckpoint('k')", "again_place"),
    "in a nested function": ("def f():\n  c = Client()  # trigger: again\ncheckpoint('k')", "again_place"),
    "on an expression": ("Client()  # trigger: again\ncheckpoint('k')", "again_place"),
    "on an attribute": ("a.x = Client()  # trigger: again\ncheckpoint('k')", "again_place"),
    "on an augmented assignment": ("a += 1  # trigger: again\ncheckpoint('k')", "again_place"),
    "a list": ("c = []  # trigger: again\ncheckpoint('k')\nreturn c", "again_value"),
    "a dict call": ("c = dict(x=1)  # trigger: again\ncheckpoint('k')\nreturn c", "again_value"),
    "a temporary folder": ("c = tempfile.mkdtemp()  # trigger: again\ncheckpoint('k')\nreturn c", "again_value"),
    "a file opened for writing": ("c = open('x', 'w')  # trigger: again\ncheckpoint('k')\nc.write('y')", "again_value"),
    "a path opened for writing": ("c = a.open('a')  # trigger: again\ncheckpoint('k')\nc.write('y')", "again_value"),
    "a transaction": ("c = a.begin()  # trigger: again\ncheckpoint('k')\nc.commit()", "again_value"),
    "an attribute set": ("c = Client()  # trigger: again\nc.url = 1\ncheckpoint('k')\nc.get()", "again_changed"),
    "an item set": ("c = Client()  # trigger: again\nc.url['x'] = 1\ncheckpoint('k')\nc.get()", "again_changed"),
    "an update": ("c = Client()  # trigger: again\nc.url.update(x=1)\ncheckpoint('k')\nc.get()", "again_changed"),
    "deleted": ("c = Client()  # trigger: again\ndel c\ncheckpoint('k')\nc.get()", "deleted_name"),
    "rebound": ("c = Client()  # trigger: again\nc = Client()\ncheckpoint('k')\nc.get()", "lost_name"),
    "rebound on a path": ("c = Client()  # trigger: again\nif a: c = 1\ncheckpoint('k')\nc.get()", "lost_name"),
    "saved too": ("c = Client()  # trigger: again\ncheckpoint('k', c=c)\nc.get()", "rerun_saved"),
    "reads what is lost": ("u = str(a)\nc = Client(u)  # trigger: again\ncheckpoint('k')\nc.get()", "lost_name"),
    "reads what is rebound": ("c = Client(a)  # trigger: again\na = 2\ncheckpoint('k', a=a)\nc.get()", "rerun_rebound"),
    "in another branch": ("if a:\n  c = Client()  # trigger: again\ncheckpoint('k')\nc.get()", "lost_name"),
    "in a try body before its else": (
        "try:\n  c = Client()  # trigger: again\nexcept E: pass\nelse:\n  checkpoint('k')\n  c.get()",
        "lost_name",
    ),
}


@pytest.mark.parametrize(("body", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_mark_that_would_not_resume_rightly_is_refused(load: Load, body: str, code: str) -> None:
    assert [found for found, _ in refusals(load, body)] == [code]


def test_change_after_the_checkpoint_is_no_matter(load: Load) -> None:
    load(source("c = Client()  # trigger: again\ncheckpoint('k')\nc.url = 1\nreturn c.get()"))

    assert registry["t"].points[0].again == ("c",)


PROPOSED = {
    "a client": ("c = Client()", "mark line 16 with `# trigger: again`, so that a resume makes it again, or create"),
    "a connection": ("c = sqlite3.connect('x')", "mark line 16 with `# trigger: again`"),
    "a lock": ("c = threading.Lock()", "mark line 16 with `# trigger: again`"),
    "a client that reads a lost name": (
        "u = effect('x')\nc = Client(u)",
        "mark line 17 with `# trigger: again`, so that a resume makes it again (and save `u`, which it reads)",
    ),
    "a client made in a branch": ("if a: c = Client()\nelse: c = None", "it cannot be saved, so create it after"),
    "a logger": ("c = logging.getLogger('x')", "create it at the top of the file, outside the task"),
    "a path": ("c = Path('x') / 'y'", ": save it, or create it after the checkpoint"),
    "data": ("c = effect(1)", ": save it, or create it after the checkpoint"),
    "a temporary folder": ("c = tempfile.TemporaryDirectory()", "its files are gone after a crash"),
    "a file opened for writing": ("c = open('x', 'w')", "an open file cannot be saved"),
    "a marked line in a branch": (
        "if a:\n  c = Client()  # trigger: again\nelse: c = None",
        "line 17 is marked `# trigger: again`, but a resume does not enter the block that it stands in",
    ),
}


@pytest.mark.parametrize(("made", "advice"), PROPOSED.values(), ids=PROPOSED.keys())
def test_message_proposes_the_way_out_for_the_thing_at_hand(load: Load, made: str, advice: str) -> None:
    found = refusals(load, f"{made}\ncheckpoint('k')\nreturn c")

    assert ("lost_name", True) in [(code, advice in message) for code, message in found], found


@pytest.mark.parametrize("made", ["c = Client()", "c = sqlite3.connect('x')", "c = threading.Lock()"])
def test_proposed_mark_is_accepted(load: Load, made: str) -> None:
    load(source(f"{made}  # trigger: again\ncheckpoint('k')\nreturn c"))

    assert registry["t"].points[0].again == ("c",)


def test_proposed_save_of_what_the_marked_line_reads_is_accepted(load: Load) -> None:
    load(source("u = effect('x')\nc = Client(u)  # trigger: again\ncheckpoint('k', u=u)\nreturn c"))

    assert registry["t"].points[0].needs == ("u",)


WITHS = {
    "a client that both sides use": ("with Client() as c:", "c.get()", "with_state", "again"),
    "a file that is read": ("with open('x') as c:", "c.read()", "gathering_with", "again"),
    "a transaction": ("with a.begin() as c:", "c.get()", "transaction", "re-enter"),
    "a temporary folder": ("with tempfile.TemporaryDirectory() as c:", "a(c)", "gathering_with", None),
    "a file that is written": ("with open('x', 'w') as c:", "c.write('y')", "gathering_with", None),
}


@pytest.mark.parametrize(("header", "use", "code", "mark"), WITHS.values(), ids=WITHS.keys())
def test_mark_on_a_with_accepts_a_new_object_unless_its_content_is_gone(
    load: Load, header: str, use: str, code: str, mark: str | None
) -> None:
    body = f"{header}\n  {use}\n  checkpoint('k')\n  {use}"

    (problem,) = refusals(load, body)

    assert problem[0] == code
    if mark is not None:
        assert f"`# trigger: {mark}`" in problem[1]
        load(source(body.replace(header, f"{header}  # trigger: {mark}")))
    else:
        assert "# trigger" not in problem[1]
        for word in ("again", "re-enter"):
            assert [found for found, _ in refusals(load, body.replace(header, f"{header}  # trigger: {word}"))] == [
                code
            ]


def test_temporary_folder_that_only_the_code_behind_uses_may_be_marked(load: Load) -> None:
    load(source("with tempfile.TemporaryDirectory() as c:  # trigger: again\n  checkpoint('k')\n  print(c)"))

    assert registry["t"].points[0].key == "k"


def test_direct_call_makes_it_once(load: Load) -> None:
    module = load(source("c = Client()  # trigger: again\ncheckpoint('k')\nreturn c.get()"))

    assert module.t() == "get"
    assert effects == ["u", "get"]
