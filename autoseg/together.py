"""One job in several processes that torchrun started: worker 0 runs it, the others train along with it."""

import contextlib
from collections.abc import Iterator

from autoseg.core.errors import EXIT_DONE
from autoseg.core.stopping import StoppedError
from autoseg.learning.joining import joined_workers
from autoseg.learning.workers import Workers
from autoseg.steps.train import train_along


@contextlib.contextmanager
def together() -> Iterator[Workers]:
    """Yield worker 0 among those that train together, alone without torchrun; the others never come out of here.

    Raises:
        ResourceError: a worker is gone; the message names it.
        SystemExit: in the other workers, when worker 0 is done.

    """
    with joined_workers() as workers:
        if workers.leads:
            try:
                yield workers
            except StoppedError:
                workers.tell("")  # all stopped alike, and the others listen again
                raise
            workers.tell("")
            return
        while asked := workers.hear():
            train_along(asked, workers)
        raise SystemExit(EXIT_DONE)
