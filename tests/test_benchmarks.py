"""The benchmarks work: each measure at its smallest size. Nothing here looks at how long anything takes."""

import math
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, finished
from scipy import sparse

import policy
from benchmarks import equal_bits, figures, rollout_cost
from benchmarks.equal_bits import Kernel
from benchmarks.figures import Figure
from benchmarks.many_actors import makespan_s
from benchmarks.page import PLOTS
from benchmarks.run import MEASURES
from benchmarks.stopwatch import Stopwatch
from examples import naive_pong
from pong.play import RolloutId, play
from training import initial_state
from training.rollout_task import task_of
from training.settings import REINFORCE, of_preset

RUN, PAGE = "benchmarks.run", "benchmarks.page"
ON_RAY = {"start", "updates", "published-example", "many-actors", "across-nodes", "soak"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the results of all measures are kept: none is made twice."""
    return tmp_path_factory.mktemp("benchmarks")


def measured(folder: Path, *names: str) -> dict:
    path = folder / "results.json"
    new = [name for name in names if name not in figures.load(path).get("measures", {})]
    if new:
        done = finished("--smallest", f"--results={path}", "--only", *new, program=RUN)
        assert done.returncode == 0, done.stderr
    return figures.load(path)


def assert_has_its_keys(results: dict, *names: str) -> None:
    assert results.keys() == {"machine", "versions", "measures"}
    assert results["machine"].keys() == {"processor", "cpus", "system"}
    assert results["versions"].keys() >= {"python", "numpy", "ray", "scipy"}
    assert results["measures"].keys() >= set(names)
    for measure in results["measures"].values():
        assert measure["processor"]
        assert measure["figures"]
        for line in measure["figures"]:
            assert line.keys() >= {"what", "value", "unit", "goal", "met", "low", "high"}
            assert math.isfinite(line["value"]), line["what"]
            assert (line["met"] == "") == (line["goal"] == ""), line["what"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MEASURES if name not in ON_RAY])
def test_measures_without_ray_give_their_figures(folder, name):
    assert_has_its_keys(measured(folder, name), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ON_RAY))
def test_a_measure_on_ray_gives_its_figures(folder, name):
    assert_has_its_keys(measured(folder, name), name)


@pytest.mark.slow
def test_the_page_shows_what_was_measured(folder):
    measured(folder, *PLOTS)
    docs = folder / "docs"
    docs.mkdir()
    (docs / "benchmarks.md").write_text("before\n<!-- figures begin -->\nold\n<!-- figures end -->\nafter\n")
    for _ in range(2):  # the second time nothing changes
        done = finished(f"--results={folder}/results.json", f"--docs={docs}", program=PAGE)
        assert done.returncode == 0, done.stderr
        page = (docs / "benchmarks.md").read_text()
        assert page.startswith("before\n<!-- figures begin -->\n")
        assert page.endswith("\n<!-- figures end -->\nafter\n")
        assert "old" not in page
        assert all(f"| **{name}** |" in page for name in PLOTS)
    drawn = {path.name: path.read_text() for path in docs.glob("*.svg")}
    assert drawn.keys() == {f"benchmarks-{name}.svg" for name in PLOTS}
    assert all(len(picture) < 200_000 and "</svg>" in picture for picture in drawn.values())


@pytest.mark.parametrize(
    ("program", "flags", "complaint"),
    [
        (RUN, ["--only", "speed"], "there is no measure speed"),
        (RUN, ["--smallest"], "--smallest measures nothing"),
        (PAGE, ["--results=nothing.json"], "nothing.json holds no measures"),
    ],
)
def test_bad_input_is_one_sentence(program, flags, complaint):
    done = finished(*flags, program=program)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_kernel_is_held_against_none_that_finds_something_else():
    ours = np.array([1.0, 2.0])
    kernel = Kernel("a kernel", 1, lambda: ours, {"rounded otherwise": lambda: ours * (1.0 + 1e-6)})
    assert equal_bits.in_turns(kernel, rounds=3)[:2] == ("a kernel", 1)
    with pytest.raises(AssertionError):
        equal_bits.in_turns(kernel._replace(free={"another": lambda: ours * 1.01}), rounds=3)


def test_the_results_in_the_repository_have_their_keys():
    path = ROOT / "benchmarks" / "results.json"
    if not path.exists():
        pytest.skip("nothing has been measured yet")
    results = figures.load(path)
    assert_has_its_keys(results, *MEASURES)


# ---- the published example --------------------------------------------------------------------------------------


def test_the_published_examples_gradient_is_the_slope_of_its_objective():
    random = np.random.default_rng(0)
    model = naive_pong.Model(seed=1, pixels=12, hidden_units=5)
    x = random.choice([-1.0, 0.0, 1.0], size=(7, 12))
    ups, advantages = random.random(7) < 0.5, random.normal(size=7)

    def objective() -> float:
        probabilities = np.array([model.forward(row)[0] for row in x])
        return float(advantages @ np.log(np.where(ups, probabilities, 1.0 - probabilities)))

    steps = [model.forward(row) for row in x]
    by_logit = (ups - np.array([probability for probability, _ in steps])) * advantages
    gradient = model.backward(np.array([hidden for _, hidden in steps]), x, by_logit)
    for name, array in model.weights.items():
        for at in np.ndindex(array.shape):
            value = array[at]
            array[at] = value + 1e-6
            higher = objective()
            array[at] = value - 1e-6
            slope = (higher - objective()) / 2e-6
            array[at] = value
            assert gradient[name][at] == pytest.approx(slope, abs=1e-7)


def test_the_published_examples_gradient_is_ours_on_the_same_game():
    model = naive_pong.Model(seed=2)
    environment, seen = naive_pong.make_environment(), {}

    class Watching(naive_pong.Model):
        def backward(self, hidden, x, by_logit):
            seen.update(x=x, hidden=hidden, by_logit=by_logit)
            return super().backward(hidden, x, by_logit)

    model = Watching(seed=2)
    gradient, steps, _ = naive_pong.rollout(model, environment, seed=0, most_steps=120)
    weights = {"W1": model.weights["W1"].T.astype(np.float32), "W2": model.weights["W2"].astype(np.float32)}
    forward, found = policy.Forward(weights), []
    for row in seen["x"]:
        pixels = np.flatnonzero(row)
        found.append(forward(pixels, row[pixels].astype(np.float32)))
    hidden = np.array([units for _, units in found])
    np.testing.assert_allclose(hidden, seen["hidden"], atol=1e-5)
    # by_logit is (up - probability) times advantage: with probability 0 and up always, the advantage alone.
    ours = policy.gradient(
        weights,
        sparse.csr_array(seen["x"].astype(np.float32)),
        hidden,
        np.ones(steps, bool),
        np.zeros(steps),
        seen["by_logit"],
    )
    assert steps == 120
    np.testing.assert_allclose(ours["W1"].T, gradient["W1"], atol=1e-4)
    np.testing.assert_allclose(ours["W2"], gradient["W2"], atol=1e-3)


def test_the_published_examples_returns_by_hand():
    returns = np.array([0.99, 1.0, -0.99 * 0.99, -0.99, -1.0])
    expected = (returns - returns.mean()) / returns.std()
    np.testing.assert_allclose(naive_pong.discounted(np.array([0.0, 1.0, 0.0, 0.0, -1.0])), expected)


# ---- what figures are made of -----------------------------------------------------------------------------------


def test_the_tape_is_the_rollouts_game():
    game = rollout_cost.TapedPong()
    settings = of_preset(REINFORCE, hidden_units=4)
    first = initial_state.from_seed(settings)
    rollout_id = RolloutId(settings.seed, update=1, index=3)
    game.record(task_of(settings), first.weights, rollout_id)
    trajectory = play(game, first.weights, rollout_id)
    screen, score = game.emulator.getScreen(), game.score()
    game.play_tape()
    assert len(game.tape) == 4 * len(trajectory.ups)
    assert (game.emulator.getScreen() == screen).all()
    assert game.score() == score


def test_the_makespan_by_hand():
    assert makespan_s([3.0, 1.0, 1.0, 2.0], actors=2) == 4.0
    assert makespan_s([1.0, 2.0], actors=5) == 2.0


def test_a_stopwatch_counts_calls_and_leaves_nothing_behind():
    class Thing:
        def work(self) -> int:
            return 7

    watch, thing = Stopwatch(), Thing()
    with watch.on(Thing, "work"), watch.on(thing, "work", "again"):
        assert thing.work() == 7
    assert watch.calls == {"work": 1, "again": 1}
    assert vars(thing) == {}
    assert Thing.work.__name__ == "work"


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("", 0.95, at_least=0.95), "yes"),
        (Figure("", 0.94, at_least=0.95), "no"),
        (Figure("", 2.1, at_most=2.0), "no"),
        (Figure("", 1.9, at_most=2.0), "yes"),
        (Figure("", 1.9), ""),
    ],
)
def test_a_figure_knows_whether_its_goal_is_met(figure, verdict):
    assert figure.verdict == verdict
