"""The catalogue: every family of networks, what it is for, and where its code is."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """A family of networks that is known by name.

    Attributes:
        name: what `build` and the command line call it.
        summary: what it is, in a few words.
        source: the paper it comes from.
        tasks: what it learns, of "classification" and "regression".
        inputs: what it takes, of "image", "series" and "table".
        natural_shape: the shape of a sample it was made for, which `commonweight count` takes by default.
        factory: where what makes one from in_shape and n_outputs is, in `commonweight.nets`: such as cnn:CNN.
        estimators: for a family that learns by a rule of its own, where its estimator for each task is.
    """

    name: str
    summary: str
    source: str
    tasks: tuple[str, ...]
    inputs: tuple[str, ...]
    natural_shape: tuple[int, ...]
    factory: str
    estimators: Mapping[str, str] = field(default_factory=dict)


_BOTH = ("classification", "regression")
_ANY = ("image", "series", "table")
ENTRIES = (
    Entry(
        "agnostic",
        "wiring found by evolution, one weight for all",
        "Gaier & Ha 2019",
        ("classification",),
        _ANY,
        (64,),
        "agnostic:Agnostic",
        {"classification": "agnostic:AgnosticClassifier"},
    ),
    Entry(
        "autoencoder",
        "codes that rebuild their input; tied decoder",
        "Hinton & Salakhutdinov 2006",
        _BOTH,
        _ANY,
        (1, 28, 28),
        "autoencoder:Autoencoder",
        {
            "classification": "autoencoder_estimators:AutoencoderClassifier",
            "regression": "autoencoder_estimators:AutoencoderRegressor",
        },
    ),
    Entry(
        "cnn",
        "small convolutional net, default for images",
        "Ioffe & Szegedy 2015",
        _BOTH,
        ("image", "series"),
        (1, 28, 28),
        "cnn:CNN",
    ),
    Entry(
        "dbn",
        "deep belief net: learns by wake-sleep, dreams",
        "Hinton et al. 2006",
        ("classification",),
        _ANY,
        (1, 28, 28),
        "deep_belief:DeepBeliefNet",
        {"classification": "deep_belief_estimator:DBNClassifier"},
    ),
    Entry(
        "elman",
        "the simplest recurrent net",
        "Elman 1990",
        _BOTH,
        ("series", "image"),
        (1, 150),
        "recurrent:elman",
    ),
    Entry(
        "fully_convolutional",
        "a map of answers over images of any size",
        "Long et al. 2015",
        _BOTH,
        ("image",),
        (1, 28, 28),
        "fully_convolutional:FullyConvolutional",
    ),
    Entry(
        "gru",
        "recurrent net with two gates",
        "Cho et al. 2014",
        _BOTH,
        ("series", "image"),
        (1, 150),
        "recurrent:gru",
    ),
    Entry(
        "lenet1989",
        "zip code reader: kernels shared, biases not",
        "LeCun et al. 1989",
        ("classification",),
        ("image",),
        (1, 16, 16),
        "lenet:LeNet1989",
    ),
    Entry(
        "lenet5",
        "digit reader, exact: answers are drawings",
        "LeCun et al. 1998",
        ("classification",),
        ("image",),
        (1, 32, 32),
        "lenet:LeNet5",
    ),
    Entry(
        "locally_connected",
        "twin of cnn with a kernel for each position",
        "Le Cun 1989",
        _BOTH,
        ("image",),
        (1, 28, 28),
        "locally_connected:LocallyConnected",
    ),
    Entry(
        "logistic",
        "logistic regression, of scikit-learn",
        "Cox 1958",
        ("classification",),
        _ANY,
        (64,),
        "comparators:unfitted",
        {"classification": "comparators:logistic"},
    ),
    Entry(
        "lstm",
        "recurrent net with a memory",
        "Hochreiter & Schmidhuber 1997",
        _BOTH,
        ("series", "image"),
        (1, 150),
        "recurrent:lstm",
    ),
    Entry(
        "mlp",
        "fully connected layers, default for tables",
        "Rumelhart et al. 1986",
        _BOTH,
        _ANY,
        (1, 28, 28),
        "mlp:MLP",
    ),
    Entry(
        "naive_bayes",
        "naive Bayes with Gaussians, of scikit-learn",
        "Maron 1961",
        ("classification",),
        _ANY,
        (64,),
        "comparators:unfitted",
        {"classification": "comparators:naive_bayes"},
    ),
    Entry(
        "p4_cnn",
        "twin of cnn that quarter turns leave alone",
        "Cohen & Welling 2016",
        _BOTH,
        ("image",),
        (1, 28, 28),
        "group_cnn:P4CNN",
    ),
    Entry(
        "p4m_cnn",
        "twin of cnn that turns and mirrors leave alone",
        "Cohen & Welling 2016",
        _BOTH,
        ("image",),
        (1, 28, 28),
        "group_cnn:P4MCNN",
    ),
    Entry(
        "perceptron",
        "one layer that learns from mistakes alone",
        "Rosenblatt 1958",
        ("classification",),
        _ANY,
        (1, 28, 28),
        "neuron:Perceptron",
        {"classification": "neuron:PerceptronClassifier"},
    ),
    Entry(
        "plain20",
        "resnet20 without its shortcuts",
        "He et al. 2015",
        _BOTH,
        ("image",),
        (3, 32, 32),
        "resnet:plain20",
    ),
    Entry(
        "rbf",
        "units that answer near centres of k-means",
        "Broomhead & Lowe 1988",
        _BOTH,
        _ANY,
        (1, 28, 28),
        "rbf:RBF",
        {"classification": "rbf:RBFClassifier", "regression": "rbf:RBFRegressor"},
    ),
    Entry(
        "rbm",
        "restricted Boltzmann machine with labels",
        "Larochelle & Bengio 2008",
        ("classification",),
        _ANY,
        (1, 28, 28),
        "boltzmann:LabelledNet",
        {"classification": "boltzmann_estimators:RBMClassifier"},
    ),
    Entry(
        "resnet152",
        "residual net of 152 layers, as torchvision's",
        "He et al. 2015",
        _BOTH,
        ("image",),
        (3, 224, 224),
        "resnet:resnet152",
    ),
    Entry(
        "resnet18",
        "residual net of 18 layers, as torchvision's",
        "He et al. 2015",
        _BOTH,
        ("image",),
        (3, 224, 224),
        "resnet:resnet18",
    ),
    Entry(
        "resnet20",
        "residual net of 20 layers, for small images",
        "He et al. 2015",
        _BOTH,
        ("image",),
        (3, 32, 32),
        "resnet:resnet20",
    ),
    Entry(
        "resnet50",
        "residual net of 50 layers, as torchvision's",
        "He et al. 2015",
        _BOTH,
        ("image",),
        (3, 224, 224),
        "resnet:resnet50",
    ),
    Entry(
        "ridge",
        "linear regression with a penalty, of scikit-learn",
        "Hoerl & Kennard 1970",
        ("regression",),
        _ANY,
        (64,),
        "comparators:unfitted",
        {"regression": "comparators:ridge"},
    ),
    Entry(
        "som",
        "self-organising map whose units answer with labels",
        "Kohonen 1982",
        ("classification",),
        _ANY,
        (64,),
        "som:SelfOrganisingMap",
        {"classification": "som_estimators:SOMClassifier"},
    ),
    Entry(
        "svm",
        "support vectors, of scikit-learn",
        "Cortes & Vapnik 1995",
        _BOTH,
        _ANY,
        (64,),
        "comparators:unfitted",
        {"classification": "comparators:svm_classifier", "regression": "comparators:svm_regressor"},
    ),
    Entry(
        "tree",
        "decision tree, of scikit-learn",
        "Breiman et al. 1984",
        _BOTH,
        _ANY,
        (64,),
        "comparators:unfitted",
        {"classification": "comparators:tree_classifier", "regression": "comparators:tree_regressor"},
    ),
    Entry(
        "twin",
        "twins with the same weights learn to compare",
        "Bromley et al. 1993",
        ("classification",),
        _ANY,
        (1, 112, 92),
        "twin:Recogniser",
        {"classification": "twin_estimators:TwinClassifier"},
    ),
)
