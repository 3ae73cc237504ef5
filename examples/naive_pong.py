"""The naive loop: Ray's published example "Learning to Play Pong", written anew on today's packages.

    python -m examples.naive_pong --updates 5 --batch-size 4        a line for each update, with a digest of its weights

As published: Karpathy's dense float64 network and preprocessing of Gymnasium's RGB screens, one actor a rollout, the
gradients summed in the order in which they arrive, RMSProp. Where the original left a choice open, its packages'
defaults of today hold; kinder than the original, all that is drawn comes from a seed. Its results depend on arrival and
on libm, and nothing of it is asserted. docs/naive-loop.md says what becomes of it under faults, and `mended_pong.py` is
the same loop without that. The benchmarks compare with it.
"""

import argparse
import hashlib
import logging
from typing import Any

import ale_py
import gymnasium
import numpy as np
import ray

PIXELS, HIDDEN_UNITS = 80 * 80, 200
UP, DOWN = 2, 3
DISCOUNT, LEARNING_RATE, DECAY_RATE = 0.99, 1e-4, 0.99
Weights = dict[str, np.ndarray]


def preprocess(screen: np.ndarray) -> np.ndarray:
    """RGB, uint8 [210, 160, 3], to 0 and 1, float64 [6400]."""
    image = screen[35:195][::2, ::2, 0].copy()
    image[image == 144] = 0
    image[image == 109] = 0
    image[image != 0] = 1
    return image.astype(np.float64).ravel()


class Model:
    """The dense network. Weights W1 [H, D] and W2 [H]."""

    def __init__(self, seed: int, pixels: int = PIXELS, hidden_units: int = HIDDEN_UNITS) -> None:
        random = np.random.default_rng(seed)
        self.weights: Weights = {
            "W1": random.standard_normal((hidden_units, pixels)) / np.sqrt(pixels),
            "W2": random.standard_normal(hidden_units) / np.sqrt(hidden_units),
        }
        self.cache = {name: np.zeros_like(array) for name, array in self.weights.items()}

    @classmethod
    def of(cls, weights: Weights, cache: Weights | None = None) -> "Model":
        """One of these weights, to go on with from this cache of RMSProp's; neither is altered."""
        model = cls.__new__(cls)
        model.weights = {name: array.copy() for name, array in weights.items()}
        model.cache = {name: array.copy() for name, array in (cache or {}).items()}
        return model

    def forward(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The probability of up, and the hidden units."""
        hidden = self.weights["W1"] @ x
        hidden[hidden < 0] = 0
        return float(1.0 / (1.0 + np.exp(-(self.weights["W2"] @ hidden)))), hidden

    def backward(self, hidden: np.ndarray, x: np.ndarray, by_logit: np.ndarray) -> Weights:
        """The gradient: `hidden` [T, H], `x` [T, D], `by_logit` [T], (action - probability) times advantage."""
        by_hidden = np.outer(by_logit, self.weights["W2"])
        by_hidden[hidden <= 0] = 0
        return {"W1": by_hidden.T @ x, "W2": hidden.T @ by_logit}

    def step(self, gradient: Weights) -> None:
        """RMSProp, uphill."""
        for name, g in gradient.items():
            self.cache[name] = DECAY_RATE * self.cache[name] + (1 - DECAY_RATE) * g**2
            self.weights[name] += LEARNING_RATE * g / (np.sqrt(self.cache[name]) + 1e-5)


def discounted(rewards: np.ndarray) -> np.ndarray:
    """Returns, begun anew at each point, then standardised."""
    returns, running = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        running = rewards[t] + (0.0 if rewards[t] else DISCOUNT * running)
        returns[t] = running
    standardised: np.ndarray = (returns - returns.mean()) / returns.std()
    return standardised


def rollout(model: Model, environment: Any, seed: int, most_steps: float = np.inf) -> tuple[Weights, int, float]:
    """Play a game; its gradient, its steps and its reward."""
    random = np.random.default_rng(seed)
    screen, _ = environment.reset(seed=seed)
    before, over = None, False
    xs: list[np.ndarray] = []
    hiddens, by_logit, rewards = [], [], []
    while not over and len(xs) < most_steps:
        now = preprocess(screen)
        x = now - before if before is not None else np.zeros(PIXELS)
        before = now
        probability, hidden = model.forward(x)
        up = random.uniform() < probability
        screen, reward, terminated, truncated, _ = environment.step(UP if up else DOWN)
        over = terminated or truncated
        xs.append(x)
        hiddens.append(hidden)
        by_logit.append(up - probability)
        rewards.append(reward)
    advantages = discounted(np.array(rewards))
    gradient = model.backward(np.vstack(hiddens), np.vstack(xs), np.array(by_logit) * advantages)
    return gradient, len(xs), sum(rewards)


def make_environment() -> Any:
    """Pong as Gymnasium makes it."""
    gymnasium.register_envs(ale_py)
    return gymnasium.make("ALE/Pong-v5")


@ray.remote
class Player:
    """Plays one rollout of each update."""

    def __init__(self) -> None:
        self._environment = make_environment()

    def compute_gradient(self, model: Model, seed: int, most_steps: float) -> tuple[Weights, int, float]:
        """A game's gradient, its steps and its reward."""
        return rollout(model, self._environment, seed, most_steps)


def start(batch_size: int) -> list[Any]:
    """One actor for each rollout of a batch."""
    player: Any = Player
    return [player.remote() for _ in range(batch_size)]


def update(model: Model, players: list[Any], first_seed: int, most_steps: float = np.inf) -> tuple[int, float]:
    """One update: the weights out, the gradients summed as they come, RMSProp. Gives all steps, and the mean reward."""
    shared = ray.put(model)
    waiting = [player.compute_gradient.remote(shared, first_seed + i, most_steps) for i, player in enumerate(players)]
    total = {name: np.zeros_like(array) for name, array in model.weights.items()}
    steps, rewards = 0, 0.0
    while waiting:
        done, waiting = ray.wait(waiting)
        gradient, played, reward = ray.get(done[0])
        steps, rewards = steps + played, rewards + reward
        for name, array in gradient.items():
            total[name] += array
    model.step(total)
    return steps, rewards / len(players)


def digest(weights: Weights) -> str:
    """What tells two runs apart."""
    return hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).hexdigest()


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description="Learn Pong, the naive way.")
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    model, players = Model(chosen.seed), start(chosen.batch_size)
    for number in range(1, chosen.updates + 1):
        _, reward = update(model, players, (chosen.seed * 1_000_000 + number) * chosen.batch_size)
        print(f"update {number}  reward {reward:+.2f}  digest {digest(model.weights)[:12]}", flush=True)


if __name__ == "__main__":
    main()
