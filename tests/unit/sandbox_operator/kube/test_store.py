from __future__ import annotations

from typing import Any

from sandbox_operator.kube.client import ObjectList
from sandbox_operator.kube.store import Store


def item(name: str, version: int, uid: str | None = None) -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}}


class Log:
    def __init__(self) -> None:
        self.changes: list[tuple[str | None, str | None]] = []

    def __call__(self, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        def version(it: dict[str, Any] | None) -> str | None:
            return None if it is None else it["metadata"]["resourceVersion"]

        self.changes.append((version(old), version(new)))


def test_old_news_never_overwrites_newer() -> None:
    log = Log()
    store = Store(log)
    store.put(item("a", 9))
    store.put(item("a", 10))
    store.put(item("a", 9))
    assert store.get("n", "a") == item("a", 10)
    assert log.changes == [(None, "9"), ("9", "10")]


def test_the_same_news_twice_is_told_once() -> None:
    log = Log()
    store = Store(log)
    store.put(item("a", 1))
    store.put(item("a", 1))
    assert log.changes == [(None, "1")]


def test_a_deleted_object_is_not_brought_back_by_a_list_from_before() -> None:
    store = Store()
    store.put(item("a", 1))
    store.drop(item("a", 5))
    store.replace(ObjectList([item("a", 1)], "3"))
    assert store.get("n", "a") is None


def test_a_list_prunes_what_vanished_unseen() -> None:
    log = Log()
    store = Store(log)
    store.put(item("a", 1))
    store.put(item("b", 2))
    store.replace(ObjectList([item("b", 2)], "7"))
    assert [entry["metadata"]["name"] for entry in store.items()] == ["b"]
    assert log.changes[-1] == ("1", None)


def test_a_list_does_not_prune_what_came_after_it() -> None:
    store = Store()
    store.put(item("a", 8))
    store.replace(ObjectList([], "7"))
    assert store.get("n", "a") is not None


def test_a_name_that_is_used_again_is_another_object() -> None:
    store = Store()
    store.put(item("a", 5, "old"))
    store.put(item("a", 6, "new"))
    assert store.by_uid("old") is None
    assert store.by_uid("new") == store.get("n", "a")
    store.drop(item("a", 7, "old"))
    assert store.get("n", "a") is not None


def test_slim_decides_what_is_kept() -> None:
    store = Store(slim=lambda live: {"metadata": live["metadata"]})
    store.put({**item("a", 1), "data": {"big": "x"}})
    assert store.get("n", "a") == item("a", 1)
    assert len(store) == 1
