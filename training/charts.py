"""What is shown of the trainer's runs: reward/..., learning/..., points/..., pace/..., and faults/... as counted."""

from bitexact.cluster.pool import COUNTED
from bitexact.reporting.charts import Charts, Curve
from training.pace import SPENT

CHARTS = Charts(
    experiment="ray-pong",
    metrics={
        "reward/mean": "reward_mean",
        "reward/mean_100": "reward_mean_100",
        "reward/min": "reward_min",
        "reward/max": "reward_max",
        "learning/loss": "loss",
        "learning/gradient_norm": "gradient_norm",
        "points/won": "points_won",
        "points/lost": "points_lost",
        "pace/steps": "steps",
        "pace/steps_per_s": "steps_per_s",
        "pace/wall_time_s": "wall_time_s",
        **{f"pace/{name}": name for name in SPENT},
        **{f"faults/{name}": name for name in COUNTED},
    },
    curve=Curve(
        ylabel="reward of a rollout",
        dots="reward_mean",
        line="reward_mean_100",
        dots_label="mean of the batch",
        line_label="mean of the last 100",
        spent=SPENT,
    ),
)
