"""The queue: order, places, limits, and ends of every kind."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from seg2vid.studio.jobs import Job, Limits, StudioError, Workshop
from seg2vid.tools.errors import ModelError
from tests.tiny import street_map


class Gate:
    """Steps that wait to be let through."""

    def __init__(self, count: int = 1) -> None:
        self.begun, self.open = threading.Event(), threading.Event()
        self.count, self.made = count, 0

    def steps(self) -> Iterator[int]:
        self.begun.set()
        for number in range(self.count):
            assert self.open.wait(10)
            self.made += 1
            yield number


def wait_for(is_so: Any) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    made = Workshop(Limits(waiting=3, seconds=5.0))
    made.start()
    yield made
    made.stop()


def test_jobs_are_done_in_order_and_know_their_place(workshop: Workshop) -> None:
    gates = [Gate() for _ in range(4)]
    jobs = [Job(gate.steps()) for gate in gates]
    workshop.add(jobs[0])
    gates[0].begun.wait(10)
    behind = replace(jobs[1], in_background=True)
    for job in (behind, *jobs[2:]):
        workshop.add(job)
    assert [workshop.place(one) for one in (jobs[0], *jobs[2:], behind)] == [0, 1, 2, 3]
    assert [one.state for one in jobs] == ["working", "waiting", "waiting", "waiting"]
    with pytest.raises(StudioError, match="fewer than 3 jobs in the queue; got 3 that wait; try"):
        workshop.add(Job(iter(())))
    for gate in gates:
        gate.open.set()
    wait_for(lambda: behind.is_over)
    assert all(one.state == "done" for one in (jobs[0], *jobs[2:], behind))
    assert workshop.waiting == 0 and workshop.find(jobs[0].id) is jobs[0]


def test_a_waiting_job_is_taken_out_and_a_working_one_stops_after_its_step(
    workshop: Workshop,
) -> None:
    gate, other = Gate(3), Gate()
    working, waiting = Job(gate.steps()), Job(other.steps())
    workshop.add(working)
    workshop.add(waiting)
    gate.begun.wait(10)
    workshop.cancel(waiting)
    workshop.cancel(working)
    gate.open.set()
    wait_for(lambda: gate.made == 1)
    last = Job(iter([1]))
    workshop.add(last)
    wait_for(lambda: last.is_over)
    assert (working.state, waiting.state) == ("cancelled", "cancelled")
    assert gate.made == 1 and other.made == 0 and working.results == []
    workshop.cancel(last)
    assert workshop.find(last.id) is None, "what is over is forgotten"


def failing(error: Exception) -> Iterator[int]:
    yield 1
    raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModelError("a thing", got="none", fix="give one"), "Expected a thing; got none; give one"),
        (MemoryError(), "Expected enough memory; got too little; ask for fewer frames."),
        (RuntimeError("odd"), "Expected no mistake in seg2vid itself; got RuntimeError: odd;"),
    ],
)
def test_what_went_wrong_is_told_and_the_next_job_is_done(
    workshop: Workshop, error: Exception, words: str
) -> None:
    job, after = Job(failing(error)), Job(iter([2]))
    workshop.add(job)
    workshop.add(after)
    wait_for(lambda: after.is_over)
    assert job.state == "failed" and job.error.startswith(words)
    assert after.results == [2]


def test_a_job_that_takes_too_long_is_stopped() -> None:
    def slow() -> Iterator[int]:
        while True:
            time.sleep(0.02)
            yield 0

    workshop = Workshop(Limits(seconds=0.1))
    workshop.start()
    job = Job(slow(), total=1000)
    workshop.add(job)
    wait_for(lambda: job.is_over)
    workshop.stop()
    assert job.state == "failed" and "at most 0.1 seconds" in job.error
    assert "ask for fewer frames" in job.error


def test_the_oldest_results_are_forgotten_first(pipe) -> None:
    video = pipe(street_map(), num_frames=4, seed=0)
    size = Job(iter(()), results=[video]).nbytes
    assert size > sum(
        one.numel() * one.element_size() for one in (video.frames, video.motion.forward_flow)
    )
    workshop = Workshop(Limits(kept_bytes=2 * size, kept_jobs=3))
    workshop.start()
    jobs = []
    for _ in range(4):
        jobs.append(Job(iter([video]), total=4))
        workshop.add(jobs[-1])
        wait_for(lambda: jobs[-1].is_over)
    wait_for(lambda: workshop.find(jobs[1].id) is None)
    assert [workshop.find(one.id) is not None for one in jobs] == [False, False, True, True]
    assert jobs[3].ready == 4
    workshop.stop()
    large = Workshop(Limits(kept_bytes=0))
    large.start()
    large.add(job := Job(iter([video])))
    wait_for(lambda: job.is_over)
    assert large.find(job.id) is job, "the last one stays, however large"
    large.stop()


def test_stopping_cancels_all_and_ends_the_thread() -> None:
    calls: list[int] = []
    workshop = Workshop(Limits(), lambda: calls.append(1))
    workshop.start()
    gate = Gate(2)
    jobs = [Job(gate.steps()), Job(iter([1]))]
    for job in jobs:
        workshop.add(job)
    gate.begun.wait(10)
    gate.open.set()
    workshop.stop()
    assert [one.state for one in jobs] == ["cancelled", "cancelled"]
    assert calls
    with pytest.raises(StudioError):
        workshop.add(Job(iter(())))
