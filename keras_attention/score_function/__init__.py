"""Training through random choices: score-function estimators, and the model that trains with them.

A layer that draws at random gives its parameters no gradient through what it drew. The score
function gives them one all the same, from how probable the draw was and what it cost in the end:

`grad E[cost] = E[grad cost] + E[sum_t (cost_t - baseline_t) grad log p(choice_t)]`

with `cost_t` the cost that follows choice t. One line applies it to a model of any kind:

    trainer = score_function.ScoreFunctionModel(model, score_function.LearnedBaseline())

and from there on it is plain `compile` and `fit`. Estimators are exchanged there, and nowhere else.

Shapes: B examples, each in S copies side by side where an estimator takes S samples of it, so that
batches have B * S rows; T choices of an example; Tv values to choose among; F features.

Reference: Williams, 1992, Simple Statistical Gradient-Following Algorithms for Connectionist
Reinforcement Learning, Machine Learning 8 (theorem 1); Schulman, Heess, Weber & Abbeel, 2015,
Gradient Estimation Using Stochastic Computation Graphs, https://arxiv.org/abs/1506.05254
(theorem 1 and corollary 1).
"""

from keras_attention.score_function.baselines import (
    LearnedBaseline,
    LeaveOneOut,
    MovingAverageBaseline,
    Reinforce,
    SelfCriticalBaseline,
)
from keras_attention.score_function.choices import Choice, active, collecting, record
from keras_attention.score_function.controls import Enumeration, GumbelSoftmax, StraightThrough
from keras_attention.score_function.estimator import Estimator, choose
from keras_attention.score_function.model import ScoreFunctionModel
from keras_attention.score_function.variance import GradientVariance, gradient_moments
from keras_attention.score_function.vimco import VIMCO

__all__ = [
    "VIMCO",
    "Choice",
    "Enumeration",
    "Estimator",
    "GradientVariance",
    "GumbelSoftmax",
    "LearnedBaseline",
    "LeaveOneOut",
    "MovingAverageBaseline",
    "Reinforce",
    "ScoreFunctionModel",
    "SelfCriticalBaseline",
    "StraightThrough",
    "active",
    "choose",
    "collecting",
    "gradient_moments",
    "record",
]
