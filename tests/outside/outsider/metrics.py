"""A metric."""

import torch
from torchmetrics import Metric


class WorstRecall(Metric):
    """The recall of the class that is recognised least."""

    higher_is_better = True

    def __init__(self, num_classes: int):
        super().__init__()
        self.add_state("right", torch.zeros(num_classes))
        self.add_state("all", torch.zeros(num_classes))

    def update(self, probabilities, labels):
        correct = probabilities.argmax(1) == labels
        self.right += torch.bincount(labels[correct], minlength=len(self.right))
        self.all += torch.bincount(labels, minlength=len(self.all))

    def compute(self):
        return (self.right / self.all)[self.all > 0].min()
