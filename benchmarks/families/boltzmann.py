"""Boltzmann machines and autoencoders beside scikit-learn's nearest, on the same splits."""

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from commonweight import count, data
from commonweight.nets.autoencoder_estimators import AutoencoderClassifier
from families.case import Case, Score, timed, trained

CODE = 32


def fitted(name: str, seed: int, model: Any) -> Score:
    """Test accuracy of a scikit-learn model on normalised rows."""
    given = data.load(name, seed=seed)
    x, y = given.normalisation.apply(given.x).flatten(1).numpy(), given.y.numpy()
    seconds = timed(lambda: model.fit(x[given.train], y[given.train]))
    return Score(float(model.score(x[given.test], y[given.test])), seconds)


def rbm_features(seed: int) -> Score:
    """With the learning rate and the penalty of scikit-learn's own example of digits."""
    machine = BernoulliRBM(256, learning_rate=0.06, n_iter=20, random_state=seed)
    head = LogisticRegression(C=100, max_iter=1000)
    return fitted("digits", seed, make_pipeline(MinMaxScaler(clip=True), machine, head))


def pca_codes(seed: int) -> Score:
    """Components of the same number as the code."""
    return fitted("mnist-5k", seed, make_pipeline(PCA(CODE), LogisticRegression(max_iter=1000)))


def rebuilt(seed: int, ours: bool) -> Score:
    """Root mean squared error of reconstructions of the test part, in deviations of the data."""
    given = data.load("mnist-5k", seed=seed)
    x = given.normalisation.apply(given.x).flatten(1).numpy()
    test = x[given.test]
    if ours:
        net = AutoencoderClassifier((256, CODE), random_state=seed)
        seconds = timed(lambda: net.fit(x[given.train], given.y[given.train].numpy()))
        again = net.reconstruct(test)
    else:
        pca = PCA(CODE)
        seconds = timed(lambda: pca.fit(x[given.train]))
        again = pca.inverse_transform(pca.transform(test))
    error = float(np.sqrt(((again - test) ** 2).mean()))
    if not ours:
        return Score(error, seconds)
    census = count(net.module_, given.x[:1])
    return Score(error, seconds, census.weights, census.connections)


CASES: tuple[Case, ...] = (
    Case(
        "autoencoder",
        "mnist-5k",
        "accuracy",
        trained("mnist-5k", "autoencoder"),
        "PCA of 32 components, logistic regression",
        pca_codes,
        "decoder = encoderᵀ",
        same_rule=False,
    ),
    Case(
        "autoencoder (reconstruction)",
        "mnist-5k",
        "rmse",
        lambda seed: rebuilt(seed, True),
        "PCA of 32 components",
        lambda seed: rebuilt(seed, False),
        "decoder = encoderᵀ",
        same_rule=False,
    ),
    Case(
        "rbm",
        "digits",
        "accuracy",
        trained("digits", "rbm"),
        "scikit-learn BernoulliRBM, logistic regression",
        rbm_features,
        "one matrix up and down",
    ),
)
