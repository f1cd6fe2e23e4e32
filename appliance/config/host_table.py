"""The table `[host.sysctl]` of the configuration file: a key for each parameter of the host's kernel."""

from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, create_model

from appliance.config.host_values import HostValues, host_values, host_values_allowed
from appliance.config.table import Table
from appliance.config.values import Allowed
from appliance.model.host_parameters import HOST_PARAMETERS

_parameter_fields: dict[str, Any] = {
    parameter.name: (
        Annotated[
            HostValues | None,
            BeforeValidator(partial(host_values, parameter)),
            Allowed(host_values_allowed(parameter), default="the value of the kernel, which is left as it is"),
            Field(description=parameter.meaning),
        ],
        None,
    )
    for parameter in HOST_PARAMETERS.values()
}
WantedParameters: type[Table] = create_model("WantedParameters", __base__=Table, **_parameter_fields)
"""`[host.sysctl]`: a key for each parameter."""


def _given(table: object) -> dict[str, HostValues]:
    return WantedParameters.model_validate(table).model_dump(exclude_unset=True)


class Host(Table):
    """`[host]`: what the appliance asks of its host beyond what it needs."""

    sysctl: Annotated[dict[str, HostValues], BeforeValidator(_given)] = Field(
        default={},
        description="Parameters of the host's kernel that the appliance sets when it starts, and puts back when it stops. One "
        "that is left out stays as it is.",
    )
