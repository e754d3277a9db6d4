"""A callback that logs."""

import lightning as L


class WeightNorm(L.Callback):
    """Hands val/weight_norm to self.log, and counts its calls."""

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def on_validation_epoch_end(self, trainer, pl_module):
        norm = sum(float(p.detach().norm()) for p in pl_module.parameters())
        pl_module.log("val/weight_norm", self.scale * norm)
