"""The history of a fit, and when it ends."""

import sys
import warnings
from collections import deque


class ConvergenceMonitor:
    """Log likelihoods of a fit: `hmmlearn.base.ConvergenceMonitor`.

    Args:
      tol: smallest rise of the log likelihood of all data, nats.
      n_iter: most steps.
      verbose: print each step to stderr.
    Attributes:
      history: log likelihoods before each step, nats.
      iter: steps taken.
    Source: hmmlearn 0.3.3, `hmmlearn.base.ConvergenceMonitor`.

    Examples:
      >>> monitor = ConvergenceMonitor(0.1, 10, False)
      >>> monitor.report(-5.0)
      >>> monitor.report(-4.95)
      >>> monitor.iter, monitor.converged
      (2, True)
    """

    def __init__(self, tol: float, n_iter: int, verbose: bool) -> None:
        self.tol = tol
        self.n_iter = n_iter
        self.verbose = verbose
        self.history: deque[float] = deque()
        self.iter = 0

    def report(self, log_prob: float) -> None:
        """Add the log likelihood before a step. See the example of the class.

        Args:
          log_prob: scalar, nats.
        """
        delta = log_prob - self.history[-1] if self.history else float("nan")
        if self.verbose:
            sys.stderr.write(f"{self.iter + 1:>10d} {log_prob:>16.8f} {delta:>+16.8f}\n")
        if delta < -1.5e-8:
            warnings.warn(f"the log likelihood fell by {-delta} nats in a step", stacklevel=3)
        self.history.append(log_prob)
        self.iter += 1

    @property
    def converged(self) -> bool:
        """Whether the steps are used up, or the last one gained less than `tol`."""
        if self.iter == self.n_iter:
            return True
        return len(self.history) >= 2 and self.history[-1] - self.history[-2] < self.tol

    def reset(self) -> None:
        """Forget the history, before a new fit. See the example of the class."""
        self.history.clear()
        self.iter = 0
