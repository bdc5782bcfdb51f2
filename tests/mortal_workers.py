"""Workers that are killed in the midst of their work."""

from toy_workload import ToyWorkload


class Killed(BaseException):
    """Ends a worker as a signal would: nothing of its own runs any more."""


class MortalWorkload(ToyWorkload):
    """A workload whose process is killed when it fetches its n-th training batch."""

    def __init__(self, experiment, num_batches):
        super().__init__(experiment)
        self.left = num_batches

    def train_batch(self, step):
        self.left -= 1
        if self.left == 0:
            raise Killed
        return super().train_batch(step)
