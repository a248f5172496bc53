"""What a run has planted and what the gateway has said, to compare at the end."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Evidence:
    """Every secret that was made up, and everything a gateway put out, by source."""

    secrets: set[str] = field(default_factory=set)
    outputs: list[tuple[str, bytes]] = field(default_factory=list)

    def plant(self, secrets: Iterable[str]) -> None:
        """Remember secrets; of a JWT also its payload, which gives it away as well."""
        for secret in secrets:
            self.secrets.add(secret)
            if secret.startswith("eyJ"):
                self.secrets.add(secret.split(".")[1])

    def collect(self, source: str, said: bytes) -> None:
        """Remember what came out of the gateway."""
        self.outputs.append((source, said))

    def leaks(self) -> Iterator[str]:
        """Where a secret came out; says which source, not which secret."""
        wanted = [secret.encode() for secret in self.secrets]
        for source, said in self.outputs:
            if any(secret in said for secret in wanted):
                yield source
