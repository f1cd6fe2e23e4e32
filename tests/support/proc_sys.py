"""A folder that stands for /proc/sys/net: its files hold what the test, or the appliance, has written there."""

from pathlib import Path

from appliance.model.host_parameters import HOST_PARAMETERS

_USUAL = {"ipv4/tcp_rmem": "4096 131072 6291456", "netfilter/nf_conntrack_count": "0"}


class ProcSysNet:
    """Paths below the folder, and their text without blanks around it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def fill(self, *interfaces: str) -> None:
        """Put there all parameters that a kernel of today has, for `all` and these interfaces, with its defaults."""
        for parameter in HOST_PARAMETERS.values():
            for place in ("all", *interfaces) if parameter.per_interface else ("",):
                if not parameter.until:
                    low = [str(number.low) for number in parameter.numbers]
                    self[parameter.path_at(place)] = " ".join(map(str, parameter.usual)) or " ".join(low)
        for path, text in _USUAL.items():
            self[path] = text

    def __getitem__(self, path: str) -> str:
        return (self.root / path).read_text().strip()

    def __setitem__(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def all(self) -> dict[str, str]:
        """The text of each file."""
        files = (file for file in sorted(self.root.rglob("*")) if file.is_file())
        return {str(file.relative_to(self.root)): file.read_text().strip() for file in files}
