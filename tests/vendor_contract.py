"""What every vendor adapter must pass: the contract of `winnow.label.vendor`, as tests.

A vendor's test file derives a class and says what its world is:

    class TestScale(VendorContract):
        @pytest.fixture
        def world(self, scale: ScaleFake) -> ScaleWorld:
            return ScaleWorld(scale)

The world (`vendor_world.World`) is the vendor's side: a fake or a real service on loopback, its
people, its clock and its books. Faults strike every call of the transport in turn
(`vendor_faults`), and each time the same must come of it.
"""

from __future__ import annotations

from .vendor_answers import Answers
from .vendor_buying import Buying


class VendorContract(Buying, Answers):
    """Derive it and give the fixture `world`."""
