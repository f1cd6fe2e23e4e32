"""Whether the lane carries packets at this moment: when it is to, and nothing on the host forbids it.

The lane goes past the IPsec policies of its host, so what a policy is to encrypt would leave in clear. While there are policies
for packets that go out or are forwarded, the lane is closed, and all packets go through the workers and the kernel's own
forwarding. Whether a policy is about clients or real servers is not told from it, because anybody may be a client.
"""

import logging

from appliance.edge import ipsec
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel

log = logging.getLogger("appliance.lane")


class LaneGate:
    """Opens and closes the lane of a run."""

    def __init__(self) -> None:
        self._is_wanted = False
        self._policies = 0

    def why_closed(self) -> str:
        """One sentence; empty while the lane is to be open."""
        if not self._is_wanted:
            return "it is closed"
        return f"there are IPsec policies, which it would go past ({self._policies})" if self._policies else ""

    def check(self) -> None:
        """Raises EdgeError when a lane would have to stay closed."""
        self._policies = ipsec.policies()
        if self._policies:
            raise EdgeError(f"there are IPsec policies, which it would go past ({self._policies})")

    def want(self, kernel: LaneKernel, is_wanted: bool) -> None:
        """Open the lane as soon as nothing forbids it, or close it."""
        self._is_wanted = is_wanted
        try:
            self.look(kernel)
        except EdgeError as error:  # the next looks say so, too
            log.error("%s", error)
            self._put(kernel)

    def look(self, kernel: LaneKernel) -> None:
        """Look again whether something forbids it. Raises EdgeError when the kernel does not say."""
        if self._is_wanted:
            before, self._policies = self._policies, ipsec.policies()
            if bool(before) != bool(self._policies):
                log.warning("the lane is %s", f"closed: {self.why_closed()}" if self._policies else "open again")
        self._put(kernel)

    def _put(self, kernel: LaneKernel) -> None:
        is_open = int(not self.why_closed())
        if kernel.settings.is_open != is_open:
            kernel.put_settings(kernel.settings._replace(is_open=is_open))
