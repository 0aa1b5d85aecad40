import asyncio

import pytest

from sandbox_operator import program
from sandbox_operator.errors import SettingsError


async def test_background_work_that_fails_ends_the_program_with_its_error() -> None:
    async def broken() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await program.until(asyncio.Event(), [asyncio.create_task(broken())])


async def test_background_work_that_just_ends_is_an_error_too() -> None:
    async def nothing() -> None:
        return None

    with pytest.raises(RuntimeError, match="background task watch ended by itself"):
        await program.until(asyncio.Event(), [asyncio.create_task(nothing(), name="watch")])


async def test_the_end_comes_with_the_event_and_takes_the_background_along() -> None:
    stop = asyncio.Event()
    work = asyncio.create_task(asyncio.Event().wait())
    stop.set()
    await program.until(stop, [work])
    await program.cancel([work])
    assert work.cancelled()


def test_wrong_settings_end_the_program_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> program.Serve:
        raise SettingsError("PORT is 'x': want a number")

    assert program.run("apiserver", load) == 1
    assert capsys.readouterr().err == "apiserver: PORT is 'x': want a number\n"
