"""What belongs to one of several venues stays there: checked where risk hands orders out, and where they arrive."""

from hftpipe.simulation.world.checkers.rules import Checker


class VenueChecker(Checker):
    """An approved request goes to the venue of its instrument, and to no other one."""

    name = "venue"
    hears_rings = True
    steps_of = ("risk",)

    def after(self, stage: str) -> None:
        for port, ring in zip(self.world.ports, self.world.rings_of("orders"), strict=True):
            for order in ring.pushed:
                if order.instrument not in port.ids:
                    self.fail(
                        f"kind {order.kind} of {order.id:#x} for instrument {order.instrument} went to {port.name}"
                    )

    def check(self) -> None:
        for port in self.world.ports:
            if port.truth.problems:
                self.fail(f"{port.name}: {port.truth.problems[0]}")
