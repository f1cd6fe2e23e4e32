"""The parameters of the host's kernel, for the API and for a reload: what `sysctls` does, without holding up the director."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from appliance.director.sysctls import Sysctls
from appliance.model.host_parameter import HostParameter, HostReading, Values
from appliance.model.host_parameters import HOST_PARAMETERS


class HostParameters:
    """Those of one run. Reading raises EdgeError when the kernel does not say what it has."""

    def __init__(self, sysctls: Sysctls) -> None:
        self._sysctls = sysctls
        self._writing = asyncio.Lock()
        """Held while one is written: writes that wait for each other in threads would take those of the director's other work."""

    async def read(self, parameter: HostParameter) -> HostReading:
        """One parameter at this moment, with the values at `all` and at the interfaces of the gateway where it has those."""
        return await asyncio.to_thread(self._sysctls.read, parameter)

    async def read_all(self) -> list[HostReading]:
        """All of them, in the order of HOST_PARAMETERS."""
        return await asyncio.to_thread(lambda: [self._sysctls.read(parameter) for parameter in HOST_PARAMETERS.values()])

    async def write(self, parameter: HostParameter, place: str, values: Values) -> HostReading:
        """Write one; with ONLY as the place, one for each interface is written at those of the gateway.

        Returns what is then in force. Raises HostParameterError, and changes nothing, when that is refused.
        """
        async with self._writing:
            await asyncio.to_thread(self._sysctls.write, parameter, place, values)
        return await self.read(parameter)

    @asynccontextmanager
    async def changed(self, wanted: Mapping[str, Values | None]) -> AsyncIterator[None]:
        """Write all of these, or none, before the block; with None, one gets its old value back. An error in the block takes all
        back.

        Raises HostParameterError when one is refused.
        """
        async with self._writing:
            put_back = await asyncio.to_thread(self._sysctls.change, wanted)
        try:
            yield
        except BaseException:
            await asyncio.to_thread(put_back)
            raise
