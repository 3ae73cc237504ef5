"""The game against its peers: Karpathy's rule on RGB, Gymnasium's ALE/Pong-v5, the emulator's own sticky actions."""

import hashlib
import struct
from collections import Counter
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py import Action, ALEInterface, LoggerMode, roms
from gymnasium.utils.env_checker import check_env
from scipy import stats

from bitexact.determinism.streams import Purpose, Stream
from pong import game
from pong.game import DOWN, UP, Pong

gymnasium.register_envs(ale_py)


def karpathy(rgb: np.ndarray) -> np.ndarray:
    """The rule of "Pong from pixels", word for word."""
    image = rgb[35:195][::2, ::2, 0].copy()
    image[image == 144] = 0
    image[image == 109] = 0
    image[image != 0] = 1
    return image.ravel()


def emulator_palette() -> np.ndarray:
    """All 256 colours, uint8 [256, 3]: the emulator has no call for them, so they are read out of its binary."""
    binary = Path(ale_py._ale_py.__file__).read_bytes()
    first_colours = struct.pack("<8I", 0, 0, 0x4A4A4A, 0x4A4A4A, 0x6F6F6F, 0x6F6F6F, 0x8E8E8E, 0x8E8E8E)
    assert binary.count(first_colours) == 1
    colours = np.frombuffer(binary, "<u4", count=256, offset=binary.index(first_colours))
    return np.stack([colours >> 16 & 255, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8)


def emulator(frame_skip: int, sticky_probability: float) -> ALEInterface:
    ALEInterface.setLoggerMode(LoggerMode.Error)
    peer = ALEInterface()
    peer.setInt("random_seed", 1)
    peer.setInt("frame_skip", frame_skip)
    peer.setFloat("repeat_action_probability", sticky_probability)
    peer.loadROM(roms.get_rom_path("pong"))
    peer.reset_game()
    return peer


def random_actions(seed: int, count: int = 10_000) -> list[int]:
    return np.random.default_rng(seed).integers(2, size=count).tolist()


def trace(pong: Pong, name: tuple[int, int, int], actions: list[int]) -> str:
    """Everything a game shows, as one digest."""
    seed, update, index = name
    pong.reset(seed=seed, options={"update": update, "index": index})
    return trace_from_here(pong, actions)


def trace_from_here(pong: Pong, actions: list[int]) -> str:
    shown = hashlib.sha256()
    for action in actions:
        observation, *rest, _ = pong.step(action)
        shown.update(observation.tobytes() + repr(rest).encode())
        if rest[1] or rest[2]:
            break
    return shown.hexdigest()


def play_out(pong: Pong, actions: list[int]) -> int:
    """Step to the end of the game; how many steps it took."""
    for steps, action in enumerate(actions, start=1):
        _, _, terminated, truncated, _ = pong.step(action)
        if terminated or truncated:
            return steps
    raise AssertionError("more actions are needed")


@pytest.fixture(scope="module")
def pong() -> Pong:
    return Pong()


# ---- preprocessing ----------------------------------------------------------------------------------------------


def test_foreground_is_karpathys_rule_for_all_256_colours():
    screen = np.resize(np.arange(256, dtype=np.uint8).repeat(2), (210, 160))
    seen = screen[35:195:2, ::2]
    assert len(np.unique(seen)) == 256
    lit = game.foreground(screen)
    assert lit.dtype == np.int8
    np.testing.assert_array_equal(lit, karpathy(emulator_palette()[screen]))


def test_foreground_is_karpathys_rule_on_every_frame_of_a_game():
    peer, palette = emulator(frame_skip=1, sticky_probability=0.0), emulator_palette()
    frames = 0
    while not peer.game_over():
        peer.act((Action.RIGHT, Action.LEFT)[frames // 16 % 2])
        screen, rgb = peer.getScreen(), peer.getScreenRGB()
        assert (game.foreground(screen) == karpathy(rgb)).all(), f"frame {frames}"
        if frames % 64 == 0:  # the palette of the test above is the one this game is shown in
            np.testing.assert_array_equal(palette[screen], rgb)
        frames += 1
    assert frames > 3_000  # 764 steps of four frames: the shortest game there is


# ---- the rules of ALE/Pong-v5 -----------------------------------------------------------------------------------


def test_constants_are_those_gymnasium_registers():
    rules = gymnasium.spec("ALE/Pong-v5").kwargs
    assert rules["frameskip"] == game.FRAMES_PER_STEP
    assert rules["repeat_action_probability"] == game.STICKY_PROBABILITY
    assert rules["max_num_frames_per_episode"] == game.MAX_STEPS * game.FRAMES_PER_STEP


@pytest.mark.parametrize("seed", [0, 1])
def test_without_sticky_actions_a_game_is_gymnasiums(seed):
    pong, peer = Pong(sticky_probability=0.0), gymnasium.make("ALE/Pong-v5", repeat_action_probability=0.0)
    assert [peer.unwrapped.get_action_meanings()[action] for action in (2, 3)] == ["RIGHT", "LEFT"]
    first, _ = pong.reset(seed=seed)
    assert not first.any()
    before = karpathy(peer.reset(seed=seed)[0]).astype(np.int8)
    terminated = False
    for action in random_actions(seed):
        observation, *rest, _ = pong.step(action)
        rgb, *peer_rest, _ = peer.step({UP: 2, DOWN: 3}[action])
        after = karpathy(rgb).astype(np.int8)
        assert (observation == after - before).all()
        assert rest == peer_rest
        before, terminated = after, rest[1]
        if terminated:
            break
    assert terminated


# Each switch of action is delayed by the frames that repeat the one before it, and the observations show the delay.
SWITCHES = (UP, DOWN, UP)
TRIALS = 3_000
# How often the test is to reject equal distributions by chance; its streams are fixed, so it does so always or never.
FALSE_ALARM_RATE = 1e-6


def what_the_game_shows(sticky_probability: float) -> Counter[bytes]:
    pong, seen = Pong(sticky_probability), Counter()
    for index in range(TRIALS):
        pong.reset(seed=1, options={"index": index})
        seen[b"".join(pong.step(action)[0].tobytes() for action in SWITCHES)] += 1
    return seen


def what_the_emulator_shows(frame_skip: int) -> Counter[bytes]:
    peer, seen = emulator(frame_skip, game.STICKY_PROBABILITY), Counter()
    start, first = peer.cloneState(), game.foreground(peer.getScreen())
    per_step = game.FRAMES_PER_STEP // frame_skip
    for _ in range(TRIALS):
        for _ in range(2 * per_step):  # restoring leaves the held action alone: eight frames to fall back to NOOP
            peer.act(Action.NOOP)
        peer.restoreState(start)
        screens = [first]
        for action in SWITCHES:
            for _ in range(per_step):
                peer.act(Action.RIGHT if action == UP else Action.LEFT)
            screens.append(game.foreground(peer.getScreen()))
        seen[np.diff(screens, axis=0).tobytes()] += 1
    return seen


def p_value(first: Counter[bytes], second: Counter[bytes]) -> float:
    """Chi-square test of equal distributions; what was seen fewer than 20 times is taken together."""
    table = np.array([[counts[key] for key in first | second] for counts in (first, second)])
    rare = table.sum(axis=0) < 20
    pooled = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    return stats.chi2_contingency(pooled[:, pooled.sum(axis=0) > 0]).pvalue


@pytest.fixture(scope="module")
def emulators_distribution() -> Counter[bytes]:
    return what_the_emulator_shows(frame_skip=game.FRAMES_PER_STEP)


def test_sticky_actions_are_distributed_as_the_emulators_own(emulators_distribution):
    assert p_value(what_the_game_shows(game.STICKY_PROBABILITY), emulators_distribution) > FALSE_ALARM_RATE


def test_a_wrong_sticky_probability_would_be_noticed(emulators_distribution):
    assert p_value(what_the_game_shows(0.2), emulators_distribution) < FALSE_ALARM_RATE


def test_a_step_repeats_frame_by_frame_what_its_stream_says(pong):
    peer, held = emulator(frame_skip=1, sticky_probability=0.0), Action.NOOP
    draws = Stream(5, Purpose.STICKY_ACTIONS, 6, 7).uniforms(400).reshape(100, 4)
    before = game.foreground(peer.getScreen())
    pong.reset(seed=5, options={"update": 6, "index": 7})
    for action, row in zip(random_actions(2, 100), draws, strict=True):
        for draw in row:
            held = held if draw < 0.25 else (Action.LEFT, Action.RIGHT)[action]
            peer.act(held)
        after = game.foreground(peer.getScreen())
        assert (pong.step(action)[0] == after - before).all()
        before = after


# ---- a game is a function of its name and its actions -----------------------------------------------------------


@pytest.fixture(scope="module")
def fresh_trace() -> str:
    return trace(Pong(), (3, 1, 4), random_actions(0))


@pytest.mark.parametrize("steps_before", [0, 1, 37, 700, 10_000])
def test_a_game_is_the_same_whatever_was_played_before(pong, fresh_trace, steps_before):
    trace(pong, (9, 9, 9), random_actions(9, steps_before))
    assert trace(pong, (3, 1, 4), random_actions(0)) == fresh_trace


def test_a_game_is_the_same_after_a_truncated_one(pong, fresh_trace, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(game, "MAX_STEPS", 50)
        trace(pong, (9, 9, 9), random_actions(9))
    assert trace(pong, (3, 1, 4), random_actions(0)) == fresh_trace


def test_two_games_side_by_side_do_not_touch_each_other(fresh_trace):
    class Disturbed(Pong):
        other = Pong()

        def step(self, action):
            self.other.reset()
            self.other.step(UP)
            return super().step(action)

    assert trace(Disturbed(), (3, 1, 4), random_actions(0)) == fresh_trace


def test_seed_update_and_index_each_name_another_game(pong):
    names = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({trace(pong, name, random_actions(0, 100)) for name in names}) == len(names)


def test_a_reset_without_a_name_takes_the_next_index(pong):
    unnamed, actions = Pong(), random_actions(0, 100)

    def next_trace() -> str:
        unnamed.reset()
        return trace_from_here(unnamed, actions)

    assert [next_trace() for _ in range(3)] == [trace(pong, (0, 0, index), actions) for index in range(3)]
    unnamed.reset(seed=5, options={"update": 2, "index": 8})
    assert next_trace() == trace(pong, (5, 2, 9), actions)


# ---- the end of a game ------------------------------------------------------------------------------------------


def test_a_game_is_truncated_at_the_limit_of_steps(pong, monkeypatch):
    monkeypatch.setattr(game, "MAX_STEPS", 7)
    pong.reset(seed=0)
    flags = [pong.step(UP)[2:4] for _ in range(7)]
    assert flags == [(False, False)] * 6 + [(False, True)]


def test_a_game_won_or_lost_at_the_limit_of_steps_is_not_truncated(pong, monkeypatch):
    actions = random_actions(0)
    pong.reset(seed=0)
    steps = play_out(pong, actions)
    monkeypatch.setattr(game, "MAX_STEPS", steps)
    pong.reset(seed=0)
    flags = [pong.step(action)[2:4] for action in actions[:steps]]
    assert flags[-1] == (True, False)
    assert not np.any(flags[:-1])


# ---- a Gymnasium environment ------------------------------------------------------------------------------------


@pytest.fixture
def registered() -> str:
    """A registered environment is checked further: each render mode, and closing it twice."""
    gymnasium.register(id="RayPongUnderTest-v0", entry_point=Pong)
    yield "RayPongUnderTest-v0"
    del gymnasium.registry["RayPongUnderTest-v0"]


@pytest.mark.filterwarnings("error")
def test_it_keeps_gymnasiums_contract(registered):
    check_env(gymnasium.make(registered, render_mode="rgb_array").unwrapped)


def test_the_score_is_what_the_rewards_add_up_to(pong):
    pong.reset(seed=4)
    won = lost = 0
    assert pong.score() == (0, 0)
    for action in random_actions(4):
        _, reward, terminated, _, _ = pong.step(action)
        won, lost = won + (reward > 0), lost + (reward < 0)
        assert pong.score() == (won, lost)
        if terminated:
            break
    assert 0 < min(won, lost) < max(won, lost) == 21
    pong.reset(seed=0)
    assert pong.score() == (0, 0)


def test_an_unknown_action_is_refused(pong):
    pong.reset(seed=0)
    with pytest.raises(KeyError):
        pong.step(2)


def test_render_shows_the_frames_that_observations_are_the_difference_of():
    pong = Pong(render_mode="rgb_array")
    pong.reset(seed=0)
    pong.step(UP)
    before = pong.render()
    for action in random_actions(0, 100):
        observation = pong.step(action)[0]
        after = pong.render()
        assert (karpathy(after).astype(np.int8) - karpathy(before) == observation).all()
        before = after
    assert (after.shape, after.dtype) == ((210, 160, 3), np.uint8)


def test_render_after_a_reset_shows_the_first_frame():
    pong = Pong(render_mode="rgb_array")
    pong.reset(seed=0)
    first = pong.render()
    for action in random_actions(0, 100):
        pong.step(action)
    pong.reset(seed=0)
    np.testing.assert_array_equal(pong.render(), first)


def test_without_a_render_mode_there_is_nothing_to_see(pong):
    assert pong.render() is None
