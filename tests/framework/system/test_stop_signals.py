"""Signals are noted for the training to obey; a second Ctrl-C is obeyed at once."""

import signal

import pytest

from slotlab.framework.system.stop_signals import listening


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_is_noted_and_ctrl_c_after_it_stops_at_once(first: signal.Signals) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with listening() as stop:
        assert stop.signal is None
        signal.raise_signal(first)
        assert stop.signal == first
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_sigterm_changes_nothing() -> None:
    with listening() as stop:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM


def test_what_the_shell_had_ignored_stays_ignored() -> None:
    """`nohup` and `&` in a script protect a training; it must not undo that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with listening() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal is None
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
