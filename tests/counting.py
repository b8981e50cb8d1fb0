"""What the tests of the count share: a module in one line, and a census as plain numbers."""

from torch import nn


class Net(nn.Module):
    """A module from a function of (module, *inputs), with parameters and submodules by name."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(part))

    def forward(self, *inputs):
        return self.function(self, *inputs)


def by_parameter(census):
    return {parameter.name: parameter.connections for parameter in census.parameters}


def by_layer(census):
    return {layer.name: (layer.weights, layer.connections, layer.full, layer.uses) for layer in census.layers}


def totals(census):
    return census.weights, census.connections, census.full
