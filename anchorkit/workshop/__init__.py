"""A workshop without a network: everything that laptops need, in one folder for a USB stick (``docs/teaching``)."""

from anchorkit.workshop.packing import Packed, pack
from anchorkit.workshop.wheels import PLATFORMS

__all__ = ["PLATFORMS", "Packed", "pack"]
