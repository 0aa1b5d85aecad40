from sandbox_protocol.waiting_page import PAGE_BYTES, Page


def test_nothing_of_what_is_shown_can_become_markup() -> None:
    evil = "<script>alert(1)</script>&\"'"
    made = Page(evil, evil, facts=((evil, evil),), lines=(evil, evil), request_id=evil.encode()).html().decode()
    assert "<script" not in made
    assert made.count("&lt;script&gt;") == 8  # the title twice


def test_half_a_character_of_what_is_shown_is_spelt_out() -> None:
    assert b"run \\ud800" in Page("t", "m", facts=(("Command", "run \ud800"),)).html()


def test_the_oldest_lines_give_way_to_keep_the_page_small() -> None:
    made = Page("t", "m", lines=("<" * 200,) * 50 + ("the last line",), facts=(("State", "Starting"),), reload_seconds=1).html()
    assert len(made) <= PAGE_BYTES
    assert b"the last line" in made
    assert b"Starting" in made


def test_only_a_page_for_what_passes_by_itself_looks_again() -> None:
    assert b'http-equiv="refresh" content="2"' in Page("t", "m", reload_seconds=2).html()
    assert b"http-equiv" not in Page("t", "m").html()
    assert b'class="turn"' not in Page("t", "m", reload_seconds=2, failed=True).html()
