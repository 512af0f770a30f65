from django.template.loader import get_template, render_to_string


def test_indentation_of_our_templates_is_not_sent() -> None:
    page = render_to_string("503.html")

    assert "\n<h1>" in page
    assert "\n " not in page


def test_a_page_keeps_the_spaces_of_what_it_shows() -> None:
    page = render_to_string("_copy.html", {"text": "two  spaces\n   and a line", "label": "it"})

    assert "two  spaces\n   and a line" in page


def test_templates_of_installed_apps_are_found() -> None:
    assert get_template("admin/login.html")
