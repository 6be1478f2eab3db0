import math

from hypothesis import given
from hypothesis import strategies as st

from fundus_synth.synth.watchdog import ADAPT, BEST, FINE, GO_BACK, MOST_INTERVENTIONS, PATIENCE, STOP, Watchdog


def score(kid, diversity=1.0, half_width=0.1):
    return {"kid": kid, "kid_low": kid - half_width, "kid_high": kid + half_width, "diversity": diversity}


def actions(watchdog, kids, **options):
    return [watchdog.judge(step, score(kid), **options).action for step, kid in enumerate(kids)]


def test_the_best_is_the_lowest_mean_of_two_measurements():
    watchdog = Watchdog()
    assert actions(watchdog, [2.0, 1.0, 1.6, 0.9]) == [BEST, BEST, BEST, BEST]
    assert actions(Watchdog(), [1.0, 1.5, 0.4]) == [BEST, FINE, BEST]
    assert math.isclose(watchdog.best["kid"], (1.6 + 0.9) / 2)


def test_only_clearly_worse_measurements_in_a_row_send_it_back():
    slightly = [1.0] + [1.15] * 10  # its interval overlaps that of the best
    assert GO_BACK not in actions(Watchdog(), slightly)
    interrupted = [1.0, *([2.0] * (PATIENCE - 1)), 1.05, *([2.0] * (PATIENCE - 1))]
    assert GO_BACK not in actions(Watchdog(), interrupted)
    assert actions(Watchdog(), [1.0, *([2.0] * PATIENCE)])[-1] == GO_BACK


def test_lost_diversity_sends_it_back_at_once():
    watchdog = Watchdog()
    watchdog.judge(1, score(1.0, diversity=0.8))
    verdict = watchdog.judge(2, score(0.5, diversity=0.3))
    assert verdict.action == GO_BACK and "diversity" in verdict.reason
    assert watchdog.best["step"] == 1


def test_an_overpowering_discriminator_is_adapted_to_without_going_back():
    assert actions(Watchdog(), [1.0] + [1.05] * PATIENCE, real_side=1.0)[-1] == ADAPT
    assert ADAPT not in actions(Watchdog(), [1.0] + [1.05] * 10, real_side=0.8)


def test_it_gives_up_when_nothing_helps_and_starts_counting_again_when_something_did():
    watchdog = Watchdog()
    seen = actions(watchdog, [1.0] + [3.0] * (PATIENCE * (MOST_INTERVENTIONS + 1)))
    assert seen.count(GO_BACK) == MOST_INTERVENTIONS and seen[-1] == STOP and watchdog.gave_up
    helped = Watchdog()
    actions(helped, [1.0] + [3.0] * (PATIENCE * MOST_INTERVENTIONS))
    assert helped.interventions == MOST_INTERVENTIONS
    actions(helped, [0.5])
    assert helped.interventions == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0.01, 1)), max_size=30), st.integers(0, 30))
def test_its_memory_is_all_it_needs(measurements, cut):
    whole, first = Watchdog(), Watchdog()
    expected = [whole.judge(i, score(k, d)) for i, (k, d) in enumerate(measurements)]
    got = [first.judge(i, score(k, d)) for i, (k, d) in enumerate(measurements[:cut])]
    second = Watchdog(**first.memory)
    got += [second.judge(i, score(k, d)) for i, (k, d) in enumerate(measurements[cut:], start=cut)]
    assert got == expected
