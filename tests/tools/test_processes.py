"""Jobs in threads: lines in order, no more at a time than asked, and an error stops all."""

import threading
import time

import pytest

from seg2vid.tools.processes import in_order


@pytest.mark.parametrize("workers", [1, 3])
def test_lines_come_in_the_order_of_jobs(workers: int) -> None:
    going, most, lock = 0, 0, threading.Lock()

    def job(number: int) -> list[str]:
        nonlocal going, most
        with lock:
            going += 1
            most = max(most, going)
        time.sleep(0.02 * (number % 3 == 0) + 0.005)
        with lock:
            going -= 1
        return [f"{number} a", f"{number} b"]

    said: list[str] = []
    with in_order(workers) as work:
        for number in range(7):
            said += work(lambda _, number=number: job(number))
        said += work()
    assert said == [f"{number} {part}" for number in range(7) for part in "ab"]
    assert most == workers


def test_an_error_stops_the_others() -> None:
    stopped = threading.Event()

    def wait(told: threading.Event) -> list[str]:
        if told.wait(5):
            stopped.set()
        return []

    with pytest.raises(ValueError, match="broken"), in_order(2) as work:
        list(work(wait))
        raise ValueError("broken")
    assert stopped.is_set()
