"""Pictures that threads decode, several at a time."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from soup.data.loading import images
from soup.data.loading.images import in_threads


class Waking(ThreadPoolExecutor):
    """Threads that count how often one of them is woken."""

    woken = 0

    def submit(self, *call: Any, **options: Any) -> Future[Any]:
        self.woken += 1
        return super().submit(*call, **options)


@pytest.mark.parametrize(("items", "woken"), [(1000, 32), (20, 10), (3, 3), (0, 0)])
def test_a_thread_takes_many_pictures_at_a_time_and_few_are_shared_evenly(
    items: int, woken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "cores", lambda: 2)
    with Waking(2) as threads:
        monkeypatch.setattr(images, "_threads", lambda: threads)
        assert in_threads(lambda i: -i, range(items)) == [-i for i in range(items)]
    assert threads.woken == woken
