"""One thread a test process and no clock, since the tests are many small operators; how a test runs a command
and chooses kernels.
"""

import sys

import pytest
import torch
from hypothesis import HealthCheck, settings

from commonweight import cli
from commonweight.instruction_sets import CHOICES
from commonweight.kernels.native_library import library

torch.set_num_threads(1)
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")

BEST = library().instructions() if library() else "off"
HERE = CHOICES[: CHOICES.index(BEST) + 1]
"""The instruction sets that this processor has."""


@pytest.fixture(params=HERE)
def chosen(request, monkeypatch):
    """An instruction set that the kernels are held to; its name."""
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", request.param)
    return request.param


@pytest.fixture
def say(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; returns its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["commonweight", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture(params=[torch.float64, torch.bfloat16])
def other_default(request):
    """Another type in which torch makes numbers of which nothing is said."""
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(torch.float32)
