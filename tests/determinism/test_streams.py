"""Streams against Philox written out from its paper, and against each other."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bitexact.determinism.streams import Purpose, Stream

_WORD = (1 << 64) - 1


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """One block of Philox-4x64-10, as Salmon et al. give it in "Parallel random numbers: as easy as 1, 2, 3"."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        first, second = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = (second >> 64) ^ b ^ k0, second & _WORD, (first >> 64) ^ d ^ k1, first & _WORD
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & _WORD, (k1 + 0xBB67AE8584CAA73B) & _WORD
    return a, b, c, d


def expected_uniforms(seed: int, purpose: int, update: int, index: int, blocks: int) -> list[float]:
    # NumPy counts up before it draws: the first block is number 1.
    words = itertools.chain.from_iterable(
        philox((block, 0, update, index), (seed, purpose)) for block in range(1, blocks + 1)
    )
    return [(word >> 11) / 2**53 for word in words]


words = st.integers(0, _WORD)
names = st.tuples(words, st.sampled_from(Purpose), words, words)


def test_the_oracle_gives_the_papers_known_answers():
    assert philox((0,) * 4, (0,) * 2) == (
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    )
    assert philox((_WORD,) * 4, (_WORD,) * 2) == (
        0x87B092C3013FE90B,
        0x438C3C67BE8D0224,
        0x9CC7D7C69CD777B6,
        0xA09CAEBF594F0BA0,
    )


@pytest.mark.parametrize("name", [(0, Purpose.POLICY, 0, 0), (7, Purpose.STICKY_ACTIONS, 12, 3)])
def test_uniforms_are_philox_for_many_blocks(name):
    assert Stream(*name).uniforms(4 * 300).tolist() == expected_uniforms(*name, blocks=300)


@given(names)
def test_uniforms_are_philox_under_every_name(name):
    assert Stream(*name).uniforms(8).tolist() == expected_uniforms(*name, blocks=2)


@given(names, names)
def test_two_names_never_share_a_stream(first, second):
    assume(first != second)
    assert not set(Stream(*first).uniforms(16).tolist()) & set(Stream(*second).uniforms(16).tolist())


def test_neighbouring_streams_share_no_number():
    # A stream that runs into its neighbour's counters would show here; chance alone gives 1 in 10^7.
    grid = itertools.product((0, 1, 7), Purpose, range(5), range(5))
    drawn = [Stream(*name).uniforms(128) for name in grid]
    assert len(np.unique(drawn)) == len(drawn) * 128


def test_seed_update_and_index_are_not_padded_to_one_another():
    # SeedSequence fails this one: there (7, 0, 0), (7, 0) and 7 are one seed.
    small = [Stream(*name) for name in itertools.permutations((7, Purpose.INITIAL_WEIGHTS, 1, 2))]
    assert len({stream.uniforms(1)[0] for stream in small}) == 24


def test_purposes_keep_their_numbers():
    # An IntEnum takes a number used twice as an alias, without a word.
    assert {name: purpose.value for name, purpose in Purpose.__members__.items()} == {
        "INITIAL_WEIGHTS": 0,
        "POLICY": 1,
        "STICKY_ACTIONS": 2,
        "EVALUATION": 3,
        "MINIBATCHES": 4,
    }


def test_an_order_is_that_of_the_draws_and_holds_each_number_once():
    draws = Stream(3, Purpose.MINIBATCHES, 1, 2).uniforms(5000)
    order = Stream(3, Purpose.MINIBATCHES, 1, 2).order(5000)
    assert sorted(order.tolist()) == list(range(5000))
    assert (np.diff(draws[order]) >= 0).all()


def test_uniforms_fill_the_interval_from_0_to_below_1():
    drawn = Stream(0, Purpose.EVALUATION).uniforms(1_000_000)
    assert drawn.dtype == np.float64
    assert 0.0 <= drawn.min() < 1e-4
    assert 1.0 - 1e-4 < drawn.max() < 1.0
    np.testing.assert_array_equal(drawn * 2**53, np.floor(drawn * 2**53))


def test_the_largest_uniform_is_below_1():
    class AllOnes:
        def random_raw(self, count: int) -> np.ndarray:
            return np.full(count, _WORD, np.uint64)

    stream = Stream(0, Purpose.POLICY)
    stream._bits = AllOnes()
    assert stream.uniforms(1)[0] == 1.0 - 2.0**-53


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 5000])
def test_one_by_one_come_the_numbers_of_a_block(count):
    one_by_one = list(itertools.islice(Stream(3, Purpose.POLICY, 2, 1), count))
    assert one_by_one == Stream(3, Purpose.POLICY, 2, 1).uniforms(count).tolist()
    assert {type(number) for number in one_by_one} == {float}


@given(st.lists(st.integers(0, 9), max_size=8))
def test_uniforms_go_on_where_they_stopped(counts):
    stream = Stream(1, Purpose.POLICY, 2, 3)
    in_parts = np.concatenate([stream.uniforms(count) for count in counts] or [[]])
    assert in_parts.tolist() == Stream(1, Purpose.POLICY, 2, 3).uniforms(sum(counts)).tolist()


@pytest.mark.parametrize("name", [(-1, 0, 0, 0), (1 << 64, 0, 0, 0), (0, 0, -1, 0), (0, 0, 0, 1 << 64)])
def test_a_name_that_does_not_fit_is_refused(name):
    with pytest.raises(OverflowError):
        Stream(*name)
