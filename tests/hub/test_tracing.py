# SPDX-License-Identifier: Apache-2.0
"""Steps and the spans that become of them; what the wire says is in flows/."""

import itertools
import json
import logging
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from channel.logs import JsonLines
from hub import tracing
from hub.errors import InsufficientBalanceError
from hub.tracing.spans import Span, spans_of
from hub.tracing.steps import Step, writing_to

WITHDRAWAL = tracing.of_withdrawal("11111111-2222-4333-8444-555555555555")
SWEEP = tracing.of_sweep("A" * 81)


@pytest.fixture
def written() -> Iterator[list[Step]]:
    steps: list[Step] = []
    with writing_to(steps.append):
        yield steps


def spans(step: Step, *, ratio: float = 1.0) -> list[Span]:
    ids = itertools.count(1)
    return list(
        spans_of(step, ratio=ratio, fresh_id=lambda: next(ids).to_bytes(8, "big"))
    )


def test_every_process_comes_to_the_same_ids() -> None:
    # printf 'saltkeep-withdrawal%s' UUID | sha256sum
    digest = "41db66064d712267169ccbab32023990"
    assert tracing.of_withdrawal("11111111-2222-4333-8444-555555555555") == WITHDRAWAL
    assert WITHDRAWAL.trace_id.hex() == digest
    assert len(WITHDRAWAL.trace_id) == 16
    assert len(WITHDRAWAL.root_id) == 8
    assert WITHDRAWAL.trace_id != SWEEP.trace_id


def test_a_ratio_keeps_so_many_traces_and_a_larger_one_keeps_them_too() -> None:
    some = [tracing.of_withdrawal(str(uuid.UUID(int=n))) for n in range(4000)]
    tenth = {one.trace_id for one in some if one.is_sampled(0.1)}
    third = {one.trace_id for one in some if one.is_sampled(0.3)}
    assert 300 < len(tenth) < 500
    assert tenth < third
    assert all(one.is_sampled(1.0) for one in some)


def test_a_step_is_in_the_trace_of_all_it_concerns_with_its_parts(
    written: list[Step],
) -> None:
    with tracing.step("plan") as planning:
        with tracing.step("ask appliance"):
            pass
        planning.about(SWEEP.made(), WITHDRAWAL)
    (step,) = written
    ours, part, theirs, again = spans(step)
    assert [one.name for one in (ours, part, theirs, again)] == [
        "plan",
        "ask appliance",
        "plan",
        "ask appliance",
    ]
    assert (ours.trace_id, ours.parent_id) == (SWEEP.trace_id, None)
    assert part.parent_id == ours.span_id
    assert (theirs.trace_id, theirs.parent_id) == (
        WITHDRAWAL.trace_id,
        WITHDRAWAL.root_id,
    )
    assert theirs.links == ((SWEEP.trace_id, SWEEP.root_id),)


def test_a_step_that_concerns_nothing_or_repeats_another_leaves_no_trace(
    written: list[Step],
) -> None:
    with tracing.step("confirm"):
        pass
    with tracing.step("request") as request:
        request.about(WITHDRAWAL)
        with tracing.step("book"):
            tracing.current().forget()
    assert written == []


def test_a_failure_is_told_by_its_code_alone(written: list[Step]) -> None:
    def refuse() -> None:
        with tracing.step("request") as request:
            request.about(WITHDRAWAL)
            raise InsufficientBalanceError("5 i are available")

    with pytest.raises(InsufficientBalanceError):
        refuse()
    (span,) = spans(written[0])
    assert span.failure == "insufficient-balance"
    assert "available" not in str(span)


def test_what_a_peer_did_lies_end_to_end_inside_the_time_it_was_asked(
    written: list[Step],
) -> None:
    with tracing.step("sign") as signing:
        signing.about(SWEEP)
        with tracing.step("ask appliance") as asking:
            asking.lay({"look": 0.001, "sign": 1e9}, peer="appliance")
    _, asked, look, sign = spans(written[0])
    assert asked.started_ns <= look.started_ns <= look.ended_ns == sign.started_ns
    assert sign.ended_ns <= asked.ended_ns  # a peer that boasts is cut short


def test_the_life_of_a_subject_is_its_root_span(written: list[Step]) -> None:
    with tracing.step("confirm") as confirming:
        confirming.about(WITHDRAWAL)
        confirming.waited("wait for confirmation", WITHDRAWAL, since_ms=2)
        confirming.lived("withdrawal", WITHDRAWAL, since_ms=1, state="confirmed")
    step, wait, whole = spans(written[0])
    assert (whole.span_id, whole.parent_id) == (WITHDRAWAL.root_id, None)
    assert (whole.started_ns, whole.ended_ns) == (1_000_000, step.ended_ns)
    assert (wait.started_ns, wait.ended_ns) == (2_000_000, step.started_ns)
    assert wait.parent_id == whole.span_id


def test_what_is_told_twice_is_one_and_what_failed_has_not_happened(
    written: list[Step],
) -> None:
    with tracing.step("request") as request:
        request.about(WITHDRAWAL)
        for _ in range(2):  # a transaction that lost a race runs again
            request.lived("withdrawal", WITHDRAWAL, since_ms=1)
            request.waited("wait for approval", WITHDRAWAL, since_ms=1)
    with tracing.step("request") as request:
        request.about(WITHDRAWAL)
        request.lived("withdrawal", WITHDRAWAL, since_ms=1)
        request.failed("withdrawal-final")
    once, failed = written
    names = [one.name for one in spans(once)]
    assert names == ["request", "withdrawal", "wait for approval"]
    assert [one.name for one in spans(failed)] == ["request"]


@pytest.mark.parametrize(
    ("header", "linked"),
    [
        (f"00-{'4b' * 16}-{'f0' * 8}-01", True),
        (f"00-{'4b' * 16}-{'f0' * 8}-01-more", True),
        (f"00-{'00' * 16}-{'f0' * 8}-01", False),
        (f"00-{'4b' * 15}-{'f0' * 8}-01", False),
        (f"00-{'zz' * 16}-{'f0' * 8}-01", False),
        ("", False),
    ],
)
def test_a_clients_span_is_linked_to_if_it_is_one(
    header: str, *, linked: bool, written: list[Step]
) -> None:
    with tracing.step("request") as request:
        request.about(WITHDRAWAL)
        request.asked_by(header)
    (span,) = spans(written[0])
    assert bool(span.links) is linked


def test_a_log_line_inside_a_step_names_its_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log, handler = logging.getLogger(), logging.StreamHandler()
    handler.setFormatter(JsonLines())
    log.addHandler(handler)
    try:
        with writing_to(lambda _: None), tracing.step("sign") as signing:
            signing.about(SWEEP)
            log.warning("inside")
        log.warning("outside")
    finally:
        log.removeHandler(handler)
    inside, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert inside["trace_id"] == SWEEP.trace_id.hex()
    assert "trace_id" not in outside


def test_without_a_collector_nothing_of_opentelemetry_is_loaded() -> None:
    look = "import sys, hub.service; print([m for m in sys.modules if 'telem' in m])"
    done = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_silent_step_costs_a_comparison_and_hears_nothing() -> None:
    one = tracing.step("plan", amount_i=1)
    assert one is tracing.step("sign")
    with one:
        one.about(SWEEP)
        assert tracing.current() is one
    assert not one.subjects
