"""When the next frame is due: often enough to be seen as movement, seldom enough that training keeps its speed."""

FRAME_SECONDS = 1 / 32
"""From one frame to the next: some more than the 30 a second that are wanted, since some are late."""

SHARE = 0.07
"""Of the processor's time, at most so much is spent on frames."""


class Pace:
    """Tells when a frame is due and how long to rest between steps.

    Args:
        now: the time, in seconds on any clock.

    Attributes:
        steps_per_second: what a person asked for; 0 for as fast as it goes.
    """

    def __init__(self, now: float) -> None:
        self.steps_per_second = 0.0
        self.next_frame = self.next_step = now

    def frame_due(self, now: float) -> bool:
        """Whether it is time for a frame."""
        return now >= self.next_frame

    def framed(self, now: float, cost: float) -> None:
        """A frame was begun now, which took so many seconds of the processor: not of the clock, which also counts what
        other processes took meanwhile. The next one is due a frame's time after this one was due, however late it came.
        """
        self.next_frame = max(self.next_frame + FRAME_SECONDS, now + FRAME_SECONDS / 2, now + cost / SHARE)

    def rest(self, now: float) -> float:
        """Seconds until the next step may be taken; 0 for none."""
        return max(0.0, self.next_step - now) if self.steps_per_second else 0.0

    def stepped(self, now: float) -> None:
        """A step was taken."""
        if self.steps_per_second:
            self.next_step = max(self.next_step, now - 0.1) + 1 / self.steps_per_second
