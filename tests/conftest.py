"""One thread for each test process: the tests are many small operators, run in several processes at once."""

import torch

torch.set_num_threads(1)
