"""The table `[api]` of the configuration file, key by key."""

from typing import Annotated

from pydantic import Field

from appliance.config.table import Table
from appliance.config.values import Allowed, FilePath, ListenAddress, NonEmpty


class Api(Table):
    """`[api]`: the addresses of the admin API, and its keys."""

    listen: Annotated[
        NonEmpty[ListenAddress],
        Allowed(
            'a list, not empty, of "IP:PORT", "[IPV6]:PORT" (numeric addresses, ports 1..65535), these with "tls:" in front, and '
            '"unix:/absolute/path"'
        ),
        Field(
            description="The addresses on which the admin API listens. On a loopback address, local users who are neither root "
            "nor in the service's group can read and not write; only those can connect to a Unix socket. An address beyond "
            "loopback needs `tokens_file`. With `tls:` in front, the API speaks HTTPS there, and needs `tls_certificate`."
        ),
    ] = ("127.0.0.1:9380", "unix:/run/appliance/api.sock")
    allow_remote_without_token: Annotated[
        bool,
        Allowed("true or false"),
        Field(
            description="true: on addresses beyond loopback, requests without a token are answered too: whoever reaches them can "
            "change tunables and end sessions. false: every request there needs a token of `tokens_file`."
        ),
    ] = False
    tokens_file: Annotated[
        FilePath | None,
        Allowed("the absolute path of a file, which is no symbolic link", default="none: no tokens"),
        Field(
            description="The bearer tokens of the API, one on a line, as `appliance token new` prints it. The file must belong "
            "to root or the service's user, and other users may not read it. It is read again at a reload."
        ),
    ] = None
    tls_certificate: Annotated[
        FilePath | None,
        Allowed("the absolute path of a file", default="none: no certificate"),
        Field(
            description="The certificate for addresses with `tls:`, in PEM form, followed by those between it and the one that "
            "clients trust. It is read again at a reload."
        ),
    ] = None
    tls_key: Annotated[
        FilePath | None,
        Allowed("the absolute path of a file", default="none: no key"),
        Field(
            description="The private key of the certificate, in PEM form and without a pass phrase. Other users may not read the "
            "file. It is read again at a reload."
        ),
    ] = None
    tls_client_ca: Annotated[
        FilePath | None,
        Allowed("the absolute path of a file", default="none: clients need no certificate"),
        Field(
            description="Certificates in PEM form. On addresses with `tls:`, only clients with a certificate that was issued by "
            "one of them are served; they need a token as well. It is read again at a reload."
        ),
    ] = None
