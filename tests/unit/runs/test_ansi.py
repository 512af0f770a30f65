import pytest

from apps.runs.ansi import Piece, pieces


def test_plain_line_is_one_piece() -> None:
    assert pieces("charging the card") == [Piece("charging the card")]


def test_colours_and_attributes_become_classes() -> None:
    found = pieces("\x1b[1;31mdeclined\x1b[0m by the \x1b[36mnetwork")

    assert found == [Piece("declined", "ansi-red ansi-bold"), Piece(" by the "), Piece("network", "ansi-cyan")]


def test_numbers_of_a_true_colour_are_not_codes() -> None:
    assert pieces("\x1b[38;2;1;4;31mtext") == [Piece("text")]


@pytest.mark.parametrize(
    "sequence",
    ["\x1b[2J", "\x1b[10;20H", "\x1b]0;title\x07", "\x1b]8;;http://evil\x1b\\", "\x1bM", "\x07", "\r", "\x1b[?25l"],
)
def test_other_sequences_are_dropped(sequence: str) -> None:
    text = "".join(piece.text for piece in pieces(f"a{sequence}b"))

    assert text == "ab"


def test_class_names_come_from_a_fixed_set() -> None:
    found = pieces('\x1b[31"onload=x;99999999999999999999;1mhi')

    assert all(piece.classes in ("", "ansi-bold", "ansi-red ansi-bold", "ansi-red") for piece in found)
